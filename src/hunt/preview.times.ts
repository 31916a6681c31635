import { countryOf } from "../core/phone.ts";
import type { Rules } from "../core/rules.ts";
import type { Chunk, PlannedMessage, Windows } from "../store/store.ts";
import type { PlanChannels } from "./plan.ts";
import type { Preview } from "./preview.schema.ts";
import { endOf, type DayBudget, type Wave } from "./schedule.ts";

export interface PreviewTimesDeps {
  channels: PlanChannels;
  rules: Rules;
  /** Who would send it, and how fast that one may, by the account's limits as well; undefined: nobody can tell. */
  paceOf(
    channel: string,
    sender: string | undefined,
    limits: unknown,
  ): { sender: string; perSecond: number } | undefined;
  /** What the account's limits allow a sender a day. */
  dayLimitsOf(
    channel: string,
    sender: string | undefined,
    limits: unknown,
  ): { scope: string; perDay: number; timeZone: string }[];
}

type Times = Pick<Preview, "startsAt" | "endsAt" | "etaSeconds">;

/** When they would be sent: messages of one sender wait for one another, and all for their hours and their limits a day. */
export function createTimes(
  { policy, windows: given }: Chunk,
  limits: unknown,
  used: readonly { scope: string; day: string; used: number }[],
  now: number,
  { channels, rules, paceOf, dayLimitsOf }: PreviewTimesDeps,
) {
  const windows = given ?? undefined;
  const waves = new Map<string, Wave>();
  const budgets = new Map<string, DayBudget>();
  const speeds = new Map<string, { sender: string; perSecond: number; days: DayBudget[] }>();
  let startsInMs = Infinity;
  let known = true;

  const speedOf = (channel: string, sender: string | undefined) => {
    const key = JSON.stringify([channel, sender]);
    let speed = speeds.get(key);
    if (!speed) {
      const days = dayLimitsOf(channel, sender, limits).map(({ scope, perDay, timeZone }) => {
        const taken = used.filter((each) => each.scope === scope).map((each) => [each.day, each.used] as const);
        const budget = budgets.get(scope) ?? { perDay, timeZone, used: new Map(taken) };
        budgets.set(scope, budget);
        return budget;
      });
      const pace = paceOf(channel, sender, limits);
      // Who is held back by the day alone is as fast as can be within it.
      known &&= pace !== undefined;
      speed = { ...(pace ?? { sender: `from ${sender ?? "any"}`, perSecond: Infinity }), days };
      speeds.set(key, speed);
    }
    return speed;
  };
  return {
    take({ channel, recipient, sender, sendAt }: PlannedMessage): void {
      const kind = channels.get(channel)?.channel.queue ?? "sms";
      const notBefore = sendAt === undefined ? -Infinity : Date.parse(sendAt);
      const opensInMs = (at: number): number | undefined => {
        const from = Math.max(at, notBefore);
        const ruling = rules({ policy, consent: undefined, recipient, kind, at: from, windows });
        return ruling.skip ? undefined : from - at + (ruling.opensInMs ?? 0);
      };
      const opens = opensInMs(now) ?? Infinity;
      startsInMs = Math.min(startsInMs, opens);
      const pace = speedOf(channel, sender);
      const key = JSON.stringify([kind, pace.sender, opens, countryOf(recipient)]);
      const wave = waves.get(key);
      if (wave) wave.count += 1;
      else waves.set(key, { ...pace, sender: `${kind} ${pace.sender}`, count: 1, opensInMs });
    },
    result(expiresAt: number): Times {
      if (startsInMs === Infinity) return { startsAt: null, endsAt: null, etaSeconds: null };
      const startsAt = new Date(now + startsInMs).toISOString();
      const all = [...waves.values()];
      const undated = all.map((wave) => ({ ...wave, days: [] }));
      const soonest = windows?.spread ? spreadUntil(windows) : endOf(now, expiresAt, undated);
      const paced = endOf(now, expiresAt, all);
      // Whose pace nobody knows has an end only where its limits a day put it off.
      const told = windows?.spread || (paced !== undefined && (known || paced > (soonest ?? Infinity)));
      if (!told || soonest === undefined) return { startsAt, endsAt: null, etaSeconds: null };
      const end = Math.max(soonest, paced ?? 0);
      const endsAt = Math.max(now, Math.min(end, expiresAt));
      return { startsAt, endsAt: new Date(endsAt).toISOString(), etaSeconds: Math.ceil((endsAt - now) / 1000) };
    },
  };
}

/** Without an end of its own it depends on when its windows are open, and on its senders. */
const spreadUntil = ({ until }: Windows): number | undefined => (until === undefined ? undefined : Date.parse(until));
