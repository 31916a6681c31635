import { missedRunOf, nextRunOf } from "../hunt/recurring.ts";
import type { Recurrences } from "../queues/recurrences.ts";
import type { RecurrenceStore, StoredRecurrence } from "../store/recurrences.ts";

const PAGE = 500;

/**
 * Has Redis schedule what the ledger says comes again, and nothing else: it may have been away, emptied, or restored from an
 * old file. Of a recurrence that has lost its scheduler one run is made up for, as a worker that was away for a while would run it.
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
      const missed = scheduled.has(recurrenceId) ? undefined : missedRunOf(recurrence, now);
      if (missed !== undefined) await recurrences.makeUp(recurrenceId, missed);
      const comesAgain = nextRunOf(recurrence, now) !== undefined;
      if (comesAgain && !scheduled.delete(recurrenceId)) await recurrences.schedule(recurrence);
    }
  } while (page.length === PAGE);
  for (const id of scheduled) await recurrences.unschedule(id);
}
