import { dayAfter, instantOf, localTimeOf } from "../core/local-time.ts";

/** How much may be sent on one day of a zone by all the waves that have it, and what of it is used by day (`2026-01-31`). */
export interface DayBudget {
  perDay: number;
  timeZone: string;
  used: Map<string, number>;
}

/** Messages that a sender sends one after another, and that may be sent at the same times. */
export interface Wave {
  sender: string;
  /** Messages a second. */
  perSecond: number;
  count: number;
  /** How long after an instant (milliseconds since the epoch) they may be sent: 0 at once, undefined never. */
  opensInMs(at: number): number | undefined;
  days?: readonly DayBudget[];
}

/** Hours are looked at so often. */
const STEP_MS = 15 * 60_000;
/** Who needs more steps than three weeks have is not told an end. */
const MAX_STEPS = 2016;

/**
 * When the last of them would be sent, milliseconds since the epoch, as far as hours, paces and limits a day tell, at the latest
 * `until`; undefined: nobody can tell. Uses the waves' budgets up.
 */
export function endOf(now: number, until: number, waves: readonly Wave[]): number | undefined {
  let end = now;
  let steps = 0;
  for (const own of Map.groupBy(waves, ({ sender }) => sender).values()) {
    let at = now;
    for (const wave of own.toSorted((a, b) => (a.opensInMs(now) ?? 0) - (b.opensInMs(now) ?? 0))) {
      for (let left = wave.count; left > 0;) {
        const wait = wave.opensInMs(at);
        if (wait === undefined || ++steps > MAX_STEPS) return undefined;
        at += wait;
        if (at >= until) return until;
        if (wait > 0) continue;
        const budgets = (wave.days ?? []).map((budget) => today(budget, at));
        const spent = budgets.filter((budget) => budget.left <= 0);
        if (spent.length > 0) {
          at = Math.max(...spent.map((budget) => budget.endsAt()));
          continue;
        }
        // No zone's day begins but at a quarter of an hour.
        const closes = (Math.floor(at / STEP_MS) + 1) * STEP_MS;
        const room = ((closes - at) / 1000) * wave.perSecond;
        const count = Math.min(left, room, ...budgets.map((budget) => budget.left));
        at = count === room ? closes : at + (count / wave.perSecond) * 1000;
        left -= count;
        for (const budget of budgets) budget.take(count);
      }
    }
    end = Math.max(end, at);
  }
  return Math.ceil(Math.min(end, until));
}

function today({ perDay, timeZone, used }: DayBudget, at: number) {
  const day = localTimeOf(timeZone, at);
  const name = `${day.year}-${two(day.month)}-${two(day.day)}`;
  const taken = used.get(name) ?? 0;
  return {
    left: perDay - taken,
    take: (count: number) => used.set(name, taken + count),
    endsAt: () => instantOf(timeZone, dayAfter(day, 1), 0, "first"),
  };
}

const two = (n: number): string => String(n).padStart(2, "0");
