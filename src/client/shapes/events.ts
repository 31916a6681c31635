import type { CallOptions } from "./calls.ts";

/** What a webhook's body is, and the data of a live event. */
export interface EventBody {
  /** The same wherever and however often it comes: whoever has seen it does nothing. Also the header `webhook-id`. */
  id: string;
  /** `message.sent`, `hunt.progress`, …: docs/events.md lists them. */
  type: string;
  /** When it happened, ISO 8601, in UTC. */
  timestamp: string;
  data: Record<string, unknown>;
}

/** An event as it happens. `reset`, which has only a type and a position: events may be missing before it. */
export interface LiveEvent extends EventBody {
  /** For `lastEventId`. */
  position: string;
}

export interface EventsOptions extends CallOptions {
  /** This, `huntId`, or both. */
  accountId?: string | undefined;
  huntId?: string | undefined;
  /** The `position` after which to go on; default: from now. */
  lastEventId?: string | undefined;
  /** For how long faults that may pass (the service restarts) are put up with, milliseconds; default 60,000. */
  patienceMs?: number | undefined;
}

/** Where an account is told of events. */
export interface WebhookEndpoint {
  endpointId: string;
  accountId: string;
  url: string;
  description: string | null;
  /** Types, and groups such as `message.*`; null: all. */
  events: string[] | null;
  enabled: boolean;
  /** `gone`: it has answered 410; `failing`: it has taken nothing for five days. null where a person turned it off. */
  disabledBecause: string | null;
  /** Until then the secrets before this one sign as well. */
  oldSecretUntil: string | null;
  lastDeliveredAt: string | null;
  /** Attempts that have failed since. */
  failures: number;
  createdAt: string;
}

/** With what deliveries are signed with, which is shown this once. */
export interface WebhookEndpointWithSecret extends WebhookEndpoint {
  secret: string;
}

export interface NewWebhookEndpoint {
  accountId: string;
  /** https, on a public server. */
  url: string;
  description?: string | null | undefined;
  /** Default: all. */
  events?: string[] | null | undefined;
}

export interface WebhookEndpointChanges {
  url?: string | undefined;
  description?: string | null | undefined;
  events?: string[] | null | undefined;
  enabled?: boolean | undefined;
}

/** One event's way to an endpoint. */
export interface WebhookDelivery {
  deliveryId: string;
  endpointId: string;
  eventId: string;
  type: string;
  /** `failed`: not tried any more, but may be replayed. */
  state: "pending" | "delivered" | "failed";
  attempts: number;
  nextAttemptAt: string | null;
  createdAt: string;
  endedAt: string | null;
  /** The last 20 attempts. */
  log: {
    at: string;
    status: number | null;
    durationMs: number;
    error: string | null;
    answer: string | null;
  }[];
}

export interface DeliveriesOptions extends CallOptions {
  state?: WebhookDelivery["state"] | undefined;
  /** A `nextCursor`; default: from the newest. */
  cursor?: string | undefined;
  /** 1 to 500; default 100. */
  limit?: number | undefined;
}
