import { inboundJobSchema, INBOUND_QUEUE, type InboundJob } from "../channels/inbound-job.ts";
import type { Queues } from "./index.ts";
import { withRedis } from "./redis.ts";

/** Jobs read in one go. */
const PAGE = 500;

/**
 * Takes what somebody has written, and is not in the ledger, out of the queue of what vendors report: what the database refused
 * stays there as a failed job, what it was away for waits. One that a worker has in hand is left alone. Rejects with
 * `UnavailableError`.
 *
 * @param phone E.164.
 */
export async function forgetInbound(queues: Queues, phone: string): Promise<void> {
  const queue = queues.get(INBOUND_QUEUE);
  if (!queue) return;
  for (const state of ["failed", "delayed", "wait"] as const) {
    for (let start = 0; ; start += PAGE) {
      const end = start + PAGE - 1;
      const jobs = await withRedis("looking for what somebody wrote", () => queue.getJobs([state], start, end));
      for (const job of jobs) {
        const { events = [] } = inboundJobSchema.safeParse(job?.data).data ?? {};
        const others = events.filter((event) => !isFrom(event, phone));
        if (others.length === events.length) continue;
        if (others.length > 0) {
          await withRedis("forgetting what somebody wrote", () =>
            job.updateData({ events: others } satisfies InboundJob),
          );
        } else if (await withRedis("forgetting what somebody wrote", () => queue.remove(job.id ?? ""))) {
          start -= 1;
        }
      }
      if (jobs.length < PAGE) break;
    }
  }
}

const isFrom = (event: InboundJob["events"][number], phone: string): boolean =>
  event.kind === "reply" && (event.from === phone || event.aliases?.includes(phone) === true);
