import type { Clock } from "../../../../core/clock.ts";
import { capOfDay, DAY_MS, startOfDay } from "./warm-up.ts";

export interface ColdWait {
  waitMs: number;
  reason: "daily cap reached" | "restricted by WhatsApp (463)";
}

interface Cap {
  newContactsPerDay: number | null;
  warmUpDays: number;
}

/** How many first contacts a number has made today (UTC), and whether it may make another. */
export class ColdContacts {
  readonly #clock: Clock;
  #pairedAt: number | null;
  #day: number;
  #count: number;
  #pausedUntil: number;

  /** Moments in milliseconds since the epoch; `today` counts since `startOfDay`. */
  constructor(clock: Clock, pairedAt: number | null, today: number, pausedUntil: number | null) {
    this.#clock = clock;
    this.#pairedAt = pairedAt;
    this.#day = startOfDay(clock.now());
    this.#count = today;
    this.#pausedUntil = pausedUntil ?? 0;
  }

  get today(): number {
    const day = startOfDay(this.#clock.now());
    if (day > this.#day) {
      this.#day = day;
      this.#count = 0;
    }
    return this.#count;
  }

  /** While that is still to come. */
  get pausedUntil(): number | undefined {
    return this.#pausedUntil > this.#clock.now() ? this.#pausedUntil : undefined;
  }

  capToday(cap: Cap): number {
    const sinceMs = this.#pairedAt === null ? 0 : this.#clock.now() - this.#pairedAt;
    return capOfDay(Math.floor(sinceMs / DAY_MS), cap);
  }

  /** Whichever holds longer; undefined: go. */
  wait(cap: Cap): ColdWait | undefined {
    const now = this.#clock.now();
    const pausedMs = this.#pausedUntil - now;
    const cappedMs = this.today >= this.capToday(cap) ? this.#day + DAY_MS - now : 0;
    if (pausedMs <= 0 && cappedMs <= 0) return undefined;
    return pausedMs >= cappedMs
      ? { waitMs: pausedMs, reason: "restricted by WhatsApp (463)" }
      : { waitMs: cappedMs, reason: "daily cap reached" };
  }

  note(): void {
    this.#count = this.today + 1;
  }

  pause(untilMs: number | null): void {
    this.#pausedUntil = untilMs ?? 0;
  }

  notePaired(atMs: number): void {
    this.#pairedAt = atMs;
  }
}
