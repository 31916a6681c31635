import type { IncomingHttpHeaders } from "node:http";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import type { WebhookResult } from "../core/metrics.ts";
import { invalidRequest, ProblemError, type Fault } from "../core/problem.ts";
import { route, type Route } from "../core/route.ts";
import type { InboundEvent } from "../core/inbound.ts";

export const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/** A phone may send what Postgres cannot store; the rest of the text is worth keeping. */
export const storable = (text: string): string => text.toWellFormed().replaceAll("\0", "");

export const isStorable = (text: string): boolean => storable(text) === text;

export interface WebhookDeps {
  clock: Clock;
  publicUrl: string;
  /**
   * Makes sure that these are not lost: they are queued, or in the ledger, once it resolves. Rejects with
   * `UnavailableError` when neither can be had now, and the vendor is to call again. What has an id (`callJobId`) is queued once
   * at a time.
   */
  take(events: readonly InboundEvent[], id?: string): Promise<void>;
  /**
   * Like `take`, for what becomes known only when the vendor has been answered, who will not call again: it is kept both ways at
   * once, and tried for a minute.
   */
  takeAfterwards(events: readonly InboundEvent[], id?: string): Promise<void>;
  /**
   * What a message says, for a vendor who asks; undefined when there is none, or it is not to be said any more. Rejects with
   * `UnavailableError`.
   */
  contentOf(messageId: string): Promise<unknown>;
  /**
   * What the message's job says, for while the ledger cannot be asked; undefined when there is none any more. It does not know
   * who has said stop since the attempt. Rejects with `UnavailableError`.
   */
  jobContentOf(queue: string, messageId: string): Promise<unknown>;
}

/** A vendor's call, as its signature covers it. */
export interface WebhookCall {
  /** The whole address that the vendor called, proxies or not. */
  url: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** What a call says, or what is wrong with it. An event that does not concern us is left out. */
export type WebhookReading = { events: InboundEvent[] } | { faults: Fault[] };

export interface Webhook {
  /** `/webhooks/<vendor>/<what>`. */
  path: string;
  summary: string;
  contentType: string;
  /** Whether it is the vendor who calls, and nobody has changed what it says. */
  verify(call: WebhookCall): boolean;
  read(call: WebhookCall): WebhookReading;
}

/** Receipts and replies are small; the longest SMS has some 10 KB when each of its characters is escaped. */
const MAX_BYTES = 64 * 1024;

export const FORGED =
  "The signature is missing or not that of the vendor over this body and address. PUBLIC_URL must be exactly where the vendor calls.";

/**
 * A public route that a vendor calls. It answers as soon as what was said cannot be lost any more, which `take` sees to:
 * vendors wait for seconds only, and call again when it takes longer.
 */
export function webhookRoute(webhook: Webhook, { publicUrl, take }: WebhookDeps): Route {
  return route({
    method: "post",
    path: webhook.path,
    tag: "Webhooks",
    summary: webhook.summary,
    description: "For the vendor, who signs what he sends. The same call may come twice, late and out of order.",
    public: true,
    rawBody: { maxBytes: MAX_BYTES, contentTypes: [webhook.contentType] },
    responses: {
      204: { description: "Taken." },
      401: { description: "Not the vendor.", codes: { invalid_signature: FORGED } },
    },
    async handle({ body: { bytes }, headers, url }) {
      const call = { url: publicUrl + url, headers, body: bytes };
      if (!webhook.verify(call)) throw forged();
      const said = webhook.read(call);
      if ("faults" in said) throw invalidRequest(said.faults);
      if (said.events.length > 0) await take(said.events);
      return { status: 204, body: undefined };
    },
  });
}

/** The routes of a vendor, each call of which is counted. What is refused before it is read (its type, its size) is not. */
export function counted(routes: readonly Route[], count: (result: WebhookResult) => void): Route[] {
  return routes.map((each) => ({
    ...each,
    async handle(request) {
      try {
        const reply = await each.handle(request);
        count("taken");
        return reply;
      } catch (error) {
        count(resultOf(error));
        throw error;
      }
    },
  }));
}

function resultOf(error: unknown): WebhookResult {
  if (error instanceof UnavailableError) return "unavailable";
  if (!(error instanceof ProblemError)) return "failed";
  return error.status === 401 ? "forged" : "malformed";
}

export function forged(): ProblemError {
  return new ProblemError({
    status: 401,
    code: "invalid_signature",
    title: "The signature is not valid",
    detail: FORGED,
  });
}
