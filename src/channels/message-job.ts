import { z } from "zod";

/** An outcome that was kept in its job because the ledger did not have it yet. Shape: `Outcome` of the store. */
const keptOutcomeSchema = z.object({
  messageId: z.uuid(),
  attemptId: z.uuid().optional(),
  claim: z.uuid().optional(),
  result: z.enum(["sent", "failed", "skipped", "unknown", "not_sent", "ambiguous"]),
  code: z.string().optional(),
  detail: z.string().optional(),
  provider: z.string().optional(),
  providerMessageId: z.string().optional(),
  suppress: z.boolean(),
  refused: z.boolean().optional(),
  holdMs: z.number().optional(),
});

/** What a channel queue's job carries; `content` is checked by the channel's own schema. */
export const messageJobSchema = z.object({
  messageId: z.uuid(),
  accountId: z.string().optional(),
  huntId: z.string().optional(),
  adId: z.string().optional(),
  channel: z.string(),
  /** E.164. */
  to: z.string().regex(/^\+[1-9]\d{5,14}$/),
  from: z.string().optional(),
  content: z.unknown(),
  /** Held to the account's policy. */
  category: z.enum(["marketing"]).optional(),
  /** The hours of its hunt, where it has any. */
  windows: z
    .object({ days: z.array(z.int()), from: z.string(), to: z.string(), timeZone: z.string().optional() })
    .optional(),
  /** It has left a bundle: a worker has had it before. */
  waited: z.literal(true).optional(),
  /** The last call that may have been made, written before it: tells a ledger that has lost its last seconds. */
  attempt: z.uuid().optional(),
  outcome: keptOutcomeSchema.optional(),
});
export type MessageJob = z.output<typeof messageJobSchema>;
