import { setImmediate as turn } from "node:timers/promises";
import { UnrecoverableError, type Job } from "bullmq";
import type { MessageJob } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import { messagesOf, type BundleJob, type Bundles } from "../queues/bundles.ts";
import type { NewMessageJob } from "../queues/index.ts";
import type { JobResult } from "./run-job.ts";
import type { Task } from "./task.ts";

export interface RunBundleDeps {
  run(task: Task): Promise<JobResult>;
  /** Adding a message that has a job already changes nothing. Rejects with `UnavailableError`. */
  enqueue(jobs: readonly NewMessageJob[]): Promise<void>;
  register: Pick<Bundles, "leave">;
  /** Of each message that came to its end here. */
  onEnd(result: JobResult): void;
  /** Tries of a message's job. */
  attempts: number;
  /** Before the second one, milliseconds. */
  backoffMs: number;
}

/** A message that goes on in a job of its own. */
const LEFT = new Error("It has a job of its own now.");

/**
 * Several messages that are to begin now, for the price of one job. It is for the first try alone: whatever has to wait, is tried
 * again or has failed goes on in a job of its own, and so does all that is left when a bundle comes back, because its worker has
 * died. The ledger decides about each as it does about any other.
 */
export async function runBundle(job: Job<unknown>, deps: RunBundleDeps): Promise<void> {
  const queue = job.queueName;
  /** What is not over yet, as far as it came. */
  const open = new Map(messagesOf(job.data).map((message) => [message.messageId, message]));
  const write = together(() => job.updateData({ messages: [...open.values()] } satisfies BundleJob));
  const forget = async (messages: readonly MessageJob[]): Promise<void> => {
    await deps.register.leave(queue, messages);
    for (const { messageId } of messages) open.delete(messageId);
  };
  let ended: MessageJob[] = [];
  const end = together(async () => {
    const messages = ended;
    ended = [];
    await forget(messages);
  });
  let leaving: NewMessageJob[] = [];
  const leave = together(async () => {
    const jobs = leaving;
    leaving = [];
    await deps.enqueue(jobs);
    await forget(jobs.map(({ data }) => data));
  });
  const goOn = (messageId: string, how: Omit<NewMessageJob, "queue" | "data"> = {}): Promise<void> => {
    leaving.push({ queue, data: open.get(messageId) as MessageJob, ...how });
    return leave();
  };

  const run = async (message: MessageJob): Promise<void> => {
    const { messageId } = message;
    const task: Task = {
      id: messageId,
      queue,
      data: message,
      attempt: 1,
      maxAttempts: deps.attempts,
      first: true,
      keep(data) {
        open.set(messageId, data);
        return write();
      },
      async later(delayMs) {
        await goOn(messageId, { delayMs });
        throw LEFT;
      },
    };
    try {
      deps.onEnd(await deps.run(task));
      ended.push(open.get(messageId) as MessageJob);
      await end();
    } catch (error) {
      if (error === LEFT) return;
      if (error instanceof UnavailableError) throw error;
      // Failed jobs stay to be looked at: it fails again there, by what the ledger says.
      if (error instanceof UnrecoverableError) return goOn(messageId);
      return goOn(messageId, { tries: 1, delayMs: deps.backoffMs });
    }
  };

  const messages = [...open.values()];
  if (job.attemptsStarted > 1) {
    await deps.enqueue(messages.map((data) => ({ queue, data })));
    return forget(messages);
  }
  const runs = await Promise.allSettled(messages.map(run));
  const failed = runs.find((each) => each.status === "rejected");
  // It comes back, and is taken apart.
  if (failed) throw failed.reason;
}

/** Calls within one turn of the event loop share a run of `work`. */
function together(work: () => Promise<void>): () => Promise<void> {
  let shared: Promise<void> | undefined;
  return () =>
    (shared ??= turn().then(() => {
      shared = undefined;
      return work();
    }));
}
