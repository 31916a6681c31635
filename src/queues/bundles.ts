import { randomUUID } from "node:crypto";
import type { Queue } from "bullmq";
import type { Redis } from "ioredis";
import { messageJobSchema, type MessageJob } from "../channels/message-job.ts";
import { OVER, progressField } from "./bundle-progress.ts";
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

/** Most messages of a bundle: beyond that a job's share of what a message costs is negligible. */
const MOST = 50;
/**
 * For so long at least it is kept what messages in bundles came to, seconds in which any come to an end: while the ledger is away, none
 * do, and nothing is forgotten.
 */
const KEPT_SECONDS = 60;

/** Somebody else may take others out of the same bundle. */
const REPLACE_TRIES = 3;

/** A process with so many slots has several bundles under way, and leaves the others some. */
export const bundleSize = (concurrency: number): number => Math.max(1, Math.min(MOST, Math.ceil(concurrency / 4)));

/** Says how many messages it has, for whoever counts them. */
export const bundleId = (messages: number): string => `${BUNDLE}-${messages}-${randomUUID()}`;

/** How many messages a job has, by its id. */
export function messagesIn(jobId: string): number {
  return Number(/^bundle-(\d+)-/.exec(jobId)?.[1] ?? 1);
}

const named = messageJobSchema.pick({ messageId: true, channel: true });

/** The messages of a bundle, as far as they say which they are; each is checked when its turn comes, and fails alone. */
export function messagesOf(data: unknown): MessageJob[] {
  const { messages } = (data ?? {}) as { messages?: unknown };
  return Array.isArray(messages) ? messages.filter((each): each is MessageJob => named.safeParse(each).success) : [];
}

/**
 * Which message is in which bundle, and what those came to that are no longer in one, for a ledger that loses its last seconds in a
 * failover: what a message's own job tells by its id. All methods reject with `UnavailableError`.
 */
export interface Bundles {
  /** Before the bundle is added: one that is never added is found out by `busy`. */
  enter(queue: string, bundle: string, messageIds: readonly string[]): Promise<void>;
  /** What messages of a bundle came to, where it must not be forgotten: in the bundle they are over. */
  keep(queue: string, bundle: string, outcomes: readonly KeptOutcome[]): Promise<void>;
  /** They are no longer in this one, nor their words: it has the others from now on. One that is gone stays so. */
  drop(queue: string, bundle: string, messageIds: readonly string[], others: readonly MessageJob[]): Promise<void>;
  /** They are no longer in a bundle. */
  leave(queue: string, messageIds: readonly string[]): Promise<void>;
  /** Of these, those of which Redis knows: they are in a bundle, have left one lately, or have a job, ended or not. */
  known(queue: string, messageIds: readonly string[]): Promise<Set<string>>;
  /** Of these, those in a bundle that has not ended. */
  busy(queue: string, messageIds: readonly string[]): Promise<Set<string>>;
  /** What those of these came to that were in a bundle lately. */
  outcomes(queue: string, messageIds: readonly string[]): Promise<KeptOutcome[]>;
  /** Takes messages out of the bundles that no worker has in hand. */
  takeOut(queue: string, messageIds: readonly string[]): Promise<void>;
}

/**
 * KEYS: outcomes of now, those before them, the bundle. ARGV: how many are kept at least, for how long at least and at most, seconds;
 * then ids and outcomes. A part that is full and old enough takes the place of the one before it.
 */
const KEEP = `
local now = tonumber(redis.call("time")[1])
local since = tonumber(redis.call("hget", KEYS[1], "since") or now)
if redis.call("hlen", KEYS[1]) > tonumber(ARGV[1]) and now - since >= tonumber(ARGV[2]) then
  redis.call("rename", KEYS[1], KEYS[2])
end
redis.call("hsetnx", KEYS[1], "since", now)
redis.call("hset", KEYS[1], unpack(ARGV, 4))
redis.call("expire", KEYS[1], ARGV[3])
if redis.call("exists", KEYS[3]) == 1 then
  local over = {}
  for i = 4, #ARGV, 2 do
    over[i - 3] = "${progressField("")}" .. ARGV[i]
    over[i - 2] = "${OVER}"
  end
  redis.call("hset", KEYS[3], unpack(over))
end
`;

/** KEYS: the bundle, which message is in which. ARGV: its data as they are to be, then ids. */
const DROP = `
if redis.call("exists", KEYS[1]) == 1 then redis.call("hset", KEYS[1], "data", ARGV[1]) end
redis.call("hdel", KEYS[2], unpack(ARGV, 2))
`;

/**
 * KEYS: what waits, a job. ARGV: its id, its data as they were, as they are to be, fields that go. Answers 0 when a worker has it, or it
 * has changed.
 */
const REPLACE = `
if redis.call("lpos", KEYS[1], ARGV[1]) and redis.call("hget", KEYS[2], "data") == ARGV[2] then
  redis.call("hset", KEYS[2], "data", ARGV[3])
  redis.call("hdel", KEYS[2], unpack(ARGV, 4))
  return 1
end
return 0
`;

