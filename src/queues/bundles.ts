import { randomUUID } from "node:crypto";
import type { Job, Queue } from "bullmq";
import type { Redis } from "ioredis";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import { withRedis } from "./redis.ts";

/** Name of the jobs that carry several messages. */
export const BUNDLE = "bundle";

/** Of messages as `MessageJob`: the first worker to have it sends them, the next one gives each a job of its own. */
export interface BundleJob {
  messages: MessageJob[];
}

/** As it was, or is to be, recorded. */
export type KeptOutcome = NonNullable<MessageJob["outcome"]>;

/** Whether a ledger that has forgotten it must be told, or it would have the message sent again. */
export const isKept = ({ result }: KeptOutcome): boolean => result === "sent" || result === "unknown";

/** Messages in a bundle: with more, a job costs next to nothing a message already. */
const MOST = 50;
/**
 * That messages were in bundles, and what they came to, is kept for so long at least, and twice as long at most, seconds: for a
 * ledger that loses its last seconds in a failover.
 */
const KEPT_SECONDS = 30;

/** A process with so many slots has several bundles under way, and leaves the others some. */
export const bundleSize = (concurrency: number): number => Math.max(1, Math.min(MOST, Math.ceil(concurrency / 4)));

/** Says how many messages it has, for whoever counts them. */
export const bundleId = (messages: number): string => `${BUNDLE}-${messages}-${randomUUID()}`;

/** How many messages a job has, by its id. */
export function messagesIn(jobId: string): number {
  return Number(/^bundle-(\d+)-/.exec(jobId)?.[1] ?? 1);
}

/** The messages of a bundle; what makes no sense has no message to be kept for. */
export function messagesOf(data: unknown): MessageJob[] {
  const { messages } = (data ?? {}) as { messages?: unknown };
  return Array.isArray(messages) ? messages.flatMap((each) => messageJobSchema.safeParse(each).data ?? []) : [];
}

/**
 * Which message is in which bundle, and what those came to that are no longer in one: what a message's own job tells by its id.
 * All methods reject with `UnavailableError`.
 */
export interface Bundles {
  /** Before the bundle is added: one that is never added is found out by `busy`. */
  enter(queue: string, bundle: string, messageIds: readonly string[]): Promise<void>;
  /** They have jobs of their own, or have come to an end: `outcome` is kept where it must not be forgotten. */
  leave(queue: string, messages: readonly Pick<MessageJob, "messageId" | "outcome">[]): Promise<void>;
  /** Of these, those that are in a bundle, or have left one lately. */
  known(queue: string, messageIds: readonly string[]): Promise<Set<string>>;
  /** Of these, those in a bundle that has not ended. */
  busy(queue: string, messageIds: readonly string[]): Promise<Set<string>>;
  /** What those of these came to that were in a bundle lately. */
  outcomes(queue: string, messageIds: readonly string[]): Promise<KeptOutcome[]>;
  /** Takes messages out of the bundles that no worker has in hand. */
  takeOut(queue: string, messageIds: readonly string[]): Promise<void>;
}

/** `keeps`: whether anything of what has ended is to stay. */
export function createBundles(redis: Redis, queueOf: (name: string) => Queue, keeps: boolean): Bundles {
  const register = (queue: string): string => queueOf(queue).toKey("bundled");
  const kept = (queue: string, age: number): string => {
    const period = Math.floor(Date.now() / (KEPT_SECONDS * 1000)) - age;
    return queueOf(queue).toKey(`ended:${period}`);
  };
  const read = async (key: string, fields: readonly string[]): Promise<(string | null)[]> =>
    fields.length === 0 ? [] : withRedis("looking into bundles", () => redis.hmget(key, ...fields));
  const readKept = async (queue: string, ids: readonly string[]): Promise<(string | null)[]> => {
    const [now, before] = await Promise.all([read(kept(queue, 0), ids), read(kept(queue, 1), ids)]);
    return ids.map((_, i) => now[i] ?? before[i] ?? null);
  };
  /** By bundle, those of these messages that are entered for it. */
  const entered = async (queue: string, ids: readonly string[]): Promise<Map<string, string[]>> => {
    const found = await read(register(queue), ids);
    const byBundle = new Map<string, string[]>();
    found.forEach((bundle, i) => {
      if (bundle !== null) byBundle.set(bundle, [...(byBundle.get(bundle) ?? []), ids[i] as string]);
    });
    return byBundle;
  };

  return {
    async enter(queue, bundle, ids) {
      await withRedis("entering a bundle", () => redis.hset(register(queue), ...ids.flatMap((id) => [id, bundle])));
    },

    async leave(queue, messages) {
      if (messages.length === 0) return;
      const key = kept(queue, 0);
      const words = messages.flatMap(({ messageId, outcome }) => [
        messageId,
        keeps && outcome && isKept(outcome) ? JSON.stringify(outcome) : "",
      ]);
      const pipeline = redis
        .pipeline()
        .hset(key, ...words)
        .expire(key, 2 * KEPT_SECONDS)
        .hdel(register(queue), ...messages.map(({ messageId }) => messageId));
      const answers = await withRedis("leaving a bundle", () => pipeline.exec());
      const error = answers?.find(([each]) => each)?.[0];
      if (error) throw new UnavailableError("redis", "Redis cannot note what became of messages now.", error);
    },

    async known(queue, ids) {
      const [bundles, outcomes] = await Promise.all([read(register(queue), ids), readKept(queue, ids)]);
      return new Set(ids.filter((_, i) => (bundles[i] ?? outcomes[i] ?? null) !== null));
    },

    async busy(queue, ids) {
      const byBundle = await entered(queue, ids);
      const alive = await Promise.all(
        [...byBundle].map(async ([bundle, messages]) => {
          const [timestamp, finishedOn] = await read(queueOf(queue).toKey(bundle), ["timestamp", "finishedOn"]);
          return timestamp !== null && finishedOn === null ? messages : [];
        }),
      );
      return new Set(alive.flat());
    },

    async outcomes(queue, ids) {
      return (await readKept(queue, ids)).flatMap((each) => {
        const outcome = !each ? undefined : messageJobSchema.shape.outcome.safeParse(JSON.parse(each)).data;
        return outcome ? [outcome] : [];
      });
    },

    async takeOut(queue, ids) {
      for (const [bundle, gone] of await entered(queue, ids)) {
        const job = (await withRedis("a bundle", () => queueOf(queue).getJob(bundle))) as Job<unknown> | undefined;
        if ((await withRedis("a bundle", async () => job?.getState())) !== "waiting") continue;
        const messages = messagesOf(job?.data).filter(({ messageId }) => !gone.includes(messageId));
        await withRedis("a bundle", async () => job?.updateData({ messages } satisfies BundleJob));
        await this.leave(
          queue,
          gone.map((messageId) => ({ messageId })),
        );
      }
    },
  };
}
