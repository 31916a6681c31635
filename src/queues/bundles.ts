import { randomUUID } from "node:crypto";
import type { Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";

/** Name of the jobs that carry several messages. */
export const BUNDLE = "bundle";

/** Of messages as `MessageJob`: the first worker to have it sends them, the next one gives each a job of its own. */
export interface BundleJob {
  messages: MessageJob[];
}

/** Messages in a bundle: what an eighth of a process' concurrency takes off the cost of a job. */
const MOST = 50;

export const bundleSize = (concurrency: number): number => Math.max(1, Math.min(MOST, Math.ceil(concurrency / 4)));

/** Says how many messages it has, for whoever counts them. */
export const bundleId = (messages: number): string => `${BUNDLE}-${messages}-${randomUUID()}`;

/** How many messages a job has, by its id. */
export function messagesIn(jobId: string): number {
  return Number(/^bundle-(\d+)-/.exec(jobId)?.[1] ?? 1);
}

const isBundle = (jobId: string): boolean => jobId.startsWith(`${BUNDLE}-`);

/** What waits, or is under way, in the bundles of a queue: ids of messages. */
export async function bundled(redis: Redis, queue: Queue): Promise<Set<string>> {
  const lists = await Promise.all(["wait", "active"].map((list) => redis.lrange(queue.toKey(list), 0, -1)));
  const ids = lists.flat().filter(isBundle);
  const pipeline = redis.pipeline();
  for (const id of ids) pipeline.hget(queue.toKey(id), "data");
  const answers = ids.length > 0 ? ((await pipeline.exec()) ?? []) : [];
  return new Set(
    answers.flatMap(([error, data]) => {
      if (error) throw error;
      return typeof data === "string" ? messagesOf(JSON.parse(data)).map(({ messageId }) => messageId) : [];
    }),
  );
}

/** Takes messages out of the bundles that no worker has in hand yet. */
export async function takeOut(queue: Queue, messageIds: ReadonlySet<string>): Promise<void> {
  for (const job of (await queue.getJobs(["waiting"])) as (Job<unknown> | undefined)[]) {
    if (job?.name !== BUNDLE) continue;
    const messages = messagesOf(job.data);
    const others = messages.filter(({ messageId }) => !messageIds.has(messageId));
    if (others.length < messages.length) await job.updateData({ messages: others } satisfies BundleJob);
  }
}

/** The messages of a bundle; what makes no sense has no message to be kept for. */
export function messagesOf(data: unknown): MessageJob[] {
  const { messages } = (data ?? {}) as { messages?: unknown };
  return Array.isArray(messages) ? messages.flatMap((each) => messageJobSchema.safeParse(each).data ?? []) : [];
}