/** `retention`: of completed jobs. */
export function createBundles(
  redis: Redis,
  queueOf: (name: string) => Queue,
  retention: { age: number; count: number },
): Bundles {
  const keeps = retention.count > 0 && retention.age > 0;
  const key = (queue: string, name: string): string => queueOf(queue).toKey(name);
  const read = async (at: string, fields: readonly string[]): Promise<(string | null)[]> =>
    fields.length === 0 ? [] : withRedis("looking into bundles", () => redis.hmget(at, ...fields));
  const readKept = async (queue: string, ids: readonly string[]): Promise<(string | null)[]> => {
    const [now, before] = await Promise.all([read(key(queue, "ended"), ids), read(key(queue, "ended:before"), ids)]);
    return ids.map((_, i) => now[i] ?? before[i] ?? null);
  };
  /** By bundle, those of these messages that are entered for it. */
  const entered = async (queue: string, ids: readonly string[]): Promise<Map<string, string[]>> => {
    const found = await read(key(queue, "bundled"), ids);
    const byBundle = new Map<string, string[]>();
    found.forEach((bundle, i) => {
      if (bundle !== null) byBundle.set(bundle, [...(byBundle.get(bundle) ?? []), ids[i] as string]);
    });
    return byBundle;
  };
  const leave = async (queue: string, ids: readonly string[]): Promise<void> => {
    if (ids.length > 0) await withRedis("leaving a bundle", () => redis.hdel(key(queue, "bundled"), ...ids));
  };
  /** False when it changed meanwhile. */
  async function takeOutOf(queue: string, bundle: string, gone: readonly string[]): Promise<boolean> {
    const at = key(queue, bundle);
    const [data] = await read(at, ["data"]);
    if (!data) return true;
    const messages = messagesOf(JSON.parse(data)).filter(({ messageId }) => !gone.includes(messageId));
    const words = [bundle, data, JSON.stringify({ messages } satisfies BundleJob), ...gone.map(progressField)];
    const done = await withRedis("taking out of a bundle", () =>
      redis.eval(REPLACE, 2, key(queue, "wait"), at, ...words),
    );
    if (done === 1) await leave(queue, gone);
    return done === 1;
  }

  return {
    async enter(queue, bundle, ids) {
      const fields = ids.flatMap((id) => [id, bundle]);
      await withRedis("entering a bundle", () => redis.hset(key(queue, "bundled"), ...fields));
    },

    async keep(queue, bundle, outcomes) {
      if (!keeps || outcomes.length === 0) return;
      const words = outcomes.flatMap((outcome) => [outcome.messageId, JSON.stringify(outcome)]);
      const bounds = [retention.count, KEPT_SECONDS, retention.age];
      const keys = [key(queue, "ended"), key(queue, "ended:before"), key(queue, bundle)];
      await withRedis("keeping outcomes", () => redis.eval(KEEP, keys.length, ...keys, ...bounds, ...words));
    },

    async drop(queue, bundle, ids, others) {
      if (ids.length === 0) return;
      const data = JSON.stringify({ messages: [...others] } satisfies BundleJob);
      const keys = [key(queue, bundle), key(queue, "bundled")];
      await withRedis("leaving a bundle", () => redis.eval(DROP, keys.length, ...keys, data, ...ids));
    },

    leave,

    async known(queue, ids) {
      if (ids.length === 0) return new Set();
      const [bundles, outcomes, jobs] = await Promise.all([
        read(key(queue, "bundled"), ids),
        readKept(queue, ids),
        withRedis("counting jobs", () => redis.exists(...ids.map((id) => key(queue, id)))),
      ]);
      // Hardly ever one of them has a job: then it is looked up which.
      const own = jobs === 0 ? [] : await Promise.all(ids.map((id) => read(key(queue, id), ["timestamp"])));
      return new Set(ids.filter((_, i) => (bundles[i] ?? outcomes[i] ?? own[i]?.[0] ?? null) !== null));
    },

    async busy(queue, ids) {
      const busy = new Set<string>();
      for (const [bundle, messages] of await entered(queue, ids)) {
        const [timestamp, finishedOn] = await read(key(queue, bundle), ["timestamp", "finishedOn"]);
        if (timestamp !== null && finishedOn === null) for (const id of messages) busy.add(id);
        else await leave(queue, messages);
      }
      return busy;
    },

    async outcomes(queue, ids) {
      return (await readKept(queue, ids)).flatMap((each) => {
        const outcome = each === null ? undefined : messageJobSchema.shape.outcome.safeParse(JSON.parse(each)).data;
        return outcome ? [outcome] : [];
      });
    },

    async takeOut(queue, ids) {
      for (const [bundle, gone] of await entered(queue, ids)) {
        for (let left = REPLACE_TRIES; left > 0 && !(await takeOutOf(queue, bundle, gone)); left--);
      }
    },
  };
}
