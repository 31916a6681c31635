import { z } from "zod";
import { instantOf } from "../core/local-time.ts";
import type { Fault } from "../core/problem.ts";
import { isTimeZone, NO_TIME_ZONE } from "../core/time-zone.ts";
import type { Chunk, PlannedMessage, Windows } from "../store/store.ts";

const YEAR_10000_MS = 253_402_300_800_000;

/** Whether the ledger can hold this instant, milliseconds since the epoch; of what is none (NaN) others tell. */
export const isDate = (instant: number): boolean => !(instant <= 0 || instant >= YEAR_10000_MS);
export const DATE_FAULT = "must be after 1970 and before the year 10000";

const time = z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$|^24:00$/, "must be a time such as 09:30");
const zone = z.string().refine(isTimeZone, NO_TIME_ZONE);

export const windowsSchema = z
  .strictObject({
    days: z.array(z.int().min(1).max(7)).min(1).max(7).describe("1 is Monday, 7 Sunday"),
    from: time,
    to: time.describe("Not included; `24:00` is the end of the day"),
    timeZone: zone.optional().describe("Default: each recipient's own"),
    spread: z
      .boolean()
      .optional()
      .describe("Evenly over the open time until `expiresAt`; without that, until the window that is open closes"),
  })
  .refine(({ from, to }) => from < to, "from must be before to");

const SEND_AT =
  "ISO 8601 with an offset (`2026-01-31T09:00:00+01:00`), or local time (`2026-01-31T09:00`) with `timeZone`";

/** When a hunt is sent: fields of its head. */
export const timingShape = {
  sendAt: z
    .string()
    .optional()
    .describe(
      `Nothing of this submission is sent before it: ${SEND_AT}. At most 366 days ahead. A time in the past: at once`,
    ),
  timeZone: zone.optional().describe("Of times without an offset, IANA"),
  windows: windowsSchema
    .optional()
    .describe("Only within these hours, beside those of the account's policy. The hunt's, as `priority`"),
};

/** When a contact is sent: fields of its own. */
export const contactTimingShape = {
  sendAt: z.string().optional().describe(`Instead of the hunt's, to the next full minute: ${SEND_AT}`),
  timeZone: zone.optional().describe("Of its `sendAt`; default: the hunt's"),
};

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
/** The same date of next year, a leap year or not. */
const MAX_AHEAD_DAYS = 366;
/** From the last time at which something is to be sent to the end of a hunt that names none. */
const EXPIRES_AFTER_MS = 7 * DAY_MS;

const offsetTime = z.iso.datetime({ offset: true });
const LOCAL = /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d)(?::(\d\d)(?:\.\d+)?)?$/;

interface Given {
  sendAt?: unknown;
  timeZone?: unknown;
}

/** Reads a contact's own time, ISO 8601 in UTC; its faults go to `faults`. */
export type ReadSendAt = (given: Given, at: string, faults: Fault[]) => string | undefined;

/** The times of a submission, ISO 8601 in UTC: Postgres refuses offsets of 16 hours and more. */
export interface HuntTimes {
  sendAt: string | undefined;
  /** As it was given. */
  expiresAt: string | undefined;
  /** Of a hunt without one; undefined: in seven days. */
  defaultExpiresAt: string | undefined;
  /** The latest of its contacts' own. */
  lastSendAt: string | undefined;
  windows: Windows | undefined;
}

export interface Timing {
  readSendAt: ReadSendAt;
  /** Once all contacts have been read. */
  result(): HuntTimes;
}

