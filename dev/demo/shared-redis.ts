import { Redis } from "ioredis";

/** Removes all keys under a prefix from a Redis that is not ours and goes on running. */
export async function clearPrefix(redisUrl: string, prefix: string): Promise<void> {
  const redis = new Redis(redisUrl);
  try {
    for await (const keys of redis.scanStream({ match: `${prefix}*`, count: 1000 })) {
      const found = keys as string[];
      if (found.length > 0) await redis.del(...found);
    }
  } finally {
    redis.disconnect();
  }
}
