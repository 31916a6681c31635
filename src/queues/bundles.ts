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

/** Messages in a bundle: with more, a job costs next to nothing a message already. */
const MOST = 50;

/** A process with so many slots has several bundles under way, and leaves the others some. */
export const bundleSize = (concurrency: number): number => Math.max(1, Math.min(MOST, Math.ceil(concurrency / 4)));

/** Says how many messages it has, for whoever counts them. */
export const bundleId = (messages: number): string => `${BUNDLE}-${messages}-${randomUUID()}`;

/** How many messages a job has, by its id. */
export function messagesIn(jobId: string): number {
  return Number(/^bundle-(\d+)-/.exec(jobId)?.[1] ?? 1);
}

/** What waits, or is under way, in the bundles of a queue: ids of messages. */
export async function bundled(redis: Redis, queue: Queue): Promise<Set<string>> {
  const bundles = await read(redis, queue, ["wait", "active"]);
  return new Set(bundles.flatMap(({ messages }) => messages.map(({ messageId }) => messageId)));
}

/** Takes messages out of the bundles that no worker has in hand yet. */
export async function takeOut(redis: Redis, queue: Queue, messageIds: ReadonlySet<string>): Promise<void> {
  for (const { id, messages } of await read(redis, queue, ["wait"])) {
    const others = messages.filter(({ messageId }) => !messageIds.has(messageId));
    if (others.length === messages.length) continue;
    const job = (await queue.getJob(id)) as Job<unknown> | undefined;
    await job?.updateData({ messages: others } satisfies BundleJob);
  }
}

async function read(
  redis: Redis,
  queue: Queue,
  lists: readonly ("wait" | "active")[],
): Promise<{ id: string; messages: MessageJob[] }[]> {
  const jobs = (await Promise.all(lists.map((list) => redis.lrange(queue.toKey(list), 0, -1)))).flat();
  const ids = jobs.filter((id) => id.startsWith(`${BUNDLE}-`));
  return Promise.all(
    ids.map(async (id) => {
      const data = await redis.hget(queue.toKey(id), "data");
      return { id, messages: data === null ? [] : messagesOf(JSON.parse(data)) };
    }),
  );
}

/** The messages of a bundle; what makes no sense has no message to be kept for. */
export function messagesOf(data: unknown): MessageJob[] {
  const { messages } = (data ?? {}) as { messages?: unknown };
  return Array.isArray(messages) ? messages.flatMap((each) => messageJobSchema.safeParse(each).data ?? []) : [];
}
