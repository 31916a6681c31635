import type { Redis } from "ioredis";
import { withRedis } from "./redis.ts";

export interface QueueFigures {
  queue: string;
  /** Jobs by state, its lanes included. */
  counts: { waiting: number; active: number; delayed: number; failed: number };
  /** Since the longest-waiting job was made or last taken, seconds; 0 when none waits. */
  oldestSeconds: number;
}

/**
 * KEYS: of each queue and lane what all its keys begin with. ARGV: of each, the number of its sum; how many
 * sums; the time, milliseconds. Answers five numbers a sum. One call, because an installation may have hundreds of lanes.
 *
 * A prioritised job that waits long behind better ones is not seen: the oldest is sought among those next in turn.
 */
const FIGURES = `
local sums = {}
for i = 1, tonumber(ARGV[#KEYS + 1]) * 5 do sums[i] = 0 end
local now = tonumber(ARGV[#KEYS + 2])
for i, base in ipairs(KEYS) do
  local at = (tonumber(ARGV[i]) - 1) * 5
  local waiting = redis.call('LLEN', base .. 'wait')
  local paused = redis.call('LLEN', base .. 'paused')
  local prioritized = redis.call('ZCARD', base .. 'prioritized')
  sums[at + 1] = sums[at + 1] + waiting + paused + prioritized
  sums[at + 2] = sums[at + 2] + redis.call('LLEN', base .. 'active')
  sums[at + 3] = sums[at + 3] + redis.call('ZCARD', base .. 'delayed')
  sums[at + 4] = sums[at + 4] + redis.call('ZCARD', base .. 'failed')
  local ids = {}
  if waiting > 0 then ids[#ids + 1] = redis.call('LINDEX', base .. 'wait', -1) end
  if paused > 0 then ids[#ids + 1] = redis.call('LINDEX', base .. 'paused', -1) end
  if prioritized > 0 then ids[#ids + 1] = redis.call('ZRANGE', base .. 'prioritized', 0, 0)[1] end
  for _, id in ipairs(ids) do
    local times = redis.call('HMGET', base .. id, 'timestamp', 'processedOn')
    local since = math.max(tonumber(times[1] or now) or now, tonumber(times[2] or 0) or 0)
    sums[at + 5] = math.max(sums[at + 5], now - since)
  end
end
return sums`;

/** Figures of queues, each with its lanes, in one round trip. Rejects with `UnavailableError`. */
export async function readFigures(
  redis: Redis,
  queues: readonly { name: string; bases: readonly string[] }[],
  now: number,
): Promise<QueueFigures[]> {
  const bases = queues.flatMap((queue) => queue.bases);
  const places = queues.flatMap((queue, i) => queue.bases.map(() => String(i + 1)));
  const sums = await withRedis("the figures of the queues", async () => {
    const args = [...bases, ...places, String(queues.length), String(now)];
    return (await redis.eval(FIGURES, bases.length, ...args)) as number[];
  });
  return queues.map(({ name }, i) => {
    const [waiting, active, delayed, failed, oldestMs] = sums.slice(5 * i, 5 * i + 5) as [
      number,
      number,
      number,
      number,
      number,
    ];
    return { queue: name, counts: { waiting, active, delayed, failed }, oldestSeconds: oldestMs / 1000 };
  });
}
