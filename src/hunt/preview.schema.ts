import { z } from "zod";

const count = z.int();
const who = {
  adId: z.string(),
  channel: z.string(),
  recipientPhone: z.string().describe("All but its beginning and its end replaced by `*`"),
};

const channelSchema = z.object({
  send: count,
  skipped: count,
  standby: count.describe("Contacts who would be tried over it if they are not reached before"),
  segments: z
    .object({ total: count, most: count.describe("Of one message") })
    .nullable()
    .describe("SMS only"),
  credits: z
    .object({ needed: count, available: count.describe("Beyond these, contacts are skipped: `no_credit`") })
    .nullable()
    .describe("null: the account is not metered on this channel"),
});

export const previewSchema = z.object({
  huntId: z.string(),
  accountId: z.string(),
  contacts: count,
  send: count.describe("Contacts who would be written to"),
  skipped: count,
  byChannel: z.record(z.string(), channelSchema),
  byVariant: z.record(z.string(), z.object({ send: count, skipped: count })),
  reasons: z
    .record(z.string(), count)
    .describe("Contacts skipped by reason, as a message's `reason`; `already_planned`: the hunt has them already"),
  skips: z
    .array(z.object({ ...who, reason: z.string(), detail: z.string().nullable() }))
    .describe("The first 100 who would be skipped"),
  samples: z
    .array(
      z.object({ ...who, variant: z.string().nullable(), text: z.string().nullable(), segments: count.nullable() }),
    )
    .describe("The first three of each channel and variant, as they would be sent"),
  startsAt: z
    .string()
    .nullable()
    .describe("The first of the account's hours for any of them; null: nobody is written to"),
  endsAt: z
    .string()
    .nullable()
    .describe("By hours, the providers' rates and the account's limits, at most `expiresAt`; null: nobody can tell"),
  etaSeconds: z.int().nullable().describe("From now to `endsAt`"),
});

export type Preview = z.output<typeof previewSchema>;
export type PreviewedChannel = z.output<typeof channelSchema>;
