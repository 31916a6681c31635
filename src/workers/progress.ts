import type { Worker } from "bullmq";
import type { Clock } from "../core/clock.ts";

/**
 * Whether a worker gets on with its work, seen from outside: while jobs wait and it takes none and ends none, it is
 * stuck, whatever it says of itself (BullMQ's `isRunning()` has stayed true in a worker that consumed nothing).
 */
export interface Progress {
  readonly queue: string;
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
    stuckForMs(waiting) {
      if (waiting === 0) {
        moved();
        return undefined;
      }
      return clock.monotonic() - movedAt;
    },
  };
}
