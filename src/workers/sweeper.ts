import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { messageJobSchema } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import { chunkJobId, HUNT_QUEUE } from "../hunt/hunt.jobs.ts";
import type { NewMessageJob, Queues } from "../queues/index.ts";
import { removeJobs } from "../queues/removal.ts";
import type { OpenMessage, Outcome, Store } from "../store/store.ts";

export interface SweeperOptions {
  store: Store;
  queues: Queues;
  log: Logger;
  /** Between two rounds, milliseconds. */
  intervalMs: number;
}

/** Messages compared in one go. */
const PAGE = 1000;
/** Pages a round: a backlog of any length costs the same small share of a second; it is gone through in turns. */
const PAGES_A_ROUND = 10;
/** A message that was touched more recently is still on its way into its queue, milliseconds. */
const SETTLED_MS = 5000;
/** A round that hangs in a dependency is not waited for at the end: all that it may still do is safe to do. */
const STOP_TIMEOUT_MS = 1000;

export interface Sweeper {
  /** From now on go through the whole backlog without a pause: Redis may have lost something. */
  hurry(): void;
  stop(): Promise<void>;
}

/**
 * Finds what the ledger says is to be done and no job does: the process died between ledger and queue, Redis was away
 * when it was accepted, was emptied, or was restored from an older file. Such work is queued again; whether it may
 * still be sent is decided, as always, when its job asks the ledger. The first round goes through everything.
 */
export function startSweeper({ store, queues, log, intervalMs }: SweeperOptions): Sweeper {
  const stopping = new AbortController();
  let after = 0;
  let hurried = true;

  async function sweepMessages(): Promise<number> {
    let requeued = 0;
    for (let pages = 0; hurried || pages < PAGES_A_ROUND; pages++) {
      const page = await store.openMessages(after, PAGE, SETTLED_MS);
      requeued += await requeueOrphans(page, queues, store);
      const last = page.at(-1);
      if (!last || page.length < PAGE) {
        after = 0;
        hurried = false;
        break;
      }
      after = last.seq;
      if (stopping.signal.aborted) break;
    }
    return requeued;
  }

  async function sweepSubmissions(): Promise<number> {
    let requeued = 0;
    for (const { jobId, huntId, chunks, open } of await store.openSubmissions(SETTLED_MS)) {
      // The whole's job waits for those of its chunks: one that is gone would keep it waiting for ever.
      const { missing, ended } = await queues.idle(HUNT_QUEUE, [jobId, ...open.map((no) => chunkJobId(jobId, no))]);
      if (missing.length + ended.length === 0) continue;
      await queues.removeHunt(jobId, chunks);
      await queues.addHunt({ jobId, huntId, chunks });
      requeued += 1;
    }
    return requeued;
  }

  /** What an erasure could not take away at once, because a worker had it in hand or Redis was away. */
  async function sweepErasures(): Promise<void> {
    const erased = await store.compliance.resumeErasures([]);
    if (erased.length === 0) return;
    const done = await removeJobs(queues, erased);
    if (done.length > 0) await store.compliance.resumeErasures(done);
  }

  /** Each step by itself: one that fails must not keep the others from their work. */
  async function step<T>(name: string, run: () => Promise<T>): Promise<T | undefined> {
    try {
      return await run();
    } catch (error) {
      if (error instanceof UnavailableError) log.debug({ err: error, step: name }, "sweep put off");
      else log.error({ err: error, step: name }, "sweep failed");
      return undefined;
    }
  }

  async function round(): Promise<void> {
    const submissions = (await step("submissions", sweepSubmissions)) ?? 0;
    const messages = (await step("messages", sweepMessages)) ?? 0;
    await step("erasures", sweepErasures);
    await step("tidy", () => store.tidy());
    if (messages + submissions > 0) log.warn({ messages, submissions }, "work without a job was queued again");
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      await round();
      await delay(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  return {
    hurry() {
      after = 0;
      hurried = true;
    },
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}

/**
 * A job that ended while its message is open would block a new one of the same id: it goes first. If it knows that the
 * message was sent, or may have been, the ledger has forgotten that (a database that lost its last seconds), and is told again.
 */
async function requeueOrphans(page: readonly OpenMessage[], queues: Queues, store: Store): Promise<number> {
  let requeued = 0;
  const known = page.filter(({ queue }) => queues.get(queue));
  for (const [queue, messages] of await queues.inLanes(known.map(placed))) {
    const { missing, ended } = await queues.idle(
      queue,
      messages.map(({ id }) => id),
    );
    for (const id of ended) {
      const job = messageJobSchema.safeParse(await queues.dataOf(queue, id));
      if (job.data?.outcome && /^(sent|unknown)$/.test(job.data.outcome.result)) {
        await store.recordOutcome(job.data.outcome as Outcome).catch((error: unknown) => {
          // What the ledger refuses must not keep all others waiting: its job finds out what became of it.
          if (error instanceof UnavailableError) throw error;
        });
      }
      await queues.remove(queue, id);
    }
    const orphans = new Set([...missing, ...ended]);
    await queues.addMessages(messages.filter(({ id }) => orphans.has(id)).map(toJob));
    requeued += orphans.size;
  }
  return requeued;
}

const placed = (message: OpenMessage) => ({
  ...message,
  accountId: message.accountId ?? undefined,
  sender: message.sender ?? undefined,
});

function toJob(message: ReturnType<typeof placed>): NewMessageJob {
  return {
    queue: message.queue,
    priority: message.priority,
    delayMs: message.retryInMs,
    data: {
      messageId: message.id,
      accountId: message.accountId,
      huntId: message.huntId ?? undefined,
      adId: message.adId ?? undefined,
      channel: message.channel,
      to: message.recipient,
      from: message.sender,
      content: message.content,
      category: message.category ?? undefined,
    },
  };
}
