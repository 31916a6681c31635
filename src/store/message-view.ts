import { z } from "zod";
import { MESSAGE_STATUSES, type MessagePage, type StoredMessage } from "./store.ts";

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

export function pageView({ messages, nextCursor }: MessagePage): z.output<typeof messagePageSchema> {
  return { messages: messages.map(messageView), nextCursor: nextCursor ?? null };
}
