import type { Clock } from "../core/clock.ts";

/** Attempts that one generation holds. Two are kept, so the last 10,000 to 20,000 attempts can be resolved. */
const GENERATION = 10_000;

/**
 * Which attempts the sandbox accepted or fenced, bounded: when the young generation is full, the old one is forgotten
 * whole, which costs nothing per entry. Of an attempt that began before the horizon (this process' start, or what it has
 * forgotten since) it says nothing. A fence, too, is forgotten with its generation.
 */
export class AttemptLog {
  readonly #clock: Clock;
  readonly #capacity: number;
  #young = new Map<string, "accepted" | "fenced">();
  #old = new Map<string, "accepted" | "fenced">();
  #youngSince: number;
  /** The last moment of which not every acceptance is known. */
  #horizon: number;

  constructor(clock: Clock, capacity = GENERATION) {
    this.#clock = clock;
    this.#capacity = capacity;
    this.#youngSince = clock.now();
    this.#horizon = this.#youngSince - 1;
  }

  /** Accepts an attempt; `again` when that had been done before. */
  accept(attemptId: string): "accepted" | "again" | "fenced" {
    const state = this.#get(attemptId);
    if (state === "fenced") return "fenced";
    if (state === "accepted") return "again";
    this.#set(attemptId, "accepted");
    return "accepted";
  }

  /** What became of an attempt; one that was not accepted by now is fenced: it never will be. */
  resolve(attemptId: string, startedAt: number): "accepted" | "fenced" | "unknown" {
    const state = this.#get(attemptId);
    if (state !== undefined) return state;
    if (startedAt <= this.#horizon) return "unknown";
    this.#set(attemptId, "fenced");
    return "fenced";
  }

  #get(attemptId: string): "accepted" | "fenced" | undefined {
    return this.#young.get(attemptId) ?? this.#old.get(attemptId);
  }

  #set(attemptId: string, state: "accepted" | "fenced"): void {
    if (this.#young.size >= this.#capacity) {
      if (this.#old.size > 0) this.#horizon = this.#youngSince;
      this.#old = this.#young;
      this.#young = new Map();
      this.#youngSince = this.#clock.now();
    }
    this.#young.set(attemptId, state);
  }
}
