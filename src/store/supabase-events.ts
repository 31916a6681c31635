import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { Batcher } from "./batcher.ts";
import { DatabaseError, type Database } from "./database.ts";
import type {
  BegunDelivery,
  DeliveryOutcome,
  DeliveryAttempt,
  DeliveryState,
  EventStore,
  StoredEvent,
  TurnedOff,
  WebhookDelivery,
  WebhookEndpoint,
} from "./events.ts";

const ENDPOINT_COLUMNS =
  "id, account_id, url, description, events, enabled, disabled_because, old_secret_until, last_delivered_at, failures, created_at";
const DELIVERY_COLUMNS =
  "id, endpoint_id, type, state, attempts, next_at, created_at, ended_at, log, event:events (uid)";
/** Endpoints in one answer; an account has a handful. */
const MAX_ENDPOINTS = 1000;
const BATCH = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 2 };
/** Deliveries that one endpoint has under way at once at the most, over all processes; how many it may, the ledger says. */
const MOST_AT_ONCE = 20;
/** For how long whoever begins to listen waits for changes that began before, milliseconds, and between two looks. */
const UNDER_WAY_MS = 5000;
const UNDER_WAY_POLL_MS = 20;
/** As much as is known of an endpoint that nothing was delivered to yet. */
const AS_NEW = { failures: 0, failing_since: null, at_once: 2, silent: false };
const UNIQUE_VIOLATION = "23505";
const NO_SUCH_ROW = "23503";
/** Of the database itself: see cap_endpoints. */
const TOO_MANY_ENDPOINTS = "AP002";

