/**
 * The throttle's scripts. KEYS: the sender's state, the places that it has given, all senders. ARGV of each: min, max, the
 * sender's name among all, for how long it is remembered; then its own.
 *
 * State, times in milliseconds: `rate` a second; `tail`, the first time that nobody has; `over`, when the next of those
 * beyond the horizon comes back; `held`, until when the vendor wants to hear nothing; `cut`, when the rate was last cut.
 */
const STATE = `
local time = redis.call("time")
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local min, max, name, kept = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local known = redis.call("hmget", KEYS[1], "rate", "tail", "held", "cut")
local rate = math.min(max, math.max(min, tonumber(known[1] or max)))
local tail, held, cut = tonumber(known[2] or 0), tonumber(known[3] or 0), tonumber(known[4] or 0)
local function keep()
  redis.call("hset", KEYS[1], "rate", tostring(rate), "min", ARGV[1], "max", ARGV[2],
    "tail", tostring(tail), "held", held, "cut", cut)
  redis.call("pexpire", KEYS[1], kept)
  redis.call("zadd", KEYS[3], now, name)
end
`;

/**
 * ARGV: id, horizon, longest wait, patience. Answers: the wait, now, of the wait what is held, whether the rate can grow.
 *
 * Three kinds of wait, so that no job comes back often:
 * - within the horizon it has a place of its own, and goes when that comes;
 * - beyond it, it comes back when it could have a place at best, at the maximal rate. So jobs come back about as fast as they
 *   could be sent at best, however many there are, and a rate that recovers finds them there;
 * - while the sender is held, both begin where that ends.
 *
 * Hunts are fed so that few of their messages wait here: how long one waits does not depend on how big another hunt is.
 *
 * A place that is not taken in time is lost. Fast senders may catch up on a second of them, as after a busy moment; slow ones
 * keep their distance, because their vendors count.
 */
export const ASK = `${STATE}
local id, horizon, longest = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7])
if held - now > tonumber(ARGV[8]) then
  return { held - now, now, held - now, 0 }
end
local SLACK = 100
local gap = 1000 / rate
local late = gap < 1000 and 1000 or gap / 10
redis.call("zremrangebyscore", KEYS[2], "-inf", "(" .. tostring(now - late))
local mine = tonumber(redis.call("zscore", KEYS[2], id) or -1)
local start = math.max(now, held)
tail = math.max(tail, held)
local wait = 0
if mine > now and mine >= held then
  wait = mine - now
else
  redis.call("zrem", KEYS[2], id)
  if mine >= 0 and held <= now then
    wait = 0
  elseif tail <= now then
    tail = math.max(tail, now - SLACK) + gap
  elseif tail - start < horizon then
    wait = tail - now
    redis.call("zadd", KEYS[2], tostring(tail), id)
    redis.call("pexpire", KEYS[2], kept)
    tail = tail + gap
  else
    local due = math.max(tail - horizon + 1000 / max, tonumber(redis.call("hget", KEYS[1], "over") or 0))
    redis.call("hset", KEYS[1], "over", tostring(due + 1000 / max))
    wait = due - now
    if wait > longest then
      wait = longest / 2 + wait % (longest / 2)
    end
  end
end
keep()
return { math.ceil(wait), now, math.max(0, held - now), rate < max and 1 or 0 }
`;

/**
 * ARGV: when the permit was given, the step. A second's worth of acceptances makes the rate one step greater; what was
 * sent before a cut says nothing of the rate since.
 */
export const ACCEPTED = `${STATE}
if tonumber(ARGV[5]) > cut then
  rate = math.min(max, rate + tonumber(ARGV[6]) * math.min(1, 1 / rate))
  keep()
end
`;

/**
 * ARGV: when the permit was given, the factor, for how long the vendor wants to hear nothing, its code. Of all that went
 * out before the cut only the first refusal cuts. The places were given at the old rate, so they are void.
 */
export const REFUSED = `${STATE}
if tonumber(ARGV[5]) > cut then
  rate = math.max(min, rate * tonumber(ARGV[6]))
  cut = now
  tail = now + 1000 / rate
  redis.call("del", KEYS[2])
end
held = math.max(held, now + tonumber(ARGV[7]))
redis.call("hset", KEYS[1], "code", ARGV[8], "refused", now)
keep()
`;
