import type { Job, Queue } from "bullmq";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";
import { withRedis } from "./redis.ts";

/** Jobs that are moved in one go. */
const PAGE = 500;

/** Whatever is put off in the lane looks again now. Rejects with `UnavailableError`. */
export async function wakeLane(lane: Queue): Promise<void> {
  await withRedis("waking a lane", () => lane.promoteJobs());
}

/**
 * Takes a lane that nobody works any more out of Redis, ended jobs included, since a job has the number and the text. What
 * has not ended goes through `enqueue` first: breaking off in between loses nothing. Rejects with `UnavailableError`.
 */
export async function removeLane(lane: Queue, enqueue: (jobs: { data: MessageJob }[]) => Promise<void>): Promise<void> {
  for (let from = 0; ; from += PAGE) {
    // An active one is what a process left that died.
    const jobs = await withRedis("reading a lane", () =>
      lane.getJobs(["active", "waiting", "prioritized", "delayed"], from, from + PAGE - 1),
    );
    if (jobs.length === 0) break;
    await enqueue(jobs.flatMap(carried));
  }
  await withRedis("removing a lane", () => lane.obliterate({ force: true }));
}

/** What makes no sense has no message to be kept for. */
function carried({ data }: Job<unknown>): { data: MessageJob }[] {
  const parsed = messageJobSchema.safeParse(data);
  return parsed.success ? [{ data: parsed.data }] : [];
}
