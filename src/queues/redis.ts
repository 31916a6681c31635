import { Cluster, Redis } from "ioredis";
import { within } from "../core/deadline.ts";
import { readRedisUrl } from "../core/redis-url.ts";
import { UnavailableError } from "../core/errors.ts";

/** How long a command of the API may wait for Redis before the caller is told, milliseconds. */
const COMMAND_TIMEOUT_MS = 5000;
/**
 * From a command until Redis says anything, milliseconds; a worker's blocking command takes up to 10 s. A server that hangs,
 * or is cut off, closes nothing: without this it is waited for even when sentinel or cluster have another in its place.
 */
const SILENCE_MS = 15_000;

/**
 * A connection that reconnects for ever.
 *
 * `worker` connections wait for Redis to come back, because a worker has nothing better to do. `api` connections fail
 * at once while it is away, because a caller is waiting.
 */
export function connectRedis(url: string, kind: "api" | "worker"): Redis {
  const place = readRedisUrl(url);
  if (typeof place === "string") throw new Error(`The address of Redis ${place}.`);
  const options = {
    retryStrategy: (times: number) => Math.min(1000, 50 * times),
    maxRetriesPerRequest: null,
    socketTimeout: SILENCE_MS,
    // A Redis that is loading its file or has just become a replica is about to be well again.
    reconnectOnError: (error: Error) => /^(READONLY|LOADING)/.test(error.message),
    ...(kind === "api" ? { enableOfflineQueue: false, commandTimeout: COMMAND_TIMEOUT_MS } : {}),
  };
  if (place.kind === "single") return new Redis(place.url, options);
  const { username, password, tls } = place;
  const access = {
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
  };
  if (place.kind === "sentinel") {
    const { sentinels, name, db } = place;
    return new Redis({ ...options, ...access, sentinels, name, db, enableTLSForSentinelMode: tls });
  }
  const cluster = new Cluster(place.nodes, {
    clusterRetryStrategy: (times) => Math.min(1000, 50 * times),
    enableOfflineQueue: kind === "worker",
    redisOptions: { ...options, ...access },
  });
  // It has the same commands; all keys of the service have the prefix's hash tag, and so are on one node.
  return cluster as unknown as Redis;
}

/**
 * Runs something that needs Redis; whatever ioredis throws then becomes `UnavailableError`. So does waiting: before its
 * first connection BullMQ waits for Redis without an end, whatever the connection's own time-outs say.
 */
export async function withRedis<T>(operation: string, run: () => Promise<T>): Promise<T> {
  try {
    return await within(COMMAND_TIMEOUT_MS, run(), () => new Error("Redis did not answer in time."));
  } catch (error) {
    throw new UnavailableError("redis", `Redis cannot serve ${operation} now.`, error);
  }
}
