import { dayAfter, instantOf, localTimeOf } from "../core/local-time.ts";
import { holidayOn } from "./holidays.ts";
import type { Hours, Kind, Policy } from "./policy.ts";

/** Whether something may be sent: now, from an instant on (milliseconds since the epoch), or never; and why not now. */
export type Allowed = { when: "now" } | { when: "at"; at: number; why: string } | { when: "never"; why: string };

/** How far it is looked ahead. Longer than any hunt lasts, and any run of holidays. */
const HORIZON_DAYS = 21;
const DAY_NAMES = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/**
 * When a policy next lets something be sent to somebody whose number belongs to these zones: where there are several, only
 * when it may be sent in each of them. At the instant that it answers with `at`, it answers `now`.
 *
 * Days, hours and holidays are those of the recipient's own calendar. On the night on which clocks are put back an hour comes
 * twice: of hours that begin or end within it, it keeps to the shorter reading.
 */
export function nextAllowed(
  now: number,
  { zones, kind }: { zones: readonly string[]; kind: Kind },
  policy: Policy,
): Allowed {
  const hours = policy.hours[kind];
  if (hours === "any" && policy.holidays === "none") return { when: "now" };
  if (zones.length === 0) return { when: "never", why: "No time zone is known for this number." };
  const list = hours === "any" ? ANY : hours;
  if (list.length === 0) return { when: "never", why: `The account's policy allows ${kind} at no time.` };

  const end = now + HORIZON_DAYS * 86_400_000;
  let at = now;
  while (at <= end) {
    const next = Math.max(...zones.map((zone) => nextIn(zone, at, list, policy.holidays)));
    if (next === at) return at === now ? { when: "now" } : { when: "at", at, why: whyNot(now, zones, list, policy) };
    at = next;
  }
  return {
    when: "never",
    why: `No time of the next ${HORIZON_DAYS} days suits: ${wordsOf(list)}, in ${placesOf(zones)}.`,
  };
}

const ANY: readonly Hours[] = [{ days: [1, 2, 3, 4, 5, 6, 7], from: "00:00", to: "24:00" }];

/** The first instant from `at` on that is within the hours in one zone; infinity: none within the horizon. */
function nextIn(zone: string, at: number, hours: readonly Hours[], holidays: Policy["holidays"]): number {
  const today = localTimeOf(zone, at);
  for (let offset = 0; offset <= HORIZON_DAYS; offset++) {
    const day = dayAfter(today, offset);
    if (holidayOn(day, holidays)) continue;
    let first = Infinity;
    for (const { days, from, to } of hours) {
      if (!days.includes(day.weekday)) continue;
      const opens = instantOf(zone, day, minutesOf(from), "last");
      const closes = instantOf(zone, day, minutesOf(to), "first");
      if (at < closes && opens < closes) first = Math.min(first, Math.max(at, opens));
    }
    if (first < Infinity) return first;
  }
  return Infinity;
}

/** The midnight with which the recipient's day has begun; of several zones the earliest. */
export function startOfDay(instant: number, zones: readonly string[]): number {
  if (zones.length === 0) return instant - 86_400_000;
  return Math.min(...zones.map((zone) => instantOf(zone, localTimeOf(zone, instant), 0, "first")));
}

function whyNot(now: number, zones: readonly string[], hours: readonly Hours[], { holidays }: Policy): string {
  for (const zone of zones) {
    const holiday = holidayOn(localTimeOf(zone, now), holidays);
    if (holiday) return `It is a public holiday there (${holiday}).`;
  }
  return `It is outside the hours: ${wordsOf(hours)}, in ${placesOf(zones)}.`;
}

function wordsOf(hours: readonly Hours[]): string {
  return hours.map(({ days, from, to }) => `${daysOf(days)} ${from}–${to}`).join(", ");
}

/** Monday to Friday; or each by its name. */
function daysOf(days: readonly number[]): string {
  const sorted = [...new Set(days)].toSorted((a, b) => a - b);
  const [first = 1] = sorted;
  const last = sorted.at(-1) ?? first;
  const name = (day: number): string => DAY_NAMES[day - 1] ?? "";
  if (sorted.length > 2 && last - first === sorted.length - 1) return `${name(first)} to ${name(last)}`;
  return sorted.map(name).join(", ");
}

function placesOf(zones: readonly string[]): string {
  return zones.length > 3 ? `all of the country's ${zones.length} zones` : zones.join(" and ");
}

function minutesOf(time: string): number {
  return Number(time.slice(0, 2)) * 60 + Number(time.slice(3));
}
