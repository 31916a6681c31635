import { parse } from "node:querystring";
import type twilio from "twilio";
import type { Clock } from "../../../../core/clock.ts";
import type { Receipt } from "../../../../core/inbound.ts";
import type { Route } from "../../../../core/route.ts";
import {
  type WebhookDeps,
  isStorable,
  storable,
  UUID,
  webhookRoute,
  type WebhookCall,
  type WebhookReading,
} from "../../../webhooks.ts";
import { TWILIO_CODES } from "./error-codes.ts";
import { NAME } from "./errors.ts";

const STATUS_PATH = "/webhooks/twilio/status";
const INBOUND_PATH = "/webhooks/twilio/inbound";
const FORM = "application/x-www-form-urlencoded";

/** https://www.twilio.com/docs/messaging/api/message-resource#message-status-values */
const STATUS: ReadonlyMap<string, Receipt["status"]> = new Map([
  ["accepted", "sent"],
  ["scheduled", "sent"],
  ["queued", "sent"],
  ["sending", "sent"],
  ["sent", "sent"],
  ["delivered", "delivered"],
  ["read", "read"],
  ["undelivered", "failed"],
  ["failed", "failed"],
  ["canceled", "failed"],
]);

/** Where Twilio reports on this attempt. Its signature covers the query. */
export function statusCallback(publicUrl: string, { messageId, attemptId }: { messageId: string; attemptId: string }) {
  return `${publicUrl}${STATUS_PATH}?message=${messageId}&attempt=${attemptId}`;
}

interface TwilioWebhooks {
  validate: typeof twilio.validateRequest;
  authToken: string;
  accountSid: string;
}

/** What Twilio calls: https://www.twilio.com/docs/usage/webhooks/messaging-webhooks */
export function twilioWebhooks({ validate, authToken, accountSid }: TwilioWebhooks, deps: WebhookDeps): Route[] {
  const verify = ({ url, headers, body }: WebhookCall): boolean => {
    const signature = headers["x-twilio-signature"];
    const form = parse(body.toString("utf8"));
    return (
      typeof signature === "string" && validate(authToken, signature, url, form) && form["AccountSid"] === accountSid
    );
  };
  const common = { contentType: FORM, verify };
  return [
    webhookRoute(
      {
        ...common,
        path: STATUS_PATH,
        summary: "Twilio reports on an SMS",
        read: (call) => readStatus(call, deps.clock),
      },
      deps,
    ),
    webhookRoute(
      {
        ...common,
        path: INBOUND_PATH,
        summary: "Twilio passes on an SMS that somebody has sent to one of its numbers",
        read: (call) => readInbound(call, deps.clock),
      },
      deps,
    ),
  ];
}

const missing = (field: string): WebhookReading => ({ faults: [{ pointer: `/${field}`, detail: "is missing" }] });

function readStatus({ url, body }: WebhookCall, clock: Clock): WebhookReading {
  const form = new URLSearchParams(body.toString("utf8"));
  const providerMessageId = form.get("MessageSid");
  const status = form.get("MessageStatus");
  if (!providerMessageId || !isStorable(providerMessageId)) return missing("MessageSid");
  if (!status) return missing("MessageStatus");
  const known = STATUS.get(status);
  // Such as `receiving`, which is not about a message of ours.
  if (known === undefined) return { events: [] };
  const code = form.get("ErrorCode") ?? "";
  const attempt = attemptOf(new URL(url).searchParams);
  return {
    events: [
      {
        kind: "receipt",
        provider: NAME,
        providerMessageId,
        status: known,
        at: clock.now(),
        ...(attempt ? { attempt } : {}),
        ...(known === "failed" ? { code: /^\d{1,6}$/.test(code) ? `twilio_${code}` : `twilio_${status}` } : {}),
        ...(known === "failed" && TWILIO_CODES[Number(code)]?.kind === "suppress" ? { suppress: true } : {}),
      },
    ],
  };
}

function attemptOf(query: URLSearchParams): { messageId: string; attemptId: string } | undefined {
  const messageId = query.get("message") ?? "";
  const attemptId = query.get("attempt") ?? "";
  return UUID.test(messageId) && UUID.test(attemptId) ? { messageId, attemptId } : undefined;
}

function readInbound({ body }: WebhookCall, clock: Clock): WebhookReading {
  const form = new URLSearchParams(body.toString("utf8"));
  const [replyId, from] = [form.get("MessageSid"), form.get("From")];
  if (!replyId) return missing("MessageSid");
  if (!from || !isStorable(replyId + from)) return missing("From");
  const to = form.get("To");
  return {
    events: [
      {
        kind: "reply",
        provider: NAME,
        replyId,
        from,
        ...(to ? { to } : {}),
        text: storable(form.get("Body") ?? ""),
        // Advanced Opt-Out has words of its own: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
        ...(form.get("OptOutType") === "STOP" ? { stop: true } : {}),
        at: clock.now(),
      },
    ],
  };
}
