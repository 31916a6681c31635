import { Queue, type Job, type JobType } from "bullmq";
import { Redis } from "ioredis";
import { CHARGE_JOB } from "../../src/channels/inbound-job.ts";

const UNFINISHED: JobType[] = ["waiting", "prioritized", "active", "delayed", "waiting-children"];
const NAMES = ["hunt", "whatsapp", "sms", "voice", "inbound", "webhooks"];

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
  // What a message cost is asked for an hour long: no message and no webhook waits for that.
  const open = async (queue: Queue, types: JobType[]): Promise<Job[]> => {
    const jobs: (Job | undefined)[] = await queue.getJobs(types);
    return jobs.flatMap((job) => (job === undefined || job.name === CHARGE_JOB ? [] : [job]));
  };
  return {
    async unfinished() {
      const now = UNFINISHED.filter((type) => type !== "delayed");
      const counts = await Promise.all(queues.map((queue) => queue.getJobCountByTypes(...now)));
      const sum = counts.reduce((all, count) => all + count, 0);
      if (sum > 0) return sum;
      return (await Promise.all(queues.map((queue) => open(queue, ["delayed"])))).flat().length;
    },
    async stuck(statusOf) {
      const stuck: string[] = [];
      for (const queue of queues) {
        for (const job of await open(queue, UNFINISHED)) {
          const status = statusOf(job.id ?? "");
          stuck.push(`${queue.name}: job ${job.id} is ${await job.getState()}, its message: ${status}`);
        }
        for (const job of await open(queue, ["failed"])) {
          const status = statusOf(job.id ?? "");
          if (status === "failed") continue;
          stuck.push(`${queue.name}: job ${job.id} failed (${job.failedReason}), its message: ${status}`);
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
