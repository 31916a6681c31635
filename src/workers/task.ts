import { DelayedError, type Job } from "bullmq";
import type { MessageJob } from "../channels/message-job.ts";

/** A message in a worker's hands: a job of its own, or one of several in a bundle. */
export interface Task {
  /** The message's, if its job makes sense. */
  readonly id: string | undefined;
  readonly queue: string;
  readonly data: unknown;
  /** Tries of the job, this one included, of `maxAttempts`. */
  readonly attempt: number;
  readonly maxAttempts: number;
  /** No worker has had it before. */
  readonly first: boolean;
  /** Resolves once Redis has it, for whoever continues if this process dies. */
  keep(data: MessageJob): Promise<void>;
  /** Puts it off, milliseconds; rejects with what ends this run of it. */
  later(delayMs: number): Promise<never>;
}

export function taskOf(job: Job<unknown>, token: string | undefined): Task {
  return {
    id: job.id,
    queue: job.queueName,
    data: job.data,
    attempt: job.attemptsMade + 1,
    maxAttempts: job.opts.attempts ?? 1,
    first: job.attemptsStarted <= 1 && (job.data as Partial<MessageJob> | null)?.waited === undefined,
    keep: (data) => job.updateData(data),
    async later(delayMs) {
      await job.moveToDelayed(Date.now() + Math.max(1, delayMs), token);
      throw new DelayedError();
    },
  };
}