/** The outbox and webhooks on Supabase; shares the ledger's connection. */
export function createEventStore(
  database: Database,
  onRetry: (operation: string, error: unknown, items: number) => void,
): EventStore & { drained(): Promise<void>; close(): void } {
  const rpc = database.rpc.bind(database);
  const endpoints = () => database.client.from("webhook_endpoints");
  const deliveries = () => database.client.from("webhook_deliveries");

  const begins = new Batcher<{ id: string; claim: string; holdMs: number }, BegunDelivery | undefined>({
    async flush(items) {
      const holdMs = Math.max(...items.map((item) => item.holdMs));
      const rows = await rpc<BegunRow[]>("begin_deliveries", {
        p_items: items.map(({ id, claim }) => ({ id, claim })),
        p_hold_ms: holdMs,
      });
      const byId = new Map(rows.map((row) => [String(row.id), row]));
      // Of one that is asked for twice in a batch, either may have got it.
      return items.map(({ id, claim }) => {
        const row = byId.get(id);
        return row?.claim === claim ? toBegun(row) : undefined;
      });
    },
    ...BATCH,
    waitForDatabase: false,
  });
  const outcomes = new Batcher<DeliveryOutcome, { turnedOff: TurnedOff | undefined }>({
    async flush(items) {
      const rows = items.map(({ retryInMs, ...rest }) => ({ ...rest, retry_in_ms: retryInMs }));
      const off = new Map(Object.entries(await rpc<Record<string, TurnedOff>>("record_deliveries", { p_items: rows })));
      return items.map(({ endpointId }) => {
        const turnedOff = off.get(endpointId);
        // Of several of one endpoint, one tells.
        off.delete(endpointId);
        return { turnedOff };
      });
    },
    ...BATCH,
    waitForDatabase: true,
    onRetry: (error, items) => onRetry("record_deliveries", error, items),
  });
  const refused = (error: unknown): "exists" | "unknown_account" | "too_many" => {
    if (error instanceof DatabaseError && error.code === UNIQUE_VIOLATION) return "exists";
    if (error instanceof DatabaseError && error.code === NO_SUCH_ROW) return "unknown_account";
    if (error instanceof DatabaseError && error.code === TOO_MANY_ENDPOINTS) return "too_many";
    throw error;
  };
  const changed = async (id: string, changes: object): Promise<WebhookEndpoint | undefined> => {
    const query = endpoints().update(changes).eq("id", id).select(ENDPOINT_COLUMNS).maybeSingle<EndpointRow>();
    const row = await database.run("changing an endpoint", query);
    return row ? toEndpoint(row) : undefined;
  };
  const endpoint: EventStore["endpoint"] = async (id) => {
    const query = endpoints().select(ENDPOINT_COLUMNS).eq("id", id).maybeSingle<EndpointRow>();
    const row = await database.run("endpoint", query);
    return row ? toEndpoint(row) : undefined;
  };

  /** A transaction that lasts longer is not waited for: what it changes may be told to nobody who has just begun to listen. */
  const othersEnded = async (): Promise<void> => {
    const deadline = performance.now() + UNDER_WAY_MS;
    let number: string | null = null;
    while ((number = await rpc<string | null>("begun_before", { p_number: number })) !== null) {
      if (performance.now() > deadline) return;
      await delay(UNDER_WAY_POLL_MS);
    }
  };

  return {
    run: (limit, holdMs, slots) =>
      rpc("run_events", { p_limit: limit, p_most: MOST_AT_ONCE, p_hold_ms: holdMs, p_slots: slots }).then(toRun),
    tidy: (keepSeconds, limit) => rpc("tidy_events", { p_keep_seconds: keepSeconds, p_limit: limit }),

    begin: (id, holdMs) => begins.add({ id, claim: randomUUID(), holdMs }),
    record: (outcome) => outcomes.add(outcome),

    async listen(accounts, seconds) {
      const { fresh, since, ...rest } = await rpc<ListenRow>("listen_to_events", {
        p_accounts: accounts,
        p_seconds: seconds,
      });
      if (fresh) await othersEnded();
      return { ...rest, since: new Map(Object.entries(since)) };
    },
    async read(after, accounts, huntId, limit) {
      const args = { p_after: after, p_accounts: accounts, p_hunt_id: huntId ?? null, p_limit: limit };
      const { events, ...rest } = await rpc<{ events: EventRow[]; head: number; lost: boolean }>("read_events", args);
      return { ...rest, events: events.map(toEvent) };
    },
    async accountOfHunt(huntId) {
      const query = database.client.from("hunts").select("account_id").eq("id", huntId);
      const row = await database.run("hunt", query.maybeSingle<{ account_id: string }>());
      return row?.account_id;
    },

    async createEndpoint({ accountId, ...rest }) {
      const row = { account_id: accountId, ...rest };
      const query = endpoints().insert(row).select(ENDPOINT_COLUMNS).single<EndpointRow>();
      const made = await database.run("making an endpoint", query).then(toEndpoint, refused);
      if (typeof made === "object") await othersEnded();
      return made;
    },
    async endpoints(accountId) {
      let query = endpoints().select(ENDPOINT_COLUMNS).order("created_at").order("id").limit(MAX_ENDPOINTS);
      if (accountId !== undefined) query = query.eq("account_id", accountId);
      const rows = await database.run("endpoints", query.overrideTypes<EndpointRow[], { merge: false }>());
      return (rows ?? []).map(toEndpoint);
    },
    endpoint,
    async changeEndpoint(id, changes) {
      const row = {
        ...changes,
        ...(changes.enabled === undefined ? {} : { disabled_because: null }),
        // Nothing is known of how it does elsewhere, or after it was mended.
        ...(changes.enabled === true || changes.url !== undefined ? AS_NEW : {}),
      };
      // PostgREST takes no change of nothing.
      if (Object.keys(row).length === 0) return endpoint(id);
      const now = await changed(id, row).catch((error: unknown) => {
        if (refused(error) === "exists") return "exists" as const;
        throw error;
      });
      if (changes.enabled === true) await othersEnded();
      return now;
    },
    async rotateSecret(id, secret, overlapSeconds) {
      const row = await rpc<EndpointRow | null>("rotate_endpoint_secret", {
        p_id: id,
        p_secret: secret,
        p_overlap_seconds: overlapSeconds,
      });
      return row ? toEndpoint(row) : undefined;
    },
    async deleteEndpoint(id) {
      const rows = await database.run<unknown[]>(
        "deleting an endpoint",
        endpoints().delete().eq("id", id).select("id"),
      );
      return rows.length > 0;
    },
    async testEndpoint(id) {
      const made = await rpc<number | null>("test_endpoint", { p_id: id });
      return made === null ? undefined : String(made);
    },

    async deliveries(endpointId, { state, cursor, limit }) {
      let query = deliveries().select(DELIVERY_COLUMNS).eq("endpoint_id", endpointId);
      if (state !== undefined) query = query.eq("state", state);
      if (cursor !== undefined) query = query.lt("id", cursor);
      // One more than asked for tells whether there is a next page.
      const all = query.order("id", { ascending: false }).limit(limit + 1);
      const rows = (await database.run("deliveries", all.overrideTypes<DeliveryRow[], { merge: false }>())) ?? [];
      const page = rows.slice(0, limit);
      const nextCursor = rows.length > limit ? String(page.at(-1)?.id) : undefined;
      return { deliveries: page.map(toDelivery), nextCursor };
    },
    async delivery(endpointId, deliveryId) {
      const query = deliveries().select(DELIVERY_COLUMNS).eq("endpoint_id", endpointId).eq("id", deliveryId);
      const row = await database.run("delivery", query.maybeSingle<DeliveryRow>());
      return row ? toDelivery(row) : undefined;
    },
    replay: (endpointId, deliveryId) => rpc("replay_delivery", { p_endpoint_id: endpointId, p_id: deliveryId }),

    drained: async () => void (await Promise.all([begins.drained(), outcomes.drained()])),
    close() {
      begins.close();
      outcomes.close();
    },
  };
}

