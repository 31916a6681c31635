import { z } from "zod";
import { MESSAGE_STATUSES, type MessagePage, type StoredMessage } from "./messages.ts";

const time = z.string().nullable();

/** A message as the API shows it. */
export const messageSchema = z.object({
  messageId: z.uuid(),
  accountId: z.string().nullable(),
  huntId: z.string().nullable(),
  adId: z.string().nullable(),
  channel: z.string(),
  recipientPhone: z.string().describe("E.164, or what was given where that is not a number"),
  senderPhone: z.string().nullable(),
  variant: z.string().nullable().describe("Which of the hunt's variants made its text"),
  status: z.enum(MESSAGE_STATUSES),
  reason: z
    .string()
    .nullable()
    .describe(
      "Why it was skipped: `invalid_number`, `duplicate`, `suppressed`, `no_consent`, `frequency_cap`, `no_credit`, `missing_variable` (with its name in `detail`), …",
    ),
  code: z.string().nullable().describe("With what code it failed or became unknown, e.g. `twilio_21211`"),
  detail: z.string().nullable().describe("The reason or code in words; while it is queued: what it waits for"),
  provider: z.string().nullable(),
  providerMessageId: z.string().nullable(),
  segments: z.number().int().nullable().describe("Of an SMS: as its provider counted, else as the service did"),
  price: z.number().nullable().describe("What its provider charged, where it says so"),
  currency: z.string().nullable().describe("ISO 4217"),
  attempts: z.number().int().describe("Calls of a provider"),
  createdAt: time,
  sentAt: time,
  deliveredAt: time,
  readAt: time,
  updatedAt: time,
});

export function messageView(message: StoredMessage): z.output<typeof messageSchema> {
  const { queue: _queue, code, ...rest } = message;
  const skipped = message.status === "skipped";
  return { ...rest, reason: skipped ? code : null, code: skipped ? null : code };
}

/** The query parameters of every list of messages. */
export const cursorQuery = {
  cursor: z
    .string()
    .regex(/^\d{1,18}$/, "is not a cursor that this route gave")
    .optional(),
  limit: z.coerce.number().int().min(1).max(1000).default(100),
};

export const messagePageSchema = z.object({ messages: z.array(messageSchema), nextCursor: z.string().nullable() });

/** For the documents. */
export const MESSAGE_EXAMPLE: z.output<typeof messageSchema> = {
  messageId: "0198c5a2-7d5e-7b1a-9f00-3c2a8d9e4f10",
  accountId: "acc_456",
  huntId: "hunt_123",
  adId: "ad_789",
  channel: "sms",
  recipientPhone: "+33612345678",
  senderPhone: null,
  variant: null,
  status: "delivered",
  reason: null,
  code: null,
  detail: null,
  provider: "twilio",
  providerMessageId: "SM0123456789abcdef0123456789abcdef",
  segments: 1,
  price: 0.0798,
  currency: "USD",
  attempts: 1,
  createdAt: "2026-01-08T09:30:00.000Z",
  sentAt: "2026-01-08T09:30:01.000Z",
  deliveredAt: "2026-01-08T09:30:04.000Z",
  readAt: null,
  updatedAt: "2026-01-08T09:30:04.000Z",
};
export const MESSAGE_PAGE_EXAMPLE = { messages: [MESSAGE_EXAMPLE], nextCursor: null };

export function pageView({ messages, nextCursor }: MessagePage): z.output<typeof messagePageSchema> {
  return { messages: messages.map(messageView), nextCursor: nextCursor ?? null };
}
