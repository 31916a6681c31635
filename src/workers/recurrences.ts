import { missedRunOf, nextRunOf } from "../hunt/recurring.ts";
import type { Recurrences, Scheduled } from "../queues/recurrences.ts";
import type { RecurrenceStore, StoredRecurrence } from "../store/recurrences.ts";

const PAGE = 500;
/** A job that should have come for so long is looked for, milliseconds. */
const OVERDUE_MS = 60_000;

/**
 * Has Redis schedule what the ledger says comes again, when it says, and nothing else: it may have been away, emptied, or
 * restored from an old file. Of a recurrence that has lost its scheduler, or its scheduler its job, one run is made up for, as a
 * worker that was away for a while would run it.
 */
export async function sweepRecurrences(
  store: Pick<RecurrenceStore, "active">,
  recurrences: Recurrences,
  now: number,
): Promise<void> {
  const scheduled = await recurrences.scheduled();
  let page: StoredRecurrence[];
  let cursor: string | undefined;
  do {
    page = await store.active(cursor, PAGE);
    cursor = page.at(-1)?.recurrenceId;
    for (const recurrence of page) {
      const { recurrenceId } = recurrence;
      const found = scheduled.get(recurrenceId);
      const comesAgain = nextRunOf(recurrence, now) !== undefined;
      if (comesAgain) scheduled.delete(recurrenceId);
      if (found && (await isWhole(found, recurrence))) continue;
      const missed = missedRunOf(recurrence, now);
      if (missed !== undefined) await recurrences.makeUp(recurrenceId, missed);
      if (found) await recurrences.unschedule(recurrenceId);
      if (comesAgain) await recurrences.schedule(recurrence);
    }
  } while (page.length === PAGE);
  for (const id of scheduled.keys()) await recurrences.unschedule(id);

  /** Its scheduler says what the ledger says, and has its job: else no run would ever come again. */
  async function isWhole(found: Scheduled, { recurrenceId, pattern, timeZone, until }: StoredRecurrence) {
    const same =
      found.recurrenceId === recurrenceId &&
      found.pattern === pattern &&
      found.timeZone === timeZone &&
      found.until === until;
    return same && (found.nextAt > now - OVERDUE_MS || (await recurrences.hasJob(recurrenceId, found.nextAt)));
  }
}
