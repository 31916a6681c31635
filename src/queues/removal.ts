import type { ErasedMessage } from "../store/compliance.ts";
import type { Queues } from "./index.ts";

/** A message may have left a job behind where it was before it came into its lane. */
const PLACES = 3;

/**
 * Takes the jobs of messages out of the queues, ended ones included, since a job has the number and the text. Answers those
 * that no queue has (any more): one that a worker has in hand stays until it is over. Rejects with `UnavailableError`.
 */
export async function removeJobs(queues: Queues, messages: readonly ErasedMessage[]): Promise<string[]> {
  for (const queue of new Set(messages.map((message) => message.queue))) {
    if (!queues.get(queue)) continue;
    const ids = messages.filter((message) => message.queue === queue).map(({ messageId }) => messageId);
    await queues.bundles.takeOut(queue, ids);
  }
  const gone: string[] = [];
  for (const { messageId, queue } of messages) {
    if (await isRemoved(queues, queue, messageId)) gone.push(messageId);
  }
  return gone;
}

async function isRemoved(queues: Queues, queue: string, messageId: string): Promise<boolean> {
  const base = queues.get(queue);
  if (!base) return true;
  for (let place = 0; place < PLACES; place++) {
    const { name } = await queues.holding(base, messageId);
    const { missing } = await queues.idle(name, [messageId]);
    if (missing.length > 0) return true;
    await queues.remove(name, messageId);
  }
  const { name } = await queues.holding(base, messageId);
  return (await queues.idle(name, [messageId])).missing.length > 0;
}
