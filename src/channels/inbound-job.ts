import { z } from "zod";

/** The queue of what vendors report. */
export const INBOUND_QUEUE = "inbound";

/** A delivery report on its way into the ledger. Shape: `Receipt`. */
const receiptSchema = z.object({
  kind: z.literal("receipt"),
  provider: z.string(),
  providerMessageId: z.string(),
  status: z.enum(["sent", "delivered", "read", "failed"]),
  attempt: z.object({ messageId: z.uuid(), attemptId: z.uuid() }).exactOptional(),
  code: z.string().exactOptional(),
  unlessInstructed: z.string().exactOptional(),
  suppress: z.boolean().exactOptional(),
  segments: z.int().positive().exactOptional(),
  price: z
    .object({ amount: z.string().regex(/^\d{1,12}(\.\d{1,12})?$/), currency: z.string().length(3) })
    .exactOptional(),
  at: z.number(),
});

/** Something that a person wrote back, on its way into the ledger. Shape: `Reply`. */
const replySchema = z.object({
  kind: z.literal("reply"),
  provider: z.string(),
  providerMessageId: z.string().exactOptional(),
  replyId: z.string().exactOptional(),
  accountId: z.string().exactOptional(),
  from: z.string(),
  aliases: z.array(z.string()).exactOptional(),
  to: z.string().exactOptional(),
  text: z.string(),
  stop: z.boolean().exactOptional(),
  at: z.number(),
});

/** How far a provider's question what to leave has come. Shape: `Instructions`. */
const instructionsSchema = z.object({
  kind: z.literal("instructions"),
  attemptId: z.uuid(),
  step: z.enum(["asked", "answered"]),
});

/** Of a job of the queue `inbound` that asks the provider what a message was charged. */
export const CHARGE_JOB = "charge";

export const chargeJobSchema = z.object({ provider: z.string(), providerMessageId: z.string() });
export type ChargeJob = z.output<typeof chargeJobSchema>;

/** What any other job of the queue carries: all of one webhook. */
export const inboundJobSchema = z.object({
  events: z.array(z.discriminatedUnion("kind", [receiptSchema, replySchema, instructionsSchema])),
});
export type InboundJob = z.output<typeof inboundJobSchema>;
