import { createHash } from "node:crypto";
import { z } from "zod";
import type { Receipt } from "../../../../core/inbound.ts";
import type { Route } from "../../../../core/route.ts";
import { check } from "../../../../core/faults.ts";
import {
  type WebhookDeps,
  isStorable,
  storable,
  UUID,
  webhookRoute,
  type WebhookCall,
  type WebhookReading,
} from "../../../webhooks.ts";
import { VONAGE_CODES } from "./error-codes.ts";
import { codeOf, NAME } from "./errors.ts";

const STATUS_PATH = "/webhooks/vonage/status";
const INBOUND_PATH = "/webhooks/vonage/inbound";

/**
 * Where Vonage reports on this message. The ledger's own id is needed to find it, and finds nothing unless the signed
 * `client_ref` is that of its attempt: Vonage's signature covers the body only.
 */
export const statusUrl = (publicUrl: string, messageId: string): string =>
  `${publicUrl}${STATUS_PATH}?message=${messageId}`;

interface VonageWebhooks {
  /** The SDK's: checks a token's signature and expiry. */
  verifySignature(token: string, secret: string): boolean;
  apiKey: string;
  signatureSecret: string;
}

/** Vonage calls again for a day; a token that is older was kept by somebody. */
const MAX_AGE_MS = 25 * 3_600_000;
const CLOCK_SLACK_MS = 5 * 60_000;

/** https://developer.vonage.com/messages/concepts/messages-status-callbacks */
const STATUS: ReadonlyMap<string, Receipt["status"]> = new Map([
  ["submitted", "sent"],
  ["delivered", "delivered"],
  ["read", "read"],
  ["rejected", "failed"],
  ["undeliverable", "failed"],
]);

/** What Vonage calls: https://developer.vonage.com/messages/concepts/signed-webhooks */
export function vonageWebhooks(
  { verifySignature, apiKey, signatureSecret }: VonageWebhooks,
  deps: WebhookDeps,
): Route[] {
  const { clock } = deps;
  const verify = ({ headers, body }: WebhookCall): boolean => {
    const token = /^Bearer (\S+)$/i.exec(headers.authorization ?? "")?.[1];
    if (token === undefined || !verifySignature(token, signatureSecret)) return false;
    const claims = claimsOf(token);
    const age = clock.now() - Number(claims["iat"]) * 1000;
    return (
      claims["api_key"] === apiKey &&
      claims["payload_hash"] === createHash("sha256").update(body).digest("hex") &&
      age <= MAX_AGE_MS &&
      age >= -CLOCK_SLACK_MS
    );
  };
  const common = { contentType: "application/json", verify };
  return [
    webhookRoute(
      {
        ...common,
        path: STATUS_PATH,
        summary: "Vonage reports on an SMS",
        read: (call) => readStatus(call, clock.now()),
      },
      deps,
    ),
    webhookRoute(
      {
        ...common,
        path: INBOUND_PATH,
        summary: "Vonage passes on an SMS that somebody has sent to one of its numbers",
        read: (call) => readInbound(call, clock.now()),
      },
      deps,
    ),
  ];
}

/** The signature has been verified: what is in the token is Vonage's. */
function claimsOf(token: string): Record<string, unknown> {
  const payload = token.split(".")[1] ?? "";
  return (JSON.parse(Buffer.from(payload, "base64url").toString("utf8")) ?? {}) as Record<string, unknown>;
}

const id = z.string().min(1).max(100).refine(isStorable);
/** Numbers and amounts come as text or as numbers. */
const amount = z.union([z.string(), z.number()]).transform(String);

const statusSchema = z.looseObject({
  message_uuid: id,
  status: z.string(),
  timestamp: z.string().optional(),
  client_ref: z.string().optional(),
  error: z.unknown().optional(),
  usage: z.looseObject({ price: amount, currency: z.string() }).optional().catch(undefined),
  sms: z.looseObject({ count_total: amount.optional(), total_count: amount.optional() }).optional().catch(undefined),
});

const inboundSchema = z.looseObject({
  message_uuid: id,
  from: z.union([z.string().min(1).max(100).refine(isStorable), z.number()]).transform(String),
  to: z.union([z.string(), z.number()]).transform(String).optional(),
  timestamp: z.string().optional(),
  text: z.string().optional(),
});

function readStatus({ url, body }: WebhookCall, now: number): WebhookReading {
  const read = bodyOf(body, statusSchema);
  if ("faults" in read) return read;
  const { message_uuid: providerMessageId, status, timestamp, client_ref: attemptId, error, usage, sms } = read.value;
  const known = STATUS.get(status);
  if (known === undefined) return { events: [] };
  const messageId = new URL(url).searchParams.get("message") ?? "";
  const code = codeOf(error);
  const segments = Number(sms?.count_total ?? sms?.total_count);
  return {
    events: [
      {
        kind: "receipt",
        provider: NAME,
        providerMessageId,
        status: known,
        at: timeOf(timestamp, now),
        ...(UUID.test(messageId) && UUID.test(attemptId ?? "")
          ? { attempt: { messageId, attemptId: attemptId! } }
          : {}),
        ...(known === "failed" ? { code: `vonage_${code ?? status}` } : {}),
        ...(known === "failed" && VONAGE_CODES[code ?? 0]?.kind === "suppress" ? { suppress: true } : {}),
        ...(Number.isInteger(segments) && segments > 0 ? { segments } : {}),
        ...(usage && /^\d{1,12}(\.\d{1,12})?$/.test(usage.price) && /^[A-Z]{3}$/.test(usage.currency)
          ? { price: { amount: usage.price, currency: usage.currency } }
          : {}),
      },
    ],
  };
}

function readInbound({ body }: WebhookCall, now: number): WebhookReading {
  const read = bodyOf(body, inboundSchema);
  if ("faults" in read) return read;
  const { message_uuid: replyId, from, to, timestamp, text } = read.value;
  return {
    events: [
      {
        kind: "reply",
        provider: NAME,
        replyId,
        from: e164(from),
        ...(to === undefined ? {} : { to: e164(to) }),
        text: storable(text ?? ""),
        at: timeOf(timestamp, now),
      },
    ],
  };
}

/** Vonage writes numbers without their plus; a short code or a name stays as it is. */
const e164 = (number: string): string => (/^[1-9]\d{6,14}$/.test(number) ? `+${number}` : number);

/** When it happened, as Vonage says; a time that cannot be, or is to come, is now. */
function timeOf(timestamp: string | undefined, now: number): number {
  const at = Date.parse(timestamp ?? "");
  return at > 0 && at <= now ? at : now;
}

function bodyOf<Schema extends z.ZodType>(
  body: Buffer,
  schema: Schema,
): { value: z.output<Schema> } | Extract<WebhookReading, { faults: unknown }> {
  let json: unknown;
  try {
    json = JSON.parse(body.toString("utf8"));
  } catch {
    return { faults: [{ pointer: "", detail: "is not JSON" }] };
  }
  const { value, faults } = check(schema, json);
  return faults.length > 0 ? { faults } : { value: value as z.output<Schema> };
}
