import type { Clock } from "../core/clock.ts";

/** One of the service's own loops, which go on for as long as it runs. */
export interface Loop {
  /** Runs a step of a round, and ends as it does. One that takes long says `moved` whenever it has done a part. */
  step<T>(name: string, run: (moved: () => void) => Promise<T>): Promise<T>;
}

/** Since when a loop has not got on, milliseconds; undefined: all is well. */
export interface LoopPulse {
  loop: string;
  stuckMs: number | undefined;
}

/**
 * Whether the loops get on with their work: one of whose steps each try fails, or hangs, is stuck, although it runs. One that
 * waits for its next round is not.
 */
export interface Loops {
  /** `everyMs`: between two rounds; that much a step that has failed has to wait before it can do better. */
  watch(name: string, everyMs?: number): Loop;
  pulses(): LoopPulse[];
  /** Redis and the database answer. */
  answered(): void;
  /** One of them does not, which is told as such: the time since both last answered is not held against loops. */
  excuse(): void;
}

/** A step that is being tried: since when, and for how long it had been before it was excused, milliseconds. */
interface Trial {
  since: number;
  beforeMs: number;
}

export function createLoops(clock: Clock): Loops {
  /** Of each loop, by step: what has been tried without success. */
  const tried = new Map<string, { trials: Map<string, Trial>; everyMs: number }>();
  let answeredAt = clock.monotonic();
  return {
    watch(name, everyMs = 0) {
      const trials = new Map<string, Trial>();
      tried.set(name, { trials, everyMs });
      const begin = (step: string): void => void trials.set(step, { since: clock.monotonic(), beforeMs: 0 });
      return {
        async step(step, run) {
          if (!trials.has(step)) begin(step);
          const done = await run(() => begin(step));
          trials.delete(step);
          return done;
        },
      };
    },
    pulses() {
      const now = clock.monotonic();
      return [...tried].map(([loop, { trials, everyMs }]) => {
        const longest = Math.max(0, ...[...trials.values()].map(({ since, beforeMs }) => beforeMs + now - since));
        const stuckMs = longest - everyMs;
        return { loop, stuckMs: stuckMs > 0 ? stuckMs : undefined };
      });
    },
    answered() {
      answeredAt = clock.monotonic();
    },
    excuse() {
      const now = clock.monotonic();
      for (const trial of [...tried.values()].flatMap(({ trials }) => [...trials.values()])) {
        trial.beforeMs += Math.max(0, answeredAt - trial.since);
        trial.since = now;
      }
    },
  };
}

/**
 * For alerts: the loops that have not got on for any time at all. While the database does not answer, that too, and of the loops
 * what was so before: it is neither over nor new. What is returned never rejects.
 */
export function watchLoops(
  loops: Loops,
  ping: { database(): Promise<unknown>; redis(): Promise<unknown> },
  clock: Clock,
): () => Promise<{ loop: string; seconds: number }[]> {
  let awaySince: number | undefined;
  return async () => {
    const [database, redis] = await Promise.allSettled([ping.database(), ping.redis()]);
    const now = clock.monotonic();
    const answers = database.status === "fulfilled";
    awaySince = answers ? undefined : (awaySince ?? now);
    if (answers && redis.status === "fulfilled") loops.answered();
    else loops.excuse();
    const stuck = loops
      .pulses()
      .flatMap(({ loop, stuckMs }) => (stuckMs === undefined ? [] : [{ loop, seconds: stuckMs / 1000 }]));
    return awaySince === undefined ? stuck : [{ loop: "database", seconds: (now - awaySince) / 1000 }, ...stuck];
  };
}
