import { messageJobSchema } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import { isKept } from "../queues/bundles.ts";
import type { NewMessageJob, Queues } from "../queues/index.ts";
import type { OpenMessage, Outcome, Store } from "../store/store.ts";

/**
 * Gives jobs to those that have none; answers to how many.
 *
 * A job that ended while its message is open would block a new one of the same id: it goes first. If it knows that the
 * message was sent, or may have been, the ledger has forgotten that (a database that lost its last seconds), and is told again.
 */
export async function requeueOrphans(
  page: readonly OpenMessage[],
  queues: Queues,
  store: Pick<Store, "recordOutcome">,
): Promise<number> {
  let requeued = 0;
  const known = page.filter(({ queue }) => queues.get(queue));
  for (const [queue, messages] of await queues.inLanes(known.map(placed))) {
    const { missing, ended } = await queues.idle(
      queue,
      messages.map(({ id }) => id),
    );
    const orphans = new Set([...missing, ...ended]);
    for (const outcome of await queues.bundles.outcomes(queue, [...orphans])) await tell(store, outcome as Outcome);
    for (const id of ended) {
      const job = messageJobSchema.safeParse(await queues.dataOf(queue, id));
      if (job.data?.outcome && isKept(job.data.outcome)) await tell(store, job.data.outcome as Outcome);
      await queues.remove(queue, id);
    }
    await queues.addMessages(page.filter(({ id }) => orphans.has(id)).map(jobOfOpen));
    requeued += orphans.size;
  }
  return requeued;
}

async function tell(store: Pick<Store, "recordOutcome">, outcome: Outcome): Promise<void> {
  await store.recordOutcome(outcome).catch((error: unknown) => {
    // What the ledger refuses must not keep all others waiting: its job finds out what became of it.
    if (error instanceof UnavailableError) throw error;
  });
}

const placed = (message: OpenMessage) => ({
  ...message,
  accountId: message.accountId ?? undefined,
  sender: message.sender ?? undefined,
});

/** A ledger row's job. */
export function jobOfOpen(message: OpenMessage): NewMessageJob {
  return {
    queue: message.queue,
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
      category: message.category ?? undefined,
      windows: message.windows ?? undefined,
    },
  };
}