interface EventRow {
  pos: number;
  id: string;
  accountId: string;
  huntId: string | null;
  type: string;
  at: string;
  data: Record<string, unknown>;
}

interface ListenRow {
  head: number;
  tidied: number;
  since: Record<string, number>;
  fresh: boolean;
}

interface BegunRow {
  id: number;
  claim: string;
  endpoint_id: string;
  url: string;
  secrets: string[];
  attempts: number;
  event: EventRow;
}

interface EndpointRow {
  id: string;
  account_id: string;
  url: string;
  description: string | null;
  events: string[] | null;
  enabled: boolean;
  disabled_because: string | null;
  old_secret_until: string | null;
  last_delivered_at: string | null;
  failures: number;
  created_at: string;
}

interface DeliveryRow {
  id: number;
  endpoint_id: string;
  type: string;
  state: DeliveryState;
  attempts: number;
  next_at: string;
  created_at: string;
  ended_at: string | null;
  log: DeliveryAttempt[];
  event: { uid: string };
}

const toRun = (answer: unknown): { moved: number; due: string[]; listened: boolean } => {
  const { due, ...rest } = answer as { moved: number; due: number[]; listened: boolean };
  return { ...rest, due: due.map(String) };
};

const timeOf = (at: string): string => new Date(at).toISOString();

const toEvent = ({ at, ...rest }: EventRow): StoredEvent => ({ ...rest, timestamp: timeOf(at) });

const toBegun = (row: BegunRow): BegunDelivery => ({
  id: String(row.id),
  claim: row.claim,
  endpointId: row.endpoint_id,
  url: row.url,
  secrets: row.secrets,
  attempts: row.attempts,
  event: toEvent(row.event),
});

const toEndpoint = (row: EndpointRow): WebhookEndpoint => ({
  id: row.id,
  accountId: row.account_id,
  url: row.url,
  description: row.description,
  events: row.events,
  enabled: row.enabled,
  disabledBecause: row.disabled_because,
  oldSecretUntil:
    row.old_secret_until !== null && Date.parse(row.old_secret_until) > Date.now()
      ? timeOf(row.old_secret_until)
      : null,
  lastDeliveredAt: row.last_delivered_at === null ? null : timeOf(row.last_delivered_at),
  failures: row.failures,
  createdAt: timeOf(row.created_at),
});

const toDelivery = (row: DeliveryRow): WebhookDelivery => ({
  deliveryId: String(row.id),
  endpointId: row.endpoint_id,
  eventId: `evt_${row.event.uid.replaceAll("-", "")}`,
  type: row.type,
  state: row.state,
  attempts: row.attempts,
  nextAttemptAt: row.state === "pending" && row.next_at !== "infinity" ? timeOf(row.next_at) : null,
  createdAt: timeOf(row.created_at),
  endedAt: row.ended_at === null ? null : timeOf(row.ended_at),
  log: row.log,
});
