import { z } from "zod";
import type { BaileysEnv } from "./environment.ts";
import type { PaceSettings } from "./pacing.ts";

const count = (max: number) => z.number().int().min(0).max(max);

/** A session's own values for its pace; what is absent is as the environment says. */
export const settingsSchema = z.strictObject({
  messagesPerMinute: count(100_000).nullable().optional().describe("null: no limit"),
  minGapMs: count(600_000).optional(),
  maxGapMs: count(600_000).optional(),
  typing: z.boolean().optional().describe("Show `typing…` before each message"),
  newContactsPerDay: count(100_000).nullable().optional().describe("First contacts a day (UTC); null: no limit"),
  warmUpDays: count(365).optional().describe("Days after pairing until that number is reached"),
});

/** What holds for a session. Own values that make no sense any more are passed over. */
export function paceSettings(env: BaileysEnv, own: unknown): PaceSettings {
  const parsed = settingsSchema.safeParse(own);
  const given = Object.fromEntries(Object.entries(parsed.data ?? {}).filter(([, value]) => value !== undefined));
  const settings: PaceSettings = {
    messagesPerMinute: orNull(env.WHATSAPP_MESSAGES_PER_MINUTE),
    minGapMs: env.WHATSAPP_MIN_GAP_MS,
    maxGapMs: env.WHATSAPP_MAX_GAP_MS,
    typing: env.WHATSAPP_TYPING === "true",
    newContactsPerDay: orNull(env.WHATSAPP_NEW_CONTACTS_PER_DAY),
    warmUpDays: env.WHATSAPP_WARM_UP_DAYS,
    ...given,
  };
  return { ...settings, maxGapMs: Math.max(settings.minGapMs, settings.maxGapMs) };
}

const orNull = (value: number | "none"): number | null => (value === "none" ? null : value);

/** Whether nothing holds messages up, so that preparing several at once makes sense. */
export function isUnpaced({ messagesPerMinute, maxGapMs, typing }: PaceSettings): boolean {
  return messagesPerMinute === null && maxGapMs === 0 && !typing;
}
