import type { NewHunt } from "./hunts.ts";

/** A hunt that comes again. */
export interface NewRecurrence {
  accountId: string;
  /** For people; 1 to 200 characters. */
  name: string;
  /** Minute, hour, day of the month, month, day of the week: `0 9 * * 1-5`. */
  cron: string;
  /** Of the pattern, IANA. */
  timeZone: string;
  /** ISO 8601 with a zone; no run after it. Default: endless. */
  until?: string | undefined;
  /** Runs at the most. Default: endless. */
  count?: number | undefined;
  /** From when a run begins until nothing of it is sent any more. Default: seven days. */
  expiresAfterSeconds?: number | undefined;
  /** Each run's, a hunt of its own: `<recurrenceId>:<time>`. */
  hunt: Omit<NewHunt, "huntId" | "accountId" | "sendAt" | "timeZone" | "expiresAt">;
}

/** What is absent stays as it is; null takes it away. */
export interface RecurrenceChanges {
  name?: string | undefined;
  cron?: string | undefined;
  timeZone?: string | undefined;
  until?: string | null | undefined;
  /** Those that have been included. */
  count?: number | null | undefined;
  expiresAfterSeconds?: number | null | undefined;
  /**
   * With `contacts` in place of the whole old one. Else what is given of `priority`, `windows` and content, the fields of which
   * (`template`, `templates`, `templateId`, `templateVersion`, `variants`, `fallbackAfterSeconds`) stand for one another.
   */
  hunt?:
    | (Omit<Partial<NewRecurrence["hunt"]>, "windows"> & { windows?: NewRecurrence["hunt"]["windows"] | null })
    | undefined;
}

/** The receipt for a recurrence. */
export interface AcceptedRecurrence {
  recurrenceId: string;
  contacts: number;
  nextRunAt: string;
}

/** A recurrence as it is now. Times are ISO 8601, in UTC. */
export interface Recurrence {
  recurrenceId: string;
  accountId: string;
  name: string;
  cron: string;
  timeZone: string;
  until: string | null;
  count: number | null;
  contacts: number;
  /** So far. */
  runs: number;
  /** For when the last one was planned. */
  lastRunAt: string | null;
  /** The hunt of the last run that has made one. */
  lastHuntId: string | null;
  /** null: it is paused, or over. */
  nextRunAt: string | null;
  pausedAt: string | null;
  createdAt: string;
}

export interface RecurrencePage {
  recurrences: Recurrence[];
  nextCursor: string | null;
}
