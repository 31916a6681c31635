import { z } from "zod";
import { timestamp } from "../core/text.ts";

/** Every event, and what each tells; the documents and the filters of endpoints are made from this. */
export const EVENT_TYPES = {
  "message.sent": "The provider has taken the message",
  "message.delivered": "It has arrived; `message.sent` may have been left out",
  "message.read": "It was read; the ones before may have been left out",
  "message.failed": "It was not sent, or did not arrive: `code` says why",
  "message.skipped": "It will not be sent: `reason` says why",
  "message.cancelled": "Its hunt was cancelled before it was sent",
  "message.unknown": "Nobody can tell whether it was sent: a person has to look",
  "message.reply": "The person wrote back; `wish` is `stop` or `start` where they asked for that",
  "hunt.started": "Its first message was tried or decided; or contacts were added after it was completed",
  "hunt.progress": "How many of its messages are in which state: at most once a second",
  "hunt.completed": "Nothing of it waits any more; receipts may still come",
  "hunt.paused": "Nothing of it begins any more",
  "hunt.resumed": "It goes on",
  "hunt.cancelled": "It is over; what waits is never sent",
  "session.pairing": "A WhatsApp number is to be paired: there is something to scan or to type",
  "session.connecting": "A WhatsApp number is being connected",
  "session.open": "A WhatsApp number can send",
  "session.backing_off": "A WhatsApp number has lost its connection and will try again",
  "session.logged_out": "Its phone has unlinked a WhatsApp number: it wants to be paired again",
  "session.banned": "WhatsApp has banned the number",
  "session.stopped": "A WhatsApp number was given up: it wants a person",
  "session.removed": "A WhatsApp number was logged out and forgotten",
  "suppression.added": "A number of the account's own list: it must not be contacted any more",
} as const;

export type EventType = keyof typeof EVENT_TYPES;

/** Goes to the endpoint that is tried out, whatever it asks for, and to nobody else. */
export const TEST_TYPE = "webhook.test";

/** All that an endpoint may get. */
export const WEBHOOK_TYPES = {
  ...EVENT_TYPES,
  [TEST_TYPE]: "Somebody tries the endpoint out: only that endpoint gets it, and it cannot be asked for",
} as const;

export type WebhookType = keyof typeof WEBHOOK_TYPES;

/** Those that hold what a person wrote, or a number: read when they leave, so that an erasure holds. */
const PERSONAL: readonly string[] = ["message.reply", "suppression.added"] satisfies EventType[];

export const isPersonal = (type: string): boolean => PERSONAL.includes(type);

const TYPES = Object.keys(EVENT_TYPES);
const GROUPS = [...new Set(TYPES.map((type) => `${type.split(".")[0]}.*`))];

/** What an endpoint may ask for: types, and groups of them. */
export const eventFilterSchema = z
  .array(z.enum([...GROUPS, ...TYPES] as [string, ...string[]]))
  .min(1)
  .max(TYPES.length + GROUPS.length);

/** What a webhook's body is, and the data of a server-sent event. */
export const eventSchema = z.object({
  id: z
    .string()
    .describe("The same wherever and however often it comes: whoever has seen it does nothing. Also `webhook-id`"),
  type: z.string(),
  timestamp: timestamp().describe("When it happened, ISO 8601 in UTC"),
  data: z.record(z.string(), z.unknown()).describe("What it is about; fields may be added"),
});

export type EventBody = z.output<typeof eventSchema>;

export const EXAMPLE: EventBody = {
  id: "evt_5f2b1c9e0a7d4c3b8e6f1a2b3c4d5e6f",
  type: "message.delivered",
  timestamp: "2026-01-08T09:30:00.000Z",
  data: {
    accountId: "acc_456",
    huntId: "hunt_123",
    adId: "ad_789",
    messageId: "0198c5a2-7d5e-7b1a-9f00-3c2a8d9e4f10",
    channel: "sms",
    status: "delivered",
    reason: null,
    code: null,
    provider: "twilio",
  },
};

/** An event without what only the service needs. */
export function bodyOf({ id, type, timestamp, data }: EventBody): EventBody {
  return { id, type, timestamp, data };
}
