import type { Redis } from "ioredis";
import { withRedis } from "../queues/redis.ts";
import type { Alert } from "./conditions.ts";

/** What this process is to tell of. Whoever is given something tells it, then says so; else another process is given it. */
export interface Tidings {
  raised: Alert[];
  over: Alert[];
}

/**
 * What people have been told, shared by all processes. Of each alert: when somebody last saw it (`seen`), what was said of it
 * (`text`), and until when whoever is telling it has time for that (`raising`, `ending`), for ever once it is told.
 *
 *     new ─▶ raising ─▶ told ─▶ ending ─▶ gone
 */
export interface AlertLedger {
  /** `blind`: the database could not be asked, so that nothing which it knows is over. All reject with `UnavailableError`. */
  report(alerts: readonly Alert[], blind: boolean): Promise<Tidings>;
  told(alert: Alert, tidings: keyof Tidings): Promise<void>;
  /** It could not be told: it is to be tried again at the next look. */
  untold(alert: Alert, tidings: keyof Tidings): Promise<void>;
}

/** Telling takes less, milliseconds; a process that dies meanwhile leaves it to another. */
const CLAIM_MS = 60_000;

/** ARGV: how long nobody has to have seen an alert for it to be over; CLAIM_MS; 1: blind; then ids and texts. */
const REPORT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen, raising, ending, texts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local raised, over = {}, {}
for i = 4, #ARGV, 2 do
  local id = ARGV[i]
  redis.call('ZADD', seen, now, id)
  redis.call('ZREM', ending, id)
  local claim = redis.call('ZSCORE', raising, id)
  if not claim or tonumber(claim) < now then
    redis.call('ZADD', raising, now + ARGV[2], id)
    redis.call('HSET', texts, id, ARGV[i + 1])
    raised[#raised + 1] = id
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - ARGV[1])) do
  if ARGV[3] == '1' and not id:find('^stuck:') and not id:find('^failures:') then
    redis.call('ZADD', seen, now, id)
  elseif redis.call('ZSCORE', raising, id) ~= 'inf' then
    redis.call('ZREM', seen, id)
    redis.call('ZREM', raising, id)
    redis.call('HDEL', texts, id)
  elseif (tonumber(redis.call('ZSCORE', ending, id) or 0)) < now then
    redis.call('ZADD', ending, now + ARGV[2], id)
    over[#over + 1] = id
    over[#over + 1] = redis.call('HGET', texts, id) or ''
  end
end
return { raised, over }`;

/** ARGV: the id. It is gone, unless it has come back while it was told to be over. */
const GONE = `
if redis.call('ZSCORE', KEYS[3], ARGV[1]) then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  redis.call('ZREM', KEYS[3], ARGV[1])
  redis.call('HDEL', KEYS[4], ARGV[1])
else
  redis.call('ZREM', KEYS[2], ARGV[1])
end`;

export function createAlertLedger(redis: Redis, prefix: string, graceMs: number): AlertLedger {
  const keys = ["seen", "raising", "ending", "texts"].map((part) => `${prefix}:alerts:${part}`);
  const [, raising = "", ending = ""] = keys;
  const guarded = <T>(run: () => Promise<T>): Promise<T> => withRedis("the alerts", run);
  return {
    report: (alerts, blind) =>
      guarded(async () => {
        const given = alerts.flatMap(({ id, text }) => [id, text]);
        const answer = await redis.eval(
          REPORT,
          keys.length,
          ...keys,
          String(graceMs),
          String(CLAIM_MS),
          blind ? "1" : "0",
          ...given,
        );
        const [raised, over] = answer as [string[], string[]];
        const mine = new Set(raised);
        return {
          raised: alerts.filter(({ id }) => mine.has(id)),
          over: Array.from({ length: over.length / 2 }, (_, i) => ({ id: over[2 * i]!, text: over[2 * i + 1]! })),
        };
      }),
    told: ({ id }, tidings) =>
      guarded(async () => {
        if (tidings === "raised") await redis.zadd(raising, "XX", "inf", id);
        else await redis.eval(GONE, keys.length, ...keys, id);
      }),
    untold: ({ id }, tidings) =>
      guarded(async () => void (await redis.zrem(tidings === "raised" ? raising : ending, id))),
  };
}
