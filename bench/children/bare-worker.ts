import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { serveTask } from "../child.ts";

/** BullMQ alone: one worker a queue that does nothing. */
export interface BareWorkerTask {
  redisUrl: string;
  prefix: string;
  queues: string[];
  concurrency: number;
}

await serveTask<BareWorkerTask>(async ({ redisUrl, prefix, queues, concurrency }) => {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const workers = queues.map((queue) => new Worker(queue, async () => undefined, { connection, prefix, concurrency }));
  await Promise.all(workers.map((worker) => worker.waitUntilReady()));
  return async () => undefined;
});
