import { isIPv6 } from "node:net";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from "rate-limiter-flexible";
import type { RateLimiterAbstract } from "rate-limiter-flexible";

export interface LimiterStore {
  client: Redis;
  /** Prepended to every key. */
  keyPrefix: string;
}

/** Slows down whoever guesses the secret. */
export interface LoginThrottle {
  /** Counts one attempt; resolves to how many seconds to wait when it is one too many, else to `undefined`. */
  attempt(address: string): Promise<number | undefined>;
  /** Forgets the address's attempts. */
  forgive(address: string): void;
}

const ATTEMPTS_PER_ADDRESS = 5;
/** Whoever has many addresses meets this one; so does the operator meanwhile. */
const ATTEMPTS_IN_ALL = 100;
const WINDOW_SECONDS = 60;
const EVERYBODY = "all";

/**
 * Attempts are counted before the secret is looked at: counting failures afterwards would let any number of requests
 * through at the same time. While Redis is down each process counts for itself.
 */
export function createLoginThrottle(store: LimiterStore | undefined, log: Logger): LoginThrottle {
  const perAddress = limiter("login-ip", ATTEMPTS_PER_ADDRESS, store);
  const inAll = limiter("login-all", ATTEMPTS_IN_ALL, store);
  return {
    async attempt(address) {
      return (await consume(perAddress, blockOf(address))) ?? (await consume(inAll, EVERYBODY));
    },
    forgive(address) {
      // Not awaited: with Redis down the command waits in ioredis' queue for as long as that lasts.
      perAddress.delete(blockOf(address)).catch((error: unknown) => {
        log.warn({ err: error }, "a good login could not reset its attempts");
      });
    },
  };
}

function limiter(name: string, points: number, store: LimiterStore | undefined): RateLimiterAbstract {
  const limits = { points, duration: WINDOW_SECONDS, keyPrefix: `${store?.keyPrefix ?? ""}${name}` };
  const inMemory = new RateLimiterMemory(limits);
  if (store === undefined) return inMemory;
  return new RateLimiterRedis({
    ...limits,
    storeClient: store.client,
    insuranceLimiter: inMemory,
    rejectIfRedisNotReady: true,
  });
}

async function consume(limits: RateLimiterAbstract, key: string): Promise<number | undefined> {
  try {
    await limits.consume(key);
    return undefined;
  } catch (refusal) {
    if (!(refusal instanceof RateLimiterRes)) throw refusal;
    return Math.max(1, Math.ceil(refusal.msBeforeNext / 1_000));
  }
}

/** Who has one IPv6 address has 2^64 of them: these count as one. */
function blockOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!isIPv6(address)) return address;
  const [head = "", tail] = address.split("%")[0]!.toLowerCase().split("::");
  const groups = head === "" ? [] : head.split(":");
  if (tail !== undefined) {
    const ending = tail === "" ? [] : tail.split(":");
    while (groups.length + ending.length < 8) groups.push("0");
    groups.push(...ending);
  }
  return `${groups
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, ""))
    .join(":")}::/64`;
}
