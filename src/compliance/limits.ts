import { z } from "zod";
import { isTimeZone, NO_TIME_ZONE } from "../core/time-zone.ts";
import { shortText } from "../core/text.ts";
import { KINDS } from "./policy.ts";

const MAX_LIMITS = 100;

/** How much may be sent together of what an entry fits. */
const limit = z
  .strictObject({
    channel: z
      .enum([...KINDS, "*"])
      .optional()
      .describe("Of this kind, all its channels together; `*`: each kind by itself; absent: all kinds together"),
    sender: shortText(100)
      .optional()
      .describe(
        "From this sender, as contacts name it in `senderPhone`; `*`: each by itself, also whoever the provider takes where none is named; absent: all senders together",
      ),
    perSecond: z.number().positive().max(100_000).optional().describe("Evenly apart"),
    perMinute: z.number().positive().max(6_000_000).optional().describe("Evenly apart"),
    perDay: z.int().positive().max(1_000_000_000).optional(),
    timeZone: z.string().refine(isTimeZone, NO_TIME_ZONE).optional().describe("Whose day it is, IANA; default UTC"),
  })
  .refine(
    ({ perSecond, perMinute, perDay }) => (perSecond ?? perMinute ?? perDay) !== undefined,
    "wants perSecond, perMinute or perDay",
  );

/** Limits of what hunts send; each that fits holds. */
export const limitsSchema = z.array(limit).max(MAX_LIMITS);

/** The same as a variable's text. */
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
  .pipe(limitsSchema);
