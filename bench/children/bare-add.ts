import { Queue } from "bullmq";
import { Redis } from "ioredis";
import type { NewJob } from "../arena.ts";
import { serveTask } from "../child.ts";
import { bareJobs } from "../hunts.ts";

/** BullMQ alone: `addBulk` of the same jobs, 500 at a time. */
export interface BareAddTask {
  redisUrl: string;
  prefix: string;
  /** Jobs go to them in turns of 500. */
  samples: { queue: string; sample: NewJob }[];
  n: number;
}

const SIZE = 500;

await serveTask<BareAddTask>(async ({ redisUrl, prefix, samples, n }) => {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const share = Math.ceil(n / samples.length);
  const groups = samples.map(({ queue, sample }, i) => ({
    queue: new Queue(queue, { connection, prefix }),
    jobs: bareJobs(Math.min(share, n - i * share), sample),
  }));
  await Promise.all(groups.map(({ queue }) => queue.waitUntilReady()));
  return async () => {
    const since = performance.now();
    for (let from = 0; from < share; from += SIZE) {
      for (const { queue, jobs } of groups) await queue.addBulk(jobs.slice(from, from + SIZE));
    }
    return { seconds: (performance.now() - since) / 1000 };
  };
});
