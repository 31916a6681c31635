import { EXAMPLE, TEST_TYPE, type EventBody, type WebhookType } from "./types.ts";

const { accountId, huntId, adId, messageId, channel, provider } = EXAMPLE.data;
const hunt = { accountId, huntId, pausedAt: null, cancelledAt: null };
const progress = { ...hunt, planning: false };
const session = { accountId, sessionId: "3d2f7c54-5b1e-4c3a-9d35-8a6f0f2f1c77" };
const { timestamp } = EXAMPLE;

/** What an event tells beside what all of its kind do. */
const DATA: Record<WebhookType, Record<string, unknown>> = {
  "message.sent": { ...EXAMPLE.data, status: "sent" },
  "message.delivered": EXAMPLE.data,
  "message.read": { ...EXAMPLE.data, status: "read" },
  "message.failed": { ...EXAMPLE.data, status: "failed", code: "undelivered" },
  "message.skipped": { ...EXAMPLE.data, status: "skipped", reason: "suppressed", provider: null },
  "message.cancelled": { ...EXAMPLE.data, status: "cancelled", provider: null },
  "message.unknown": { ...EXAMPLE.data, status: "unknown", code: "ambiguous" },
  "message.reply": {
    accountId,
    huntId,
    adId,
    provider,
    messageId,
    channel,
    replyId: "4711",
    wish: "stop",
    repliedAt: timestamp,
    phone: "+33612345678",
    text: "STOP",
  },
  "hunt.started": { ...progress, counts: { queued: 999, sending: 1 } },
  "hunt.progress": { ...progress, counts: { queued: 420, sending: 20, sent: 310, delivered: 240, skipped: 10 } },
  "hunt.completed": { ...progress, counts: { sent: 12, delivered: 970, skipped: 10, failed: 7, unknown: 1 } },
  "hunt.paused": { ...hunt, pausedAt: timestamp },
  "hunt.resumed": hunt,
  "hunt.cancelled": { ...hunt, cancelledAt: timestamp },
  "session.pairing": { ...session, state: "pairing" },
  "session.connecting": { ...session, state: "connecting" },
  "session.open": { ...session, state: "open" },
  "session.backing_off": { ...session, state: "backing-off" },
  "session.logged_out": { ...session, state: "logged-out" },
  "session.banned": { ...session, state: "banned" },
  "session.stopped": { ...session, state: "stopped" },
  "session.removed": { ...session, state: null },
  "suppression.added": { accountId, suppressionId: "815", source: "reply", phone: "+33612345678" },
  [TEST_TYPE]: { accountId, endpointId: "3f0d9a52-6c1e-4d0b-8f7a-2b9c4e5d6f70" },
};

/** For the documents. */
export const exampleOf = (type: WebhookType): EventBody => ({ ...EXAMPLE, type, data: DATA[type] });
