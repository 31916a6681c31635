import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import { UnavailableError } from "../core/errors.ts";
import { withRedis } from "../queues/redis.ts";
import type { NewMessageJob, Queues } from "../queues/index.ts";
import type { OpenMessage, Store } from "../store/store.ts";

export interface SweeperOptions {
  store: Store;
  queues: Queues;
  log: Logger;
  /** Between two rounds, milliseconds. */
  intervalMs: number;
}

/** Messages compared in one go. */
const PAGE = 1000;
/** A message that was touched more recently is still on its way into its queue, milliseconds. */
const SETTLED_MS = 5000;
/** States of a job that will run, or is running, by itself. */
const ALIVE = new Set(["active", "waiting", "delayed", "prioritized", "waiting-children"]);

export interface Sweeper {
  /** One round: answers how many messages and submissions were put back into their queues. */
  sweep(): Promise<{ messages: number; submissions: number }>;
  stop(): Promise<void>;
}

/**
 * Finds what the ledger says is to be done and no job does: the process died between ledger and queue, Redis was away
 * when it was accepted, was emptied, or was restored from an older file. Such work is queued again; whether it may
 * still be sent is decided, as always, when its job asks the ledger.
 */
export function startSweeper({ store, queues, log, intervalMs }: SweeperOptions): Sweeper {
  const stopping = new AbortController();

  async function sweepMessages(): Promise<number> {
    let requeued = 0;
    let after = 0;
    for (;;) {
      const page = await store.openMessages(after, PAGE, SETTLED_MS);
      const orphans = await withoutJob(page, queues);
      if (orphans.length > 0) {
        await queues.addMessages(orphans.map(toJob));
        requeued += orphans.length;
      }
      const last = page.at(-1);
      if (!last || page.length < PAGE || stopping.signal.aborted) return requeued;
      after = last.seq;
    }
  }

  async function sweepSubmissions(): Promise<number> {
    let requeued = 0;
    for (const { jobId, huntId, chunks } of await store.openSubmissions(SETTLED_MS)) {
      const queue = queues.get("hunt");
      const parent = await withRedis("looking for a hunt's job", async () => queue?.getJob(jobId));
      if (parent && ALIVE.has(await parent.getState())) continue;
      if (parent) await removeFlow(queues, jobId, chunks);
      await queues.addHunt({ jobId, huntId, chunks });
      requeued += 1;
    }
    return requeued;
  }

  async function sweep(): Promise<{ messages: number; submissions: number }> {
    const submissions = await sweepSubmissions();
    const messages = await sweepMessages();
    await store.tidy();
    if (messages + submissions > 0) log.warn({ messages, submissions }, "work without a job was queued again");
    return { messages, submissions };
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await sweep();
      } catch (error) {
        if (error instanceof UnavailableError) log.debug({ err: error }, "sweep put off");
        else log.error({ err: error }, "sweep failed");
      }
      await delay(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  return {
    sweep,
    async stop() {
      stopping.abort();
      await running;
    },
  };
}

/** Those whose job is gone or has ended. A job that ended while its message is open would block a new one: it goes. */
async function withoutJob(page: readonly OpenMessage[], queues: Queues): Promise<OpenMessage[]> {
  return withRedis("comparing ledger and queues", async () => {
    const checked = await Promise.all(
      page.map(async (message) => {
        const queue = queues.get(message.queue);
        if (!queue) return undefined;
        const state = await queue.getJobState(message.id);
        if (ALIVE.has(state)) return undefined;
        if (state !== "unknown") await queue.remove(message.id);
        return message;
      }),
    );
    return checked.filter((message) => message !== undefined);
  });
}

async function removeFlow(queues: Queues, jobId: string, chunks: number): Promise<void> {
  await withRedis("removing an ended hunt job", async () => {
    const queue = queues.get("hunt");
    for (let no = 0; no < chunks; no++) await queue?.remove(`${jobId}-${no}`);
    await queue?.remove(jobId);
  });
}

function toJob(message: OpenMessage): NewMessageJob {
  return {
    queue: message.queue,
    priority: message.priority,
    delayMs: message.retryInMs,
    data: {
      messageId: message.id,
      accountId: message.accountId ?? undefined,
      huntId: message.huntId ?? undefined,
      adId: message.adId ?? undefined,
      channel: message.channel,
      to: message.recipient,
      from: message.sender ?? undefined,
      content: message.content,
    },
  };
}
