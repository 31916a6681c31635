import { setTimeout as delay } from "node:timers/promises";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { UnavailableError } from "../core/errors.ts";
import { withRedis } from "../queues/redis.ts";
import type { Store } from "../store/store.ts";
import type { Loops } from "./loops.ts";

export interface EpochOptions {
  redis: Redis;
  store: Pick<Store, "observeEpoch" | "nextEpoch">;
  prefix: string;
  /** Between two steps, milliseconds. A backup that is older than this is recognised. */
  intervalMs: number;
  log: Logger;
  loops: Loops;
}

export interface Epoch {
  /** Resolves when the copy has been read: before that nobody may begin an attempt. */
  readonly known: Promise<void>;
  stop(): Promise<void>;
}

/** A step that hangs in a dependency is not waited for at the end, milliseconds. */
const STOP_TIMEOUT_MS = 1000;

/** Two processes may write at once, and one of them late: the copy never goes back. */
const KEEP_GREATER = `
local old = tonumber(redis.call('GET', KEYS[1]) or '0')
if tonumber(ARGV[1]) > old then redis.call('SET', KEYS[1], ARGV[1]) return tonumber(ARGV[1]) end
return old`;

/**
 * Recognises a database that was restored from a backup. The ledger counts its epoch up while the service runs, and
 * Redis holds a copy; with each attempt the ledger is told the greatest value that was ever seen, and refuses when it
 * is behind it (see adopt_epoch).
 */
export function startEpoch({ redis, store, prefix, intervalMs, log, loops }: EpochOptions): Epoch {
  const key = `${prefix}:epoch`;
  const stopping = new AbortController();
  const loop = loops.watch("epoch", intervalMs);
  const { promise: known, resolve } = Promise.withResolvers<void>();

  /** Compares before it counts: a database that was set back must not count past the copy unseen. */
  async function step(): Promise<void> {
    const copy = Number((await withRedis("reading the epoch", () => redis.get(key))) ?? 0);
    store.observeEpoch(copy);
    resolve();
    const next = await store.nextEpoch();
    if (next <= copy) return;
    await withRedis("copying the epoch", () => redis.eval(KEEP_GREATER, 1, key, next));
    store.observeEpoch(next);
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      try {
        await loop.step("count", step);
      } catch (error) {
        if (error instanceof UnavailableError) log.debug({ err: error }, "epoch put off");
        else log.error({ err: error }, "epoch failed");
      }
      await delay(intervalMs, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  })();

  return {
    known,
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}
