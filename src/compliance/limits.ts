import type { CountryCode } from "libphonenumber-js";
import { z } from "zod";
import { senderFault, senderOf } from "../core/phone.ts";
import type { Fault } from "../core/problem.ts";
import { isTimeZone, NO_TIME_ZONE } from "../core/time-zone.ts";
import { shortText } from "../core/text.ts";
import { KINDS } from "./policy.ts";

const MAX_LIMITS = 100;
const DEFAULT_COUNTRY = "FR";

/** How much may be sent together of what an entry fits. */
const limit = z
  .strictObject({
    channel: z
      .enum([...KINDS, "*"])
      .optional()
      .describe("Of this kind, all its channels together; `*`: each kind by itself; absent: all kinds together"),
    sender: shortText(100)
      .refine((text) => text.trim() !== "", "must not be blank")
      .optional()
      .describe(
        "From this sender, as contacts may name it in `senderPhone`: kept in E.164 where it is a number, which without a country code is one of the account's `defaultCountry`; `*`: each by itself, also whoever the provider takes where none is named; absent: all senders together",
      ),
    perSecond: z.number().min(0.0001).max(100_000).optional().describe("Evenly apart"),
    perMinute: z.number().min(0.001).max(6_000_000).optional().describe("Evenly apart"),
    perDay: z.int().positive().max(1_000_000_000).optional(),
    timeZone: z.string().refine(isTimeZone, NO_TIME_ZONE).optional().describe("Whose day it is, IANA; default UTC"),
  })
  .refine(
    ({ perSecond, perMinute, perDay }) => (perSecond ?? perMinute ?? perDay) !== undefined,
    "wants perSecond, perMinute or perDay",
  );

/** Limits of what hunts send; each that fits holds. */
export const limitsSchema = z.array(limit).max(MAX_LIMITS);

/** With each sender in the spelling in which messages have theirs, so that they are the same. */
export const withSenders = <Limit extends { sender?: string | undefined }>(
  limits: readonly Limit[],
  country: string,
): Limit[] =>
  limits.map((each) =>
    each.sender === undefined ? each : { ...each, sender: senderOf(each.sender, country as CountryCode) },
  );

/** Of those whose sender no message would have, since it is no number there; pointers from the list on, `/0/sender`. */
export const senderFaults = (limits: readonly { sender?: string | undefined }[], country: string): Fault[] =>
  limits.flatMap(({ sender = "*" }, i) => {
    const detail = senderFault(sender, country as CountryCode);
    return detail === undefined ? [] : [{ pointer: `/${i}/sender`, detail }];
  });

/** The same as a variable's text; it is no account's, and its numbers without a country code are French. */
export const limitsVariable = z
  .string()
  .transform((text, context): unknown => {
    try {
      return JSON.parse(text);
    } catch {
      context.addIssue({ code: "custom", message: "is no JSON" });
      return z.NEVER;
    }
  })
  .pipe(limitsSchema)
  .superRefine((limits, context) => {
    for (const { pointer, detail } of senderFaults(limits, DEFAULT_COUNTRY))
      context.addIssue({ code: "custom", path: pointer.split("/").slice(1), message: detail });
  })
  .transform((limits) => withSenders(limits, DEFAULT_COUNTRY));

/** How much of what an account sends may be sent on one day of a zone; `scope`: what counts together, as the ledger calls it. */
export interface DayLimit {
  scope: string;
  perDay: number;
  timeZone: string;
}

/** The limits a day that hold for what a sender sends. */
export function dayLimitsOf(limits: unknown, kind: string | undefined, sender: string | undefined): DayLimit[] {
  const found = new Map<string, DayLimit>();
  for (const { channel, sender: from, perDay, timeZone = "UTC" } of fitting(limits, kind, sender)) {
    if (perDay === undefined) continue;
    const scope = `${channel === undefined ? "" : kind}/${from === undefined ? "*" : `=${sender ?? ""}`}`;
    const { perDay: least, timeZone: zone } = found.get(scope) ?? { perDay, timeZone };
    found.set(scope, { scope, perDay: Math.min(perDay, least), timeZone: timeZone < zone ? timeZone : zone });
  }
  return [...found.values()];
}

/**
 * Of the limits that hold for what a sender sends, the one that lets the fewest through a second, and who shares it; what is
 * allowed a day is not asked. undefined: none.
 */
export function tightestLimit(
  limits: unknown,
  kind: string | undefined,
  sender: string | undefined,
): { sender: string; perSecond: number } | undefined {
  return fitting(limits, kind, sender)
    .map(({ sender: of, perSecond = Infinity, perMinute = Infinity }) => ({
      sender: of === undefined ? "all of them" : `from ${sender ?? "any"}`,
      perSecond: Math.min(perSecond, perMinute / 60),
    }))
    .filter(({ perSecond }) => perSecond < Infinity)
    .toSorted((a, b) => a.perSecond - b.perSecond)[0];
}

function fitting(limits: unknown, kind: string | undefined, sender: string | undefined): z.output<typeof limitsSchema> {
  const known = limitsSchema.safeParse(limits).data ?? [];
  return known.filter(
    (each) =>
      (each.channel === undefined || each.channel === "*" || each.channel === kind) &&
      (each.sender === undefined || each.sender === "*" || each.sender === sender),
  );
}
