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
  /** Redis or the database is away, which is told as such: what loops have failed at until now is not held against them. */
  excuse(): void;
}

export function createLoops(clock: Clock): Loops {
  /** Of each loop, by step: since when it has been tried without success. */
  const tried = new Map<string, { since: Map<string, number>; everyMs: number }>();
  return {
    watch(name, everyMs = 0) {
      const since = new Map<string, number>();
      tried.set(name, { since, everyMs });
      return {
        async step(step, run) {
          if (!since.has(step)) since.set(step, clock.monotonic());
          const done = await run(() => since.set(step, clock.monotonic()));
          since.delete(step);
          return done;
        },
      };
    },
    pulses() {
      const now = clock.monotonic();
      return [...tried].map(([loop, { since, everyMs }]) => {
        const stuckMs = now - Math.min(now, ...since.values()) - everyMs;
        return { loop, stuckMs: stuckMs > 0 ? stuckMs : undefined };
      });
    },
    excuse() {
      const now = clock.monotonic();
      for (const { since } of tried.values()) for (const step of since.keys()) since.set(step, now);
    },
  };
}

/**
 * For alerts: the loops that have not got on for any time at all, or, while the database does not answer, that alone. What is
 * returned never rejects.
 */
export function watchLoops(
  loops: Loops,
  pingDatabase: () => Promise<unknown>,
  clock: Clock,
): () => Promise<{ loop: string; seconds: number }[]> {
  let awaySince: number | undefined;
  return async () => {
    const answers = await pingDatabase().then(
      () => true,
      () => false,
    );
    if (answers) {
      awaySince = undefined;
      return loops
        .pulses()
        .flatMap(({ loop, stuckMs }) => (stuckMs === undefined ? [] : [{ loop, seconds: stuckMs / 1000 }]));
    }
    awaySince ??= clock.monotonic();
    loops.excuse();
    return [{ loop: "database", seconds: (clock.monotonic() - awaySince) / 1000 }];
  };
}
