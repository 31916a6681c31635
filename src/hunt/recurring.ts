import { getNextMillis, type RepeatStrategy } from "bullmq";
import { dayAfter, instantOf, localTimeOf, type LocalTime } from "../core/local-time.ts";
import type { StoredRecurrence } from "../store/recurrences.ts";

/** When a recurrence runs, as its scheduler takes it. */
type When = Pick<StoredRecurrence, "pattern" | "timeZone">;

/** No zone's clock is put back by more, milliseconds. */
const MOST_PUT_BACK_MS = 3 * 3_600_000;
/** Runs every hour, and so in both of the hours that a clock shows twice. */
const EVERY_HOUR = /^\S+\s+\*\s/;

/**
 * The first run after an instant, milliseconds since the epoch; undefined: it never comes. Throws an Error with words about the
 * pattern.
 *
 * The pattern is read by a clock that is never put forward or back, and each of its times is then looked up in the zone: what
 * is leapt over is the moment of the leap, what comes twice the first of the two.
 */
export function nextRun({ pattern, timeZone }: When, after: number): number | undefined {
  const both = EVERY_HOUR.test(pattern.trim());
  const repeated: number[] = [];
  const wallAt = (at: number): number => wallOf(localTimeOf(timeZone, at));
  const before = wallAt(after - MOST_PUT_BACK_MS);
  const isEven = wallAt(after + MOST_PUT_BACK_MS) - before === 2 * MOST_PUT_BACK_MS;
  let wall = isEven ? wallAt(after) : before;
  for (;;) {
    const next = getNextMillis(wall, { pattern, tz: "UTC" });
    if (next === undefined) return repeated.toSorted((a, b) => a - b)[0];
    wall = next;
    const day = dayAfter(EPOCH, Math.floor(wall / DAY_MS));
    const minute = (wall % DAY_MS) / 60_000;
    const first = instantOf(timeZone, day, minute, "first");
    if (both) {
      // The hour that is leapt over is none of the day's.
      if (wallAt(first) !== wall) continue;
      repeated.push(...[instantOf(timeZone, day, minute, "last")].filter((at) => at > after));
    }
    if (first > after) return Math.min(first, ...repeated);
  }
}

const DAY_MS = 86_400_000;
const EPOCH = { year: 1970, month: 1, day: 1 };

/** The wall's clock read as if it stood in Greenwich, milliseconds. */
const wallOf = ({ year, month, day, minute }: LocalTime): number => Date.UTC(year, month - 1, day, 0, minute);

/** Has Redis' schedulers do the same. */
export const repeatStrategy: RepeatStrategy = (after, { pattern = "", tz = "UTC", endDate }) => {
  const next = nextRun({ pattern, timeZone: tz }, after);
  return next !== undefined && endDate !== undefined && next > new Date(endDate).getTime() ? undefined : next;
};

/** Whether an instant, milliseconds since the epoch, is one of its runs. */
export const isRun = (when: When, at: number): boolean => nextRun(when, at - 1) === at;

/** The next run of a recurrence as it is now, milliseconds since the epoch; undefined: it is paused, or over. */
export function nextRunOf(recurrence: StoredRecurrence, now: number): number | undefined {
  const { pausedAt, until, count, runs } = recurrence;
  if (pausedAt !== null || (count !== null && runs >= count)) return undefined;
  const next = nextRun(recurrence, now);
  return next !== undefined && until !== null && next > Date.parse(until) ? undefined : next;
}

/** The run that its time has come for and that nobody has seen to: Redis has lost its scheduler. */
export function missedRunOf(recurrence: StoredRecurrence, now: number): number | undefined {
  const { lastRunAt, since } = recurrence;
  const seen = Math.max(Date.parse(since), lastRunAt === null ? -Infinity : Date.parse(lastRunAt));
  const next = nextRunOf(recurrence, seen);
  return next !== undefined && next <= now ? next : undefined;
}
