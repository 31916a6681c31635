import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { UnavailableError } from "../core/errors.ts";
import { messagesIn, type Bundles } from "./bundles.ts";
import type { Directory } from "./directory.ts";
import { readFigures, type QueueFigures } from "./figures.ts";
import { withRedis } from "./redis.ts";
import { readUnworked, type UnworkedQueue } from "./unworked.ts";

export interface QueueStats {
  name: string;
  /** Prioritised jobs are waiting jobs too. */
  waiting: number;
  active: number;
  completed: number;
  failed: number;
  delayed: number;
  prioritized: number;
  paused: boolean;
}

/** What there is in the queues. */
export interface Looking {
  /** Of a queue and its lanes the one that holds a job; the queue itself when none does. */
  holding(queue: Queue, jobId: string): Promise<Queue>;
  /** The same of many jobs; those that none holds are left out. Rejects with `UnavailableError`. */
  holdings(queue: Queue, jobIds: readonly string[]): Promise<{ queue: Queue; jobIds: string[] }[]>;
  /** Of these jobs, the ids of those that will not run (any more) by themselves, nor in a bundle: there is none, or it has ended. */
  idle(queue: string, jobIds: readonly string[]): Promise<{ missing: string[]; ended: string[] }>;
  /** What a job carries; undefined when there is none. */
  dataOf(queue: string, jobId: string): Promise<unknown>;
  /** Jobs of a queue, without its lanes, that any worker could take now. Rejects with `UnavailableError`. */
  waiting(queue: string): Promise<number>;
  /** The same by messages, exact up to `most`. */
  waitingMessages(queue: string, most: number): Promise<number>;
  /** Its lanes included. */
  stats(queue: Queue): Promise<QueueStats>;
  /** Of all queues at once; `now` in milliseconds since the epoch. Rejects with `UnavailableError`. */
  figures(now: number): Promise<QueueFigures[]>;
  /** Of all queues but those of `worked`, in which jobs wait that nobody takes; lanes are left out. As `figures`. */
  unworked(worked: readonly string[], now: number): Promise<UnworkedQueue[]>;
}

export function createLooking(redis: Redis, directory: Directory, bundles: Pick<Bundles, "busy">): Looking {
  const { all, queueOf, lanesIn, withLanes } = directory;

  async function countWaiting(queue: Queue): Promise<number> {
    const [waiting, prioritized] = await Promise.all([
      redis.llen(queue.toKey("wait")),
      redis.zcard(queue.toKey("prioritized")),
    ]);
    return waiting + prioritized;
  }

  async function countsOf(queue: Queue): Promise<Record<string, number>> {
    const counted = await Promise.all((await withLanes(queue)).map((each) => each.getJobCounts()));
    const sum: Record<string, number> = {};
    for (const counts of counted) for (const [state, n] of Object.entries(counts)) sum[state] = (sum[state] ?? 0) + n;
    return sum;
  }

  return {
    async holding(queue, jobId) {
      for (const each of await withLanes(queue)) {
        if ((await withRedis("looking for a job", () => redis.exists(each.toKey(jobId)))) > 0) return each;
      }
      return queue;
    },

    async holdings(queue, jobIds) {
      const holdings: { queue: Queue; jobIds: string[] }[] = [];
      let left = jobIds;
      for (const each of await withLanes(queue)) {
        if (left.length === 0) break;
        const answers = await withRedis("looking for jobs", async () => {
          const pipeline = redis.pipeline();
          // A field that every job has.
          for (const id of left) pipeline.hexists(each.toKey(id), "timestamp");
          return (await pipeline.exec()) ?? [];
        });
        const held = new Set<string>();
        answers.forEach(([error, isThere], i) => {
          if (error) throw new UnavailableError("redis", "Redis cannot look for jobs now.", error);
          if (isThere === 1) held.add(left[i] as string);
        });
        if (held.size > 0) holdings.push({ queue: each, jobIds: [...held] });
        left = left.filter((id) => !held.has(id));
      }
      return holdings;
    },

    async idle(name, jobIds) {
      const queue = queueOf(name);
      // One field that every job has, one that only an ended one has: two reads a job, no script, one round trip.
      const answers = await withRedis("looking for jobs", async () => {
        const pipeline = redis.pipeline();
        for (const id of jobIds) pipeline.hmget(queue.toKey(id), "timestamp", "finishedOn");
        return (await pipeline.exec()) ?? [];
      });
      const missing: string[] = [];
      const ended: string[] = [];
      answers.forEach(([error, fields], i) => {
        if (error) throw new UnavailableError("redis", "Redis cannot look for jobs now.", error);
        const [timestamp, finishedOn] = fields as (string | null)[];
        const id = jobIds[i] as string;
        if (timestamp === null) missing.push(id);
        else if (finishedOn !== null) ended.push(id);
      });
      if (missing.length + ended.length === 0) return { missing, ended };
      // What leaves its bundle for a job of its own in between is found again by the next round.
      const busy = await bundles.busy(name, [...missing, ...ended]);
      const isIdle = (id: string): boolean => !busy.has(id);
      return { missing: missing.filter(isIdle), ended: ended.filter(isIdle) };
    },

    dataOf: (name, jobId) =>
      withRedis("reading a job", async () => {
        const job = await queueOf(name).getJob(jobId);
        return job?.data as unknown;
      }),

    waiting: (name) => withRedis("counting jobs", () => countWaiting(queueOf(name))),

    waitingMessages: (name, most) =>
      withRedis("counting messages", async () => {
        const queue = queueOf(name);
        const jobs = await countWaiting(queue);
        if (jobs === 0 || jobs >= most) return jobs;
        const ids = await redis.lrange(queue.toKey("wait"), 0, -1);
        return ids.reduce((sum, id) => sum + messagesIn(id) - 1, jobs);
      }),

    stats: (queue) =>
      withRedis(`the statistics of ${queue.name}`, async () => {
        const [counts, paused] = await Promise.all([countsOf(queue), queue.isPaused()]);
        const count = (state: string): number => counts[state] ?? 0;
        return {
          name: queue.name,
          waiting: count("waiting") + count("prioritized"),
          active: count("active"),
          completed: count("completed"),
          failed: count("failed"),
          delayed: count("delayed"),
          prioritized: count("prioritized"),
          paused,
        };
      }),

    async figures(now) {
      const keys = all.map(async (queue) => {
        const bases = [queue, ...(await lanesIn(queue.name))].map((each) => each.toKey(""));
        return { name: queue.name, bases };
      });
      return readFigures(redis, await Promise.all(keys), now);
    },

    unworked(worked, now) {
      const others = all.filter(({ name }) => !worked.includes(name));
      return readUnworked(
        redis,
        others.map((queue) => ({ name: queue.name, base: queue.toKey("") })),
        now,
      );
    },
  };
}
