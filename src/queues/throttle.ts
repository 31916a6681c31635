import type { Redis } from "ioredis";
import type { Pace } from "../channels/provider.ts";
import { withRedis } from "./redis.ts";
import { ACCEPTED, ASK, REFUSED } from "./throttle-scripts.ts";

/** Who is paced, and how: each sender at each provider has a rate of its own. */
export interface PacedSender {
  provider: string;
  sender: string;
  pace: Pace;
}

export interface Asking {
  id: string;
  /** One who would not wait while the sender is held for longer than this takes no place there; Infinity: waits. */
  patienceMs: number;
}

/** `at`: when, by Redis' clock. `learns`: the rate is below its maximum, so that an acceptance is to be told of. */
export type Permit =
  | { verdict: "go"; at: number; learns: boolean }
  /** Ask again then. `heldMs`: of it, for how long the vendor wants to hear nothing from this sender; 0: it is its backlog. */
  | { verdict: "later"; delayMs: number; heldMs: number };

/** What is known of a sender, as at Redis' clock. */
export interface SenderState {
  provider: string;
  sender: string;
  /** Messages a second: now, and its bounds. */
  rate: number;
  min: number;
  max: number;
  /** Milliseconds since the epoch; undefined: it is not held. */
  heldUntil: number | undefined;
  /** The vendor's last refusal for going too fast, or for a fault of the sender's own. */
  refusal: { code: string; at: number } | undefined;
  /** Messages that have a place in time; a longer backlog has none yet. */
  placed: number;
  /** How long a message would wait that asks now, milliseconds. */
  waitMs: number;
}

/**
 * How fast each sender may send, learned from what its vendor answers and shared by all processes, by Redis' own clock.
 * Each of the first three is one round trip. All reject with `UnavailableError`.
 */
export interface Throttle {
  /**
   * May this message be sent now? Whoever has to wait has a place in time, or is told when to ask for one: see `ASK`.
   */
  ask(sender: PacedSender, message: Asking): Promise<Permit>;
  /** What a permit of `at` was used for was accepted: a little faster from now on. */
  accepted(sender: PacedSender, at: number): Promise<void>;
  /** It was refused, for `retryAfterMs`: slower from now on, once for all that went out before. */
  refused(sender: PacedSender, refusal: { at: number; retryAfterMs: number; code: string }): Promise<void>;
  /** Those that have asked within a day, by provider and sender. */
  senders(): Promise<SenderState[]>;
}

/**
 * How far ahead a message has a place, milliseconds. Places are as far apart as the rate was when they were given, so this
 * is for how long a rate that has recovered goes unused; and how much comes back for nothing when a rate is cut.
 */
const HORIZON_MS = 30_000;
/** Nobody is told to come back later than this, milliseconds: who waits for days is to notice that they have expired. */
const LONGEST_MS = 3_600_000;
/** After so long without a message what was learned of a sender is forgotten, milliseconds. */
const KEPT_MS = 86_400_000;

export function createThrottle(redis: Redis, prefix: string): Throttle {
  const index = `${prefix}:throttle`;
  // What kind it is comes first: a sender's name may end in anything.
  const keysOf = (member: string): [string, string] => [`${index}:state:${member}`, `${index}:places:${member}`];
  const run = (script: string, { provider, sender, pace }: PacedSender, ...args: (string | number)[]) =>
    withRedis("the senders' rates", () => {
      const member = `${provider}:${sender}`;
      const own = args.map(String);
      return redis.eval(script, 3, ...keysOf(member), index, pace.min, pace.max, member, KEPT_MS, ...own);
    });

  return {
    async ask(sender, { id, patienceMs }) {
      const answer = await run(ASK, sender, id, HORIZON_MS, LONGEST_MS, Math.min(patienceMs, KEPT_MS));
      const [delayMs, at, heldMs, learns] = answer as [number, number, number, number];
      return delayMs > 0 ? { verdict: "later", delayMs, heldMs } : { verdict: "go", at, learns: learns === 1 };
    },
    async accepted(sender, at) {
      await run(ACCEPTED, sender, at, sender.pace.step);
    },
    async refused(sender, { at, retryAfterMs, code }) {
      await run(REFUSED, sender, at, sender.pace.cut, Math.ceil(retryAfterMs), code);
    },
    senders: () =>
      withRedis("the senders' rates", async () => {
        const [seconds, micros] = (await redis.time()).map(Number) as [number, number];
        const now = seconds * 1000 + Math.floor(micros / 1000);
        await redis.zremrangebyscore(index, "-inf", String(now - KEPT_MS));
        const members = (await redis.zrange(index, "0", "-1")).toSorted();
        const pipeline = redis.pipeline();
        for (const [state, places] of members.map(keysOf)) pipeline.hgetall(state).zcount(places, String(now), "+inf");
        const answers = (await pipeline.exec()) ?? [];
        return members.map((member, i) => {
          const [[failed, fields], [alsoFailed, placed]] = answers.slice(2 * i, 2 * i + 2) as [
            [Error | null, Record<string, string>],
            [Error | null, number],
          ];
          const error = failed ?? alsoFailed;
          if (error) throw error;
          return stateOf(member, fields, placed, now);
        });
      }),
  };
}

function stateOf(member: string, fields: Record<string, string>, placed: number, now: number): SenderState {
  const colon = member.indexOf(":");
  const of = (field: string): number => Number(fields[field] ?? 0);
  const held = of("held");
  return {
    provider: member.slice(0, colon),
    sender: member.slice(colon + 1),
    rate: of("rate"),
    min: of("min"),
    max: of("max"),
    heldUntil: held > now ? held : undefined,
    refusal: fields["code"] === undefined ? undefined : { code: fields["code"], at: of("refused") },
    placed,
    waitMs: Math.max(0, Math.ceil(Math.max(of("tail"), held) - now)),
  };
}
