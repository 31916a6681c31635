import type { Redis } from "ioredis";
import type { Turns } from "../channels/channel.ts";
import { withRedis } from "./redis.ts";

/** How long a turn that has come is kept for whoever is late, milliseconds. */
const KEPT_MS = 60_000;

/**
 * Gives out points in time, `gap` apart, in the order of asking, by Redis' own clock. A turn is taken when its time has
 * come and the last one was taken long enough ago: those that are late (their worker was busy) do not bunch up. A turn
 * that nobody comes for is lost, which costs one gap and nothing else.
 *
 * KEYS: the last time that was given out, the last time that one was taken, this one's own. ARGV: gap, kept.
 */
const TAKE = `
local time = redis.call("time")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local gap = tonumber(ARGV[1])
local kept = tonumber(ARGV[2])
local mine = tonumber(redis.call("get", KEYS[3]) or "-1")
if mine < 0 then
  mine = math.max(now, tonumber(redis.call("get", KEYS[1]) or "0") + gap)
  redis.call("set", KEYS[1], mine, "px", mine - now + gap)
  redis.call("set", KEYS[3], mine, "px", mine - now + kept)
end
local taken = tonumber(redis.call("get", KEYS[2]) or "0")
local due = math.max(mine, taken + gap)
if due > now then
  return due - now
end
redis.call("set", KEYS[2], now, "px", gap)
redis.call("del", KEYS[3])
return 0
`;

/** Turns over all processes that share this Redis. */
export function createTurns(redis: Redis, prefix: string): Turns {
  return {
    take: (name, id, gapMs) =>
      withRedis("giving out turns", async () => {
        const key = `${prefix}:turns:${name}`;
        const wait = await redis.eval(TAKE, 3, key, `${key}:taken`, `${key}:of:${id}`, gapMs, KEPT_MS);
        return Number(wait);
      }),
  };
}
