import { randomUUID } from "node:crypto";
import { Batcher } from "./batcher.ts";
import type { Database } from "./database.ts";
import { toEvent, type EventRow } from "./event-rows.ts";
import type {
  BegunDelivery,
  DeliveryAttempt,
  DeliveryOutcome,
  DeliveryState,
  DeliveryStore,
  TurnedOff,
  WebhookDelivery,
} from "./events.ts";
import { utc } from "./times.ts";

interface Deliveries {
  readonly store: DeliveryStore;
  readonly batchers: readonly Pick<Batcher<never, unknown>, "drained" | "close">[];
}

const DELIVERY_COLUMNS =
  "id, endpoint_id, type, state, attempts, next_at, created_at, ended_at, log, event:events (uid)";
const BATCH = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 2 };

/** Deliveries to webhook endpoints on Supabase: the workers' calls in batches, and what their account sees of them. */
export function createDeliveries(
  database: Database,
  onRetry: (operation: string, error: unknown, items: number) => void,
): Deliveries {
  const rpc = database.rpc.bind(database);
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

  return {
    batchers: [begins, outcomes],
    store: {
      begin: (id, holdMs) => begins.add({ id, claim: randomUUID(), holdMs }),
      record: (outcome) => outcomes.add(outcome),

      async deliveries(endpointId, { state, cursor, limit }) {
        let query = deliveries().select(DELIVERY_COLUMNS).eq("endpoint_id", endpointId);
        if (state !== undefined) query = query.eq("state", state);
        if (cursor !== undefined) query = query.lt("id", cursor);
        // One more than asked for tells whether there is a next page.
        const all = query.order("id", { ascending: false }).limit(limit + 1);
        const rows =
          (await database.run("webhook_deliveries", all.overrideTypes<DeliveryRow[], { merge: false }>())) ?? [];
        const page = rows.slice(0, limit);
        const nextCursor = rows.length > limit ? String(page.at(-1)?.id) : undefined;
        return { deliveries: page.map(toDelivery), nextCursor };
      },
      async delivery(endpointId, deliveryId) {
        const query = deliveries().select(DELIVERY_COLUMNS).eq("endpoint_id", endpointId).eq("id", deliveryId);
        const row = await database.run("webhook_deliveries", query.maybeSingle<DeliveryRow>());
        return row ? toDelivery(row) : undefined;
      },
      replay: (endpointId, deliveryId, idempotency) =>
        rpc("repeat_delivery", { p_endpoint_id: endpointId, p_id: deliveryId, p_idempotency: idempotency ?? null }),
    },
  };
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

const toBegun = (row: BegunRow): BegunDelivery => ({
  id: String(row.id),
  claim: row.claim,
  endpointId: row.endpoint_id,
  url: row.url,
  secrets: row.secrets,
  attempts: row.attempts,
  event: toEvent(row.event),
});

const toDelivery = (row: DeliveryRow): WebhookDelivery => ({
  deliveryId: String(row.id),
  endpointId: row.endpoint_id,
  eventId: `evt_${row.event.uid.replaceAll("-", "")}`,
  type: row.type,
  state: row.state,
  attempts: row.attempts,
  nextAttemptAt: row.state === "pending" && row.next_at !== "infinity" ? utc(row.next_at) : null,
  createdAt: utc(row.created_at),
  endedAt: row.ended_at === null ? null : utc(row.ended_at),
  log: row.log,
});
