import type { Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import type { Queues } from "./index.ts";
import { withRedis } from "./redis.ts";

/** Where a page ends: its last job, and when that failed, milliseconds since the epoch. */
interface Place {
  at: number;
  id: string;
}

export interface FailedPage {
  jobs: Job[];
  /** Give it back to go on; undefined on the last page. */
  nextCursor: string | undefined;
}

export const FAILED_CURSOR = /^\d{1,16}-.{1,200}$/s;

/**
 * The failed jobs of a queue and its lanes, the last to fail first.
 *
 * @param cursor a `nextCursor`, which `FAILED_CURSOR` describes.
 */
export async function failedJobs(
  { queues, redis }: { queues: Queues; redis: Redis },
  queue: Queue,
  { cursor, limit }: { cursor?: string | undefined; limit: number },
): Promise<FailedPage> {
  const after = cursor === undefined ? undefined : placeOf(cursor);
  return withRedis("failed jobs", async () => {
    const holders = await queues.withLanes(queue);
    const found = await Promise.all(
      holders.map(async (holder) =>
        (await placesIn(redis, holder, after, limit + 1)).map((place) => ({ holder, place })),
      ),
    );
    const sorted = found.flat().toSorted((a, b) => latestFirst(a.place, b.place));
    const page = sorted.slice(0, limit);
    const jobs = await Promise.all(
      page.map(({ holder, place }) => holder.getJob(place.id) as Promise<Job | undefined>),
    );
    const last = page.at(-1)?.place;
    return {
      // One that is tried again meanwhile is gone.
      jobs: jobs.filter((job) => job !== undefined),
      nextCursor: sorted.length > limit && last ? `${last.at}-${last.id}` : undefined,
    };
  });
}

function placeOf(cursor: string): Place {
  const mark = cursor.indexOf("-");
  return { at: Number(cursor.slice(0, mark)), id: cursor.slice(mark + 1) };
}

async function placesIn(redis: Redis, queue: Queue, after: Place | undefined, count: number): Promise<Place[]> {
  const key = queue.toKey("failed");
  const from = after ? `(${after.at}` : "+inf";
  // A batch of outcomes fails its jobs within one millisecond.
  const together = after ? await redis.zrangebyscore(key, after.at, after.at) : [];
  const rest = await redis.zrevrangebyscore(key, from, "-inf", "WITHSCORES", "LIMIT", 0, count);
  const places: Place[] = together
    .map((id) => ({ at: after!.at, id }))
    .filter((place) => latestFirst(place, after!) > 0);
  for (let i = 0; i + 1 < rest.length; i += 2) places.push({ id: rest[i]!, at: Number(rest[i + 1]) });
  return places;
}

/** By moment, then by id as Redis orders what is of one moment: bytes. */
function latestFirst(a: Place, b: Place): number {
  return b.at - a.at || Buffer.compare(Buffer.from(b.id), Buffer.from(a.id));
}
