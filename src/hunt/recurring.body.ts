import { z } from "zod";
import type { Clock } from "../core/clock.ts";
import { check } from "../core/faults.ts";
import { invalidRequest, ProblemError, type Fault } from "../core/problem.ts";
import { shortText } from "../core/text.ts";
import { isTimeZone, NO_TIME_ZONE } from "../core/time-zone.ts";
import type { NewRecurrence } from "../store/recurrences.ts";
import { MAX_CONTACTS, newHuntOf, type HuntBodyReader } from "./body.ts";
import { contactSchema } from "./contact.schema.ts";
import type { ChannelDirectory, Contact } from "./contacts.ts";
import { nextRun } from "./recurring.ts";
import { DATE_FAULT, isDate } from "./timing.ts";

/** A recurrence as it was found right. */
export interface RecurrenceBody {
  recurrence: Omit<NewRecurrence, "id">;
  contacts: Contact[];
}

/** What each run has of its own, or its account once. */
export const NOT_OF_A_RUN = ["huntId", "accountId", "sendAt", "timeZone", "expiresAt"] as const;

export const recurrenceHead = z.strictObject({
  accountId: shortText(200),
  name: shortText(200).describe("For people"),
  cron: z
    .string()
    .regex(/^\S+( \S+){4}$/, "must have five fields: minute, hour, day of the month, month, day of the week")
    .describe("Minute, hour, day of the month, month, day of the week, such as `0 9 * * 1-5`"),
  timeZone: z.string().refine(isTimeZone, NO_TIME_ZONE).describe("Of the pattern, IANA"),
  until: z.iso
    .datetime({ offset: true })
    .refine((text) => isDate(Date.parse(text)), DATE_FAULT)
    .optional()
    .describe("No run after it; default: endless"),
  count: z.int().min(1).max(1_000_000).optional().describe("Runs at the most; default: endless"),
  expiresAfterSeconds: z
    .int()
    .min(60)
    .max(31 * 86_400)
    .optional()
    .describe("From when a run begins until nothing of it is sent any more; default: seven days"),
});

export interface RecurrenceBodyReader {
  schema: z.ZodObject;
  example: object;
  /** All faults of the whole body at once. Rejects with `UnavailableError`. */
  parse(raw: unknown): Promise<RecurrenceBody>;
}

/** The hunt that each run is one of. */
export function runSchema(hunts: HuntBodyReader, channels: ChannelDirectory): z.ZodObject {
  const without = Object.fromEntries(NOT_OF_A_RUN.map((name) => [name, true as const]));
  const contact = contactSchema(channels).omit({ sendAt: true, timeZone: true });
  return hunts.schema
    .omit(without as Record<string, true> & Record<number, never>)
    .extend({ contacts: z.array(contact).min(1).max(MAX_CONTACTS) });
}

export function recurrenceBody(hunts: HuntBodyReader, channels: ChannelDirectory, clock: Clock): RecurrenceBodyReader {
  const shallow = recurrenceHead.extend({ hunt: z.looseObject({}) });
  const { huntId: _, accountId: __, ...example } = hunts.example as Record<string, unknown>;
  return {
    schema: recurrenceHead.extend({ hunt: runSchema(hunts, channels) }),
    example: {
      accountId: "acc_456",
      name: "Every morning",
      cron: "0 9 * * 1-5",
      timeZone: "Europe/Paris",
      hunt: example,
    },
    async parse(raw) {
      const { value, faults } = check(shallow, raw);
      const given = value as z.output<typeof shallow> | undefined;
      faults.push(...(given ? cronFaults(given, clock.now()) : []));
      const { accountId, hunt: own } = (raw ?? {}) as { accountId?: unknown; hunt?: unknown };
      const read = await readHunt(own, accountId, hunts, faults);
      if (faults.length > 0 || !given || !read) throw invalidRequest(faults);
      const { contacts, ...rest } = read;
      const { priority = "normal", content, windows, templateIds = [] } = newHuntOf(rest);
      const { name, cron: pattern, timeZone, count, expiresAfterSeconds } = given;
      const until = given.until === undefined ? null : new Date(given.until).toISOString();
      const each = { priority, content, windows, expiresAfterSeconds };
      return {
        recurrence: {
          accountId: given.accountId,
          name,
          pattern,
          timeZone,
          until,
          count: count ?? null,
          hunt: each,
          templateIds,
        },
        contacts,
      };
    },
  };
}

/** The hunt of a run as any hunt is read; its faults, which are told where they are here, go to `faults`. */
export async function readHunt(raw: unknown, accountId: unknown, hunts: HuntBodyReader, faults: Fault[]) {
  if (typeof raw !== "object" || raw === null || Array.isArray(raw)) return undefined;
  for (const name of NOT_OF_A_RUN) {
    if (name in raw) faults.push({ pointer: `/hunt/${name}`, detail: "belongs to no hunt that comes again" });
  }
  const ofRun = Object.fromEntries(Object.entries(raw).filter(([name]) => !NOT_OF_A_RUN.includes(name as "sendAt")));
  // A wrong account is told of already.
  const account = typeof accountId === "string" && accountId.trim() !== "" ? accountId : "nobody";
  const read = await hunts.parse({ ...ofRun, huntId: "recurring", accountId: account }).catch((error: unknown) => {
    if (!(error instanceof ProblemError) || !error.errors) throw error;
    faults.push(...error.errors.map(({ pointer, detail }) => ({ pointer: `/hunt${pointer}`, detail })));
    return undefined;
  });
  // Of contacts that are right: of others it is told what is wrong with them first.
  const given = (read ? (raw as { contacts: Record<string, unknown>[] }).contacts : []).entries();
  for (const [i, contact] of given) {
    for (const name of ["sendAt", "timeZone"]) {
      if (contact[name] === undefined || contact[name] === null) continue;
      faults.push({ pointer: `/hunt/contacts/${i}/${name}`, detail: "belongs to no hunt that comes again" });
    }
  }
  return read;
}

/** What is wrong with when it comes. */
export function cronFaults(
  { cron: pattern, timeZone, until }: { cron: string; timeZone: string; until?: string | undefined },
  now: number,
): Fault[] {
  try {
    const next = nextRun({ pattern, timeZone }, now);
    if (next === undefined) return [{ pointer: "/cron", detail: NEVER }];
    if (until !== undefined && next > Date.parse(until))
      return [{ pointer: "/until", detail: "is before the first run" }];
    return [];
  } catch {
    const never = isPatternApart(pattern, timeZone);
    return [{ pointer: "/cron", detail: never ? NEVER : "is no cron pattern, such as 0 9 * * 1-5" }];
  }
}

const NEVER = "never comes: there is no such day in that month";

/** Whether only the day and the month together are wrong, such as the 31st of February. */
function isPatternApart(pattern: string, timeZone: string): boolean {
  const [minute, hour, day, month, weekday] = pattern.split(" ");
  try {
    for (const each of [`${minute} ${hour} ${day} * ${weekday}`, `${minute} ${hour} * ${month} ${weekday}`])
      nextRun({ pattern: each, timeZone }, 0);
    return true;
  } catch {
    return false;
  }
}
