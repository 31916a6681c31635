import { setTimeout as delay } from "node:timers/promises";
import type { Database } from "./database.ts";
import { toEvent, type EventRow } from "./event-rows.ts";
import type { EventStore } from "./events.ts";
import { createDeliveries } from "./supabase-deliveries.ts";
import { createEndpoints } from "./supabase-endpoints.ts";

/** Deliveries that one endpoint has under way at once at the most, over all processes; how many it may, the ledger says. */
const MOST_AT_ONCE = 20;
/** For how long whoever begins to listen waits for changes that began before, milliseconds, and between two looks. */
const UNDER_WAY_MS = 5000;
const UNDER_WAY_POLL_MS = 20;

/** The outbox and webhooks on Supabase; shares the ledger's connection. */
export function createEventStore(
  database: Database,
  onRetry: (operation: string, error: unknown, items: number) => void,
): EventStore & { drained(): Promise<void>; close(): void } {
  const rpc = database.rpc.bind(database);
  const { store: deliveries, batchers } = createDeliveries(database, onRetry);

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
    ...createEndpoints(database, othersEnded),
    ...deliveries,

    run: (limit, holdMs, slots) =>
      rpc("run_events", { p_limit: limit, p_most: MOST_AT_ONCE, p_hold_ms: holdMs, p_slots: slots }).then(toRun),
    tidy: (keepSeconds, limit) => rpc("tidy_events", { p_keep_seconds: keepSeconds, p_limit: limit }),

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
      const row = await database.run("hunts", query.maybeSingle<{ account_id: string }>());
      return row?.account_id;
    },

    drained: async () => void (await Promise.all(batchers.map((each) => each.drained()))),
    close() {
      for (const batcher of batchers) batcher.close();
    },
  };
}

interface ListenRow {
  head: number;
  tidied: number;
  since: Record<string, number>;
  fresh: boolean;
}

const toRun = (answer: unknown): { moved: number; due: string[]; listened: boolean } => {
  const { due, ...rest } = answer as { moved: number; due: number[]; listened: boolean };
  return { ...rest, due: due.map(String) };
};
