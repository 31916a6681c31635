import { Queue, type Job, type JobType } from "bullmq";
import { Redis } from "ioredis";

const UNFINISHED: JobType[] = ["waiting", "prioritized", "active", "delayed", "waiting-children"];
const NAMES = ["hunt", "whatsapp", "sms", "voice"];

/** The queues as they are in Redis, past every proxy. */
export interface Jobs extends AsyncDisposable {
  /** How many jobs are not over. */
  unfinished(): Promise<number>;
  /** Jobs that are not over, and jobs that failed while their message did not. */
  stuck(statusOf: (messageId: string) => string | undefined): Promise<string[]>;
}

/** @param lanes queues beside those of the registry. */
export function openJobs(redisUrl: string, prefix: string, lanes: readonly string[]): Jobs {
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const queues = [...NAMES, ...lanes].map((name) => new Queue(name, { connection, prefix }));
  return {
    async unfinished() {
      const counts = await Promise.all(queues.map((queue) => queue.getJobCountByTypes(...UNFINISHED)));
      return counts.reduce((sum, count) => sum + count, 0);
    },
    async stuck(statusOf) {
      const stuck: string[] = [];
      for (const queue of queues) {
        for (const job of await queue.getJobs(UNFINISHED)) {
          const status = statusOf(job.id ?? "");
          stuck.push(`${queue.name}: job ${job.id} is ${await job.getState()}, its message: ${status}`);
        }
        const failed: (Job | undefined)[] = await queue.getJobs(["failed"]);
        for (const job of failed) {
          const status = statusOf(job?.id ?? "");
          if (status === "failed") continue;
          stuck.push(`${queue.name}: job ${job?.id} failed (${job?.failedReason}), its message: ${status}`);
        }
      }
      return stuck;
    },
    async [Symbol.asyncDispose]() {
      for (const queue of queues) await queue.close();
      connection.disconnect();
    },
  };
}
