import { z } from "zod";
import { timestamp } from "../core/text.ts";
import { MESSAGE_STATUSES } from "../store/messages.ts";
import { eventSchema, WEBHOOK_TYPES, type WebhookType } from "./types.ts";

const accountId = z.string();
const huntId = z.string();

const message = z.object({
  accountId,
  huntId: huntId.nullable().describe("null: a single message"),
  adId: z.string().nullable(),
  messageId: z.uuid(),
  channel: z.string(),
  status: z.enum(MESSAGE_STATUSES),
  reason: z.string().nullable().describe("Why it was skipped"),
  code: z.string().nullable().describe("Why it failed, or is unknown"),
  provider: z.string().nullable(),
});

/** Of what answers no message that is known, that message's fields are null. */
const reply = message.pick({ accountId: true, huntId: true, adId: true, provider: true }).extend({
  messageId: message.shape.messageId.nullable(),
  channel: message.shape.channel.nullable(),
  replyId: z.string(),
  wish: z.enum(["stop", "start"]).nullable(),
  repliedAt: timestamp(),
  phone: z.string().nullable().describe("null: erased"),
  text: z.string().nullable().describe("null: erased"),
});

const steering = z.object({
  accountId,
  huntId,
  pausedAt: timestamp().nullable(),
  cancelledAt: timestamp().nullable(),
});
const progress = steering.extend({
  counts: z.partialRecord(z.enum(MESSAGE_STATUSES), z.int()).describe("Messages by status; what is absent is 0"),
  planning: z.boolean().describe("Contacts are still being made into messages"),
});

const session = z.object({ accountId, sessionId: z.uuid(), state: z.string().nullable().describe("null: removed") });

const suppression = z.object({
  accountId,
  suppressionId: z.string(),
  source: z.enum(["reply", "carrier", "import", "erasure", "manual"]),
  phone: z.string().nullable().describe("null: erased"),
});

const OWN: Partial<Record<WebhookType, z.ZodObject>> = {
  "message.reply": reply,
  "hunt.started": progress,
  "hunt.progress": progress,
  "hunt.completed": progress,
};
const webhook = z.object({ accountId, endpointId: z.uuid() });
const OF_GROUP: Record<string, z.ZodObject> = { message, hunt: steering, session, suppression, webhook };

const withData = <Data extends z.ZodObject>(type: string, data: Data) =>
  eventSchema.extend({ type: z.literal(type), data });

/** Each event as it is told, and what tries an endpoint out, by type. */
export const EVENTS: Readonly<Record<string, ReturnType<typeof withData>>> = Object.fromEntries(
  Object.keys(WEBHOOK_TYPES).map((type) => {
    const data = OWN[type as WebhookType] ?? OF_GROUP[type.split(".")[0]!]!;
    return [type, withData(type, data)];
  }),
);
