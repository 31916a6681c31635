import { UnavailableError } from "../core/errors.ts";
import { messageJobSchema } from "../channels/message-job.ts";
import type { Queues } from "../queues/index.ts";

/**
 * Gives a message that is queued again a fresh job, in place of the ended one, which would block its id. While Redis is
 * away the sweeper does the same later.
 */
export async function requeue(queues: Queues, queue: string, messageId: string): Promise<void> {
  try {
    const base = queues.get(queue);
    const holder = base ? (await queues.holding(base, messageId)).name : queue;
    const data = messageJobSchema.safeParse(await queues.dataOf(holder, messageId));
    // Without a job to copy, the sweeper makes one from the ledger.
    if (!data.success) return;
    // What the last attempt came to must not be recorded for the next one.
    const { outcome: _outcome, attempt: _attempt, ...fresh } = data.data;
    await queues.remove(holder, messageId);
    await queues.addMessages([{ queue, data: fresh }]);
  } catch (error) {
    if (!(error instanceof UnavailableError)) throw error;
  }
}
