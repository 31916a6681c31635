import { setImmediate as turn } from "node:timers/promises";
import { UnrecoverableError, type Job } from "bullmq";
import type { MessageJob } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import type { BundleProgress } from "../queues/bundle-progress.ts";
import { isKept, messagesOf, type Bundles } from "../queues/bundles.ts";
import type { NewMessageJob } from "../queues/index.ts";
import type { JobResult } from "./run-job.ts";
import type { Task } from "./task.ts";

export interface RunBundleDeps {
  /** `begins`: asked right before, when its turn has come; what it throws ends the run. */
  run(task: Task, begins: () => void): Promise<JobResult>;
  /** Adding a message that has a job already changes nothing. Rejects with `UnavailableError`. */
  enqueue(jobs: readonly NewMessageJob[]): Promise<void>;
  register: Pick<Bundles, "keep" | "drop" | "leave">;
  progressOf(bundle: string): BundleProgress;
  /** Of each message that came to its end here. */
  onEnd(result: JobResult): void;
  /** Tries of a message's job. */
  attempts: number;
  /** Before the second one, milliseconds. */
  backoffMs: number;
}

/** How long a message waits for a slot of this process before it goes back for any other, milliseconds. */
const PATIENCE_MS = 500;
/** A message that goes on in a job of its own. */
const LEFT = new Error("It has a job of its own now.");

/**
 * Several messages that are to begin now, for the price of one job. It is for the first try alone: whatever has to wait, is tried
 * again or has failed goes on in a job of its own, and so does all that is left when a bundle comes back, because its worker has
 * died. The ledger decides about each as it does about any other.
 */
export async function runBundle(job: Job<unknown>, deps: RunBundleDeps): Promise<void> {
  const { queueName: queue, id: bundle = "" } = job;
  const progress = deps.progressOf(bundle);
  /** What is not over yet, as far as it came. */
  const open = new Map(messagesOf(job.data).map((message) => [message.messageId, message]));
  let moved = new Map<string, MessageJob>();
  const write = together(() => {
    const messages = [...moved.values()];
    moved = new Map();
    return progress.keep(messages);
  });
  const drop = async (ids: readonly string[]): Promise<void> => {
    for (const id of ids) open.delete(id);
    await deps.register.drop(queue, bundle, ids, [...open.values()]);
  };
  /** What was sent, or may have been, is entered for as long as the job has the words of it. */
  const over: string[] = [];
  let ended: MessageJob[] = [];
  const end = together(async () => {
    const messages = ended;
    ended = [];
    const outcomes = messages.flatMap(({ outcome }) => (outcome && isKept(outcome) ? [outcome] : []));
    const kept = new Set(outcomes.map(({ messageId }) => messageId));
    over.push(...kept);
    const ids = messages.map(({ messageId }) => messageId);
    await deps.register.keep(queue, bundle, outcomes);
    for (const id of kept) open.delete(id);
    await drop(ids.filter((id) => !kept.has(id)));
  });
  let leaving: NewMessageJob[] = [];
  const leave = together(async () => {
    const jobs = leaving;
    leaving = [];
    const ids = jobs.map(({ data }) => data.messageId);
    await deps.enqueue(jobs);
    await drop(ids);
  });
  const goOn = (messageId: string, how: Omit<NewMessageJob, "queue" | "data"> = {}): Promise<void> => {
    const data = open.get(messageId) as MessageJob;
    leaving.push({ queue, data: { ...data, waited: true }, ...how });
    return leave();
  };
  /** Set when Redis is away: what has not begun does not begin then. */
  let lost: Error | undefined;
  const begun = new Set<string>();
  const overdue = new Map<string, Promise<void>>();
  const begins = (messageId: string): void => {
    if (lost) throw lost;
    if (overdue.has(messageId)) throw LEFT;
    begun.add(messageId);
  };
  const giveBack = (): void => {
    for (const messageId of open.keys()) {
      if (begun.has(messageId)) continue;
      const gone = goOn(messageId);
      gone.catch(() => {});
      overdue.set(messageId, gone);
    }
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
        moved.set(messageId, data);
        return write();
      },
      async later(delayMs) {
        await goOn(messageId, { delayMs });
        throw LEFT;
      },
    };
    try {
      deps.onEnd(await deps.run(task, () => begins(messageId)));
      ended.push(open.get(messageId) as MessageJob);
      await end();
    } catch (error) {
      if (error === LEFT) return overdue.get(messageId);
      if (error instanceof UnavailableError) {
        lost ??= error;
        throw error;
      }
      // Failed jobs stay to be looked at: it fails again there, by what the ledger says.
      if (error instanceof UnrecoverableError) return goOn(messageId);
      deps.onEnd({ status: "failed" });
      return goOn(messageId, { tries: 1, delayMs: deps.backoffMs });
    }
  };

  const messages = [...open.values()];
  if (job.attemptsStarted > 1) {
    await deps.enqueue((await progress.open(messages)).map((data) => ({ queue, data })));
    return deps.register.leave(queue, [...open.keys()]);
  }
  const patience = setTimeout(giveBack, PATIENCE_MS);
  const runs = await Promise.allSettled(messages.map(run)).finally(() => clearTimeout(patience));
  const failed = runs.find((each) => each.status === "rejected");
  // It comes back, and is taken apart.
  if (failed) throw failed.reason;
  await deps.register.leave(queue, over);
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