/** The times of a hunt's head and of its contacts. What is wrong with the head's goes to `faults`. */
export function createTiming(raw: unknown, now: number, faults: Fault[]): Timing {
  const head = readable(raw);
  const expiresAt = head.expiresAt === undefined ? undefined : new Date(head.expiresAt).toISOString();
  let last = -Infinity;

  const read = (text: unknown, zone: string | undefined, at: string, faults: Fault[]): number | undefined => {
    const instant = typeof text === "string" ? instantIn(text, zone) : "must be a string";
    const wrong =
      typeof instant === "string"
        ? instant
        : instant > now + MAX_AHEAD_DAYS * DAY_MS
          ? `is more than ${MAX_AHEAD_DAYS} days ahead`
          : expiresAt !== undefined && instant >= Date.parse(expiresAt)
            ? "is not before expiresAt, after which nothing is sent"
            : undefined;
    if (wrong !== undefined) faults.push({ pointer: `${at}/sendAt`, detail: wrong });
    return wrong === undefined ? (instant as number) : undefined;
  };

  const own = head.sendAt === undefined ? undefined : read(head.sendAt, head.timeZone, "", faults);
  return {
    readSendAt({ sendAt, timeZone }, at, faults) {
      if (timeZone !== undefined && timeZone !== null && !(typeof timeZone === "string" && isTimeZone(timeZone))) {
        faults.push({ pointer: `${at}/timeZone`, detail: NO_TIME_ZONE });
        return undefined;
      }
      if (sendAt === undefined || sendAt === null) return undefined;
      const instant = read(sendAt, (timeZone as string | undefined) ?? head.timeZone, at, faults);
      if (instant === undefined) return undefined;
      const rounded = Math.ceil(instant / MINUTE_MS) * MINUTE_MS;
      last = Math.max(last, instant);
      // Never past the end by the rounding alone.
      return new Date(expiresAt !== undefined && rounded >= Date.parse(expiresAt) ? instant : rounded).toISOString();
    },
    result() {
      const latest = Math.max(own ?? -Infinity, last);
      return {
        sendAt: own === undefined ? undefined : new Date(own).toISOString(),
        expiresAt,
        defaultExpiresAt: latest > now ? new Date(latest + EXPIRES_AFTER_MS).toISOString() : undefined,
        lastSendAt: last === -Infinity ? undefined : new Date(last).toISOString(),
        windows: head.windows && { ...head.windows, until: expiresAt },
      };
    },
  };
}

/** Of a head that may have faults, what the check of times can go on with; it has told of the others already. */
function readable(raw: unknown): { sendAt?: string; timeZone?: string; expiresAt?: string; windows?: Windows } {
  const { sendAt, timeZone, expiresAt, windows } = (raw ?? {}) as Record<string, unknown>;
  const known = typeof timeZone === "string" && isTimeZone(timeZone);
  return {
    ...(typeof sendAt === "string" ? { sendAt } : {}),
    ...(timeZone === undefined ? {} : { timeZone: known ? timeZone : "UTC" }),
    ...(offsetTime.safeParse(expiresAt).success ? { expiresAt: expiresAt as string } : {}),
    ...(windows === undefined ? {} : { windows: alike(windows) }),
  };
}

/** Those that mean the same are the same. */
export function alike(windows: unknown): Windows {
  const { days, spread, ...rest } = { ...(windows as Windows) };
  const sorted = Array.isArray(days) ? [...new Set(days)].toSorted((a, b) => a - b) : days;
  return { ...rest, days: sorted, ...(spread ? { spread } : {}) };
}

/** Milliseconds since the epoch; or, in words, what is wrong. */
function instantIn(text: string, zone: string | undefined): number | string {
  if (offsetTime.safeParse(text).success) return isDate(Date.parse(text)) ? Date.parse(text) : DATE_FAULT;
  const parts = LOCAL.exec(text)
    ?.slice(1)
    .map((part: string | undefined) => Number(part ?? 0));
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts ?? [];
  const date = new Date(Date.UTC(year, month - 1, day));
  if (
    !parts ||
    date.getUTCMonth() !== month - 1 ||
    date.getUTCDate() !== day ||
    hour > 23 ||
    minute > 59 ||
    second > 59
  ) {
    return "must be an ISO 8601 date and time, such as 2026-01-31T09:30:00+01:00";
  }
  if (year < 1971 || year > 9998) return DATE_FAULT;
  if (zone === undefined) return "has no offset: give it one, such as +01:00, or a timeZone beside it";
  return instantOf(zone, { year, month, day }, hour * 60 + minute, "first") + second * 1000;
}

/** Planned messages with when, and in whose zone, they are to be sent. */
export function withTimes(
  messages: readonly PlannedMessage[],
  contacts: readonly { sendAt?: string | undefined }[],
  { sendAt, windows }: Pick<Chunk, "sendAt" | "windows">,
  zoneOf: (e164: string) => string | undefined,
): PlannedMessage[] {
  const byRecipient = windows && windows.timeZone === undefined;
  const zoned = (message: PlannedMessage): PlannedMessage => ({
    ...message,
    zone: byRecipient ? zoneOf(message.recipient) : undefined,
    next: message.next && zoned(message.next),
  });
  return messages.map((message, i) => ({ ...zoned(message), sendAt: contacts[i]?.sendAt ?? sendAt ?? undefined }));
}
