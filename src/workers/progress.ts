import type { Worker } from "bullmq";
import type { Clock } from "../core/clock.ts";
import type { Queues } from "../queues/index.ts";

/**
 * Whether a worker gets on with its work, seen from outside: while jobs wait and it takes none and ends none, it is
 * stuck, whatever it says of itself (BullMQ's `isRunning()` has stayed true in a worker that consumed nothing).
 */
export interface Progress {
  readonly queue: string;
  /** A message of a job that has several came to its end. */
  moved(): void;
  /** Undefined while all is well, else since when, milliseconds, nothing moved although jobs wait. */
  stuckForMs(waiting: number): number | undefined;
}

export function watchProgress(worker: Worker, clock: Clock): Progress {
  let movedAt = clock.monotonic();
  const moved = (): void => {
    movedAt = clock.monotonic();
  };
  worker.on("active", moved);
  worker.on("completed", moved);
  worker.on("failed", moved);
  worker.on("drained", moved);
  return {
    queue: worker.name,
    moved,
    stuckForMs(waiting) {
      if (waiting === 0) {
        moved();
        return undefined;
      }
      return clock.monotonic() - movedAt;
    },
  };
}

/** Since when a worker of this process has moved nothing although jobs wait; undefined: all is well. */
export interface Pulse {
  queue: string;
  waiting: number;
  stuckMs: number | undefined;
}

/**
 * Of a worker's own queue alone: what waits in the lane of a sender that is away says nothing of it. Rejects with
 * `UnavailableError`.
 */
export async function pulseOf(worker: Progress, queues: Pick<Queues, "get" | "waiting">): Promise<Pulse> {
  const { queue } = worker;
  const [waiting, paused] = await Promise.all([queues.waiting(queue), queues.get(queue)?.isPaused()]);
  return { queue, waiting, stuckMs: worker.stuckForMs(paused ? 0 : waiting) };
}

/** Where work waits that has not moved for any time at all: a worker of this process has not moved it, or nobody works there. */
export interface StuckQueue {
  queue: string;
  waiting: number;
  seconds: number;
  by: "worker" | "nobody";
}

/** Of all queues, also those that other processes are to work. Rejects with `UnavailableError`. `now`: since the epoch. */
export async function stuckQueues(
  workers: readonly Progress[],
  queues: Pick<Queues, "get" | "waiting" | "unworked">,
  now: number,
): Promise<StuckQueue[]> {
  const worked = workers.map(({ queue }) => queue);
  const [pulses, unworked] = await Promise.all([
    Promise.all(workers.map((worker) => pulseOf(worker, queues))),
    queues.unworked(worked, now),
  ]);
  const stuck = pulses.flatMap(({ queue, waiting, stuckMs }): StuckQueue[] =>
    stuckMs === undefined ? [] : [{ queue, waiting, seconds: stuckMs / 1000, by: "worker" }],
  );
  return [...stuck, ...unworked.map((each): StuckQueue => ({ ...each, by: "nobody" }))];
}
