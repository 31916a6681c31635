import { getNextMillis } from "bullmq";
import type { StoredRecurrence } from "../store/recurrences.ts";

/** When a recurrence runs, as its scheduler takes it. */
type When = Pick<StoredRecurrence, "pattern" | "timeZone">;

/**
 * The first run after an instant, milliseconds since the epoch; undefined: it never comes. Throws an Error with words about the
 * pattern.
 */
export function nextRun({ pattern, timeZone }: When, after: number): number | undefined {
  return getNextMillis(after, { pattern, tz: timeZone });
}

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
