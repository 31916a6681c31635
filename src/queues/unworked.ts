import type { Redis } from "ioredis";
import { withRedis } from "./redis.ts";

/** What waits in a queue, its lanes apart, while nobody works it. */
export interface UnworkedQueue {
  queue: string;
  waiting: number;
  /** For how long its next job has waited, seconds. */
  seconds: number;
}

/**
 * KEYS: what all of a queue's keys begin with. ARGV: the time, milliseconds. Answers of each queue how many jobs wait, and since
 * when, or 0 where none does or somebody works.
 *
 * A job that is worked is locked; a worker that died leaves it among the active ones without its lock. One that was put off
 * and is due waits as well: it is a worker that would bring it among those that wait (its score: BullMQ's time times 4096).
 */
const UNWORKED = `
local now = tonumber(ARGV[1])
local found = {}
for i, base in ipairs(KEYS) do
  local since = now
  local function waits(id)
    if not id then return end
    local times = redis.call('HMGET', base .. id, 'timestamp', 'processedOn')
    since = math.min(since, math.max(tonumber(times[1] or now) or now, tonumber(times[2] or 0) or 0))
  end
  local worked = redis.call('HEXISTS', base .. 'meta', 'paused') == 1
  local active = redis.call('LRANGE', base .. 'active', 0, 999)
  for _, id in ipairs(active) do
    if worked then break end
    worked = redis.call('EXISTS', base .. id .. ':lock') == 1
  end
  local waiting = #active + redis.call('LLEN', base .. 'wait') + redis.call('ZCARD', base .. 'prioritized')
  waits(active[#active])
  waits(redis.call('LINDEX', base .. 'wait', -1))
  waits(redis.call('ZRANGE', base .. 'prioritized', 0, 0)[1])
  local due = redis.call('ZRANGE', base .. 'delayed', 0, 0, 'WITHSCORES')[2]
  if due then
    waiting = waiting + redis.call('ZCOUNT', base .. 'delayed', '-inf', string.format('%.0f', now * 4096))
    since = math.min(since, math.floor(tonumber(due) / 4096))
  end
  found[2 * i - 1] = waiting
  found[2 * i] = worked and 0 or now - since
end
return found`;

/** Of these queues, those in which jobs wait that nobody takes, in any process. Rejects with `UnavailableError`. */
export async function readUnworked(
  redis: Redis,
  queues: readonly { name: string; base: string }[],
  now: number,
): Promise<UnworkedQueue[]> {
  if (queues.length === 0) return [];
  const bases = queues.map(({ base }) => base);
  const found = await withRedis(
    "looking for queues that nobody works",
    async () => (await redis.eval(UNWORKED, bases.length, ...bases, String(now))) as number[],
  );
  return queues
    .map(({ name }, i) => ({ queue: name, waiting: found[2 * i] ?? 0, seconds: (found[2 * i + 1] ?? 0) / 1000 }))
    .filter(({ seconds }) => seconds > 0);
}
