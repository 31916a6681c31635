import type { Idempotency } from "../core/route.ts";

/** Something that happened, as readers get it. `data` never holds a credential. */
export interface StoredEvent {
  /** Its place in the order of events; later ones are greater. */
  pos: number;
  /** `evt_…`, the same wherever and however often it goes. */
  id: string;
  type: string;
  /** ISO 8601, in UTC. */
  timestamp: string;
  accountId: string;
  huntId: string | null;
  data: Record<string, unknown>;
}

/** An attempt to deliver a webhook, as the log keeps it. */
export interface DeliveryAttempt {
  /** ISO 8601, in UTC. */
  at: string;
  /** The answer's; null where none came. */
  status: number | null;
  durationMs: number;
  /** Why there was no answer, in words. */
  error: string | null;
  /** The beginning of the answer's body, without what looks like a number or a secret. */
  answer: string | null;
}

/** Why the service has turned an endpoint off. `gone`: it answered 410; `failing`: for five days it has taken nothing. */
export type TurnedOff = "gone" | "failing";

export interface WebhookEndpoint {
  id: string;
  accountId: string;
  url: string;
  description: string | null;
  /** Types and groups; null: all events. */
  events: string[] | null;
  enabled: boolean;
  /** null where a person turned it off. */
  disabledBecause: string | null;
  /** Until then secrets before this one sign as well. */
  oldSecretUntil: string | null;
  lastDeliveredAt: string | null;
  /** Attempts that failed since. */
  failures: number;
  createdAt: string;
}

export interface NewWebhookEndpoint {
  accountId: string;
  url: string;
  description: string | null;
  events: string[] | null;
  /** Sealed, where there is a key. */
  secret: string;
}

export const DELIVERY_STATES = ["pending", "delivered", "failed"] as const;
export type DeliveryState = (typeof DELIVERY_STATES)[number];

export interface WebhookDelivery {
  deliveryId: string;
  endpointId: string;
  eventId: string;
  type: string;
  state: DeliveryState;
  /** Since it was made or replayed. */
  attempts: number;
  /** null: it is over, or waits for the one before it about the same subject. */
  nextAttemptAt: string | null;
  createdAt: string;
  endedAt: string | null;
  /** The last 20, the oldest first, those before a replay included. */
  log: DeliveryAttempt[];
}

/** A delivery that a worker has taken. */
export interface BegunDelivery {
  id: string;
  /** Proves that it is still this worker's. */
  claim: string;
  endpointId: string;
  url: string;
  /** The current one, and those that still sign beside it. */
  secrets: string[];
  /** Attempts before this one. */
  attempts: number;
  event: StoredEvent;
}

export interface DeliveryOutcome {
  id: string;
  claim: string;
  endpointId: string;
  delivered: boolean;
  /** The endpoint wants nothing any more: it is turned off. */
  gone: boolean;
  /** It is for us to mend: nothing was sent. It counts neither as an attempt nor against the endpoint. */
  ours: boolean;
  /** Until the next attempt; undefined: there is none. */
  retryInMs: number | undefined;
  entry: DeliveryAttempt;
}

export type DeliveryAnswer<Refused extends string> =
  | { result: "accepted" | "replay"; response: { deliveryId: string } }
  | { result: "conflict" | Refused };

/** The endpoints of accounts. */
export interface EndpointStore {
  /** Whatever commits after it resolves is told. `too_many`: the account has 20. */
  createEndpoint(endpoint: NewWebhookEndpoint): Promise<WebhookEndpoint | "exists" | "unknown_account" | "too_many">;
  endpoints(accountId: string | undefined): Promise<WebhookEndpoint[]>;
  endpoint(id: string): Promise<WebhookEndpoint | undefined>;
  changeEndpoint(
    id: string,
    changes: Partial<Pick<WebhookEndpoint, "url" | "description" | "events" | "enabled">>,
  ): Promise<WebhookEndpoint | "exists" | undefined>;
  /** Those so far sign as well for `overlapSeconds`. */
  rotateSecret(id: string, secret: string, overlapSeconds: number): Promise<WebhookEndpoint | undefined>;
  /** Endpoints whose current secret does not begin so, some of them at a time. */
  sealedOtherwise(mark: string): Promise<{ endpointId: string; secret: string }[]>;
  /** Puts the one in place of the other; false where it is another one by now. */
  reseal(id: string, from: string, to: string): Promise<boolean>;
  /** With its deliveries; whether there was one. */
  deleteEndpoint(id: string): Promise<boolean>;
  /** Makes a delivery that only tries it out. */
  testEndpoint(id: string, idempotency: Idempotency | undefined): Promise<DeliveryAnswer<"off">>;
}

/** What is on its way to endpoints. */
export interface DeliveryStore {
  /** undefined: there is nothing to be done, or somebody else does it. */
  begin(deliveryId: string, holdMs: number): Promise<BegunDelivery | undefined>;
  /** Resolves once committed. `turnedOff`: why the endpoint gets nothing more from now on. */
  record(outcome: DeliveryOutcome): Promise<{ turnedOff: TurnedOff | undefined }>;

  /** The newest first. */
  deliveries(
    endpointId: string,
    filter: { state: DeliveryState | undefined; cursor: string | undefined; limit: number },
  ): Promise<{ deliveries: WebhookDelivery[]; nextCursor: string | undefined }>;
  delivery(endpointId: string, deliveryId: string): Promise<WebhookDelivery | undefined>;
  replay(
    endpointId: string,
    deliveryId: string,
    idempotency: Idempotency | undefined,
  ): Promise<DeliveryAnswer<"pending" | "missing">>;
}

/** The outbox, and what is made of it. All reject with `UnavailableError` while the database is away; `record` waits for it. */
export interface EventStore extends EndpointStore, DeliveryStore {
  /**
   * Makes deliveries of what has happened and takes those that are due, for `holdMs`: whoever takes them is to queue them.
   * `slots`: how many a process attempts at once, of which nobody gets more than a share. `moved`: events that it met;
   * `listened`: whether anybody wants any.
   */
  run(limit: number, holdMs: number, slots: number): Promise<{ moved: number; due: string[]; listened: boolean }>;
  /** Forgets what is older; answers how much it was. As much as `limit`: there may be more. */
  tidy(keepSeconds: number, limit: number): Promise<number>;

  /**
   * From now on events of these accounts are kept for live readers: all that commits after it resolves. `since`: by account, from
   * where on there is no gap.
   */
  listen(
    accounts: readonly string[],
    seconds: number,
  ): Promise<{ head: number; tidied: number; since: Map<string, number> }>;
  /** In order. Nothing up to `head` is missing, unless `lost`: nobody knows what there was after `after`. */
  read(
    after: number,
    accounts: readonly string[],
    huntId: string | undefined,
    limit: number,
  ): Promise<{ events: StoredEvent[]; head: number; lost: boolean }>;
  /** Whose hunt it is; undefined when there is none. */
  accountOfHunt(huntId: string): Promise<string | undefined>;
}
