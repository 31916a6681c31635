import type { Queue } from "bullmq";
import type { ErasedMessage } from "../store/compliance.ts";
import type { Queues } from "./index.ts";
import { withRedis } from "./redis.ts";

/** A message may have left a job behind where it was before it came into its lane. */
const PLACES = 3;
/** Messages that are seen to in one round trip. */
const AT_ONCE = 500;

/**
 * Takes the jobs of messages out of the queues, ended ones included, since a job has the number and the text. Answers those
 * that no queue has (any more): one that a worker has in hand stays until it is over. Rejects with `UnavailableError`.
 */
export async function removeJobs(queues: Queues, messages: readonly ErasedMessage[]): Promise<string[]> {
  const gone: string[] = [];
  for (const [name, group] of Map.groupBy(messages, ({ queue }) => queue)) {
    const base = queues.get(name);
    for (let i = 0; i < group.length; i += AT_ONCE) {
      const ids = group.slice(i, i + AT_ONCE).map(({ messageId }) => messageId);
      gone.push(...(base ? await removeFrom(queues, base, ids) : ids));
    }
  }
  return gone;
}

async function removeFrom(queues: Queues, base: Queue, ids: readonly string[]): Promise<string[]> {
  const gone: string[] = [];
  await queues.bundles.takeOut(base.name, ids);
  let left = ids;
  for (let place = 0; left.length > 0; place++) {
    const holdings = await queues.holdings(base, left);
    const held = new Set(holdings.flatMap(({ jobIds }) => jobIds));
    const unheld = left.filter((id) => !held.has(id));
    if (unheld.length > 0) gone.push(...(await queues.idle(base.name, unheld)).missing);
    left = [...held];
    if (place === PLACES) break;
    // Each by a script of its own, so that others get their turn; all of them are on their way at once.
    await withRedis("removing jobs", () =>
      Promise.all(holdings.flatMap(({ queue, jobIds }) => jobIds.map((id) => queue.remove(id)))),
    );
  }
  return gone;
}
