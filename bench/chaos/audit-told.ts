import type pg from "pg";
import type { EventBody } from "../../src/client.ts";
import type { Endpoints } from "./endpoints.ts";
import { words, type Row } from "./ledger.ts";

/** What accounts were told by webhooks of ours, against the ledger. */
export interface Telling {
  /** Events that arrived, and how often they did. */
  events: number;
  arrivals: number;
  taken: number;
  /** Not told, told in another order, not signed, or told though the ledger does not hold it. */
  faults: string[];
}

interface Happened {
  id: string;
  type: string;
  pos: number;
  message: string;
}

export async function tellingOf(sql: pg.Pool, endpoints: Endpoints, rows: readonly Row[]): Promise<Telling> {
  const { rows: happened } = await sql.query<Happened>(
    `select 'evt_' || replace(uid::text, '-', '') as id, type, pos::float as pos, data ->> 'messageId' as message
     from events where type like 'message.%' and type <> 'message.reply' and account_id = any ($1)`,
    [endpoints.accounts],
  );
  const known = new Map(happened.map((event) => [event.id, event]));
  const faults = [...endpoints.faults];
  // What people wrote is no state of a message.
  const told = endpoints.told.filter(({ event }) => event.type !== "message.reply");
  const taken = new Set(told.filter((each) => each.taken).map(({ event }) => event.id));
  // In the order in which each came for the first time, which a Map keeps.
  const arrived = new Map<string, EventBody>();
  for (const { event } of told) if (!arrived.has(event.id)) arrived.set(event.id, event);
  const last = new Map<string, Happened>();
  for (const { id, type, data } of arrived.values()) {
    const event = known.get(id);
    if (event?.type !== type || event.message !== data["messageId"]) {
      faults.push(`${id} was told, and the ledger does not hold it`);
      continue;
    }
    const before = last.get(event.message);
    if (before && before.pos > event.pos) faults.push(`${event.message}: ${type} was told after ${before.type}`);
    last.set(event.message, event);
  }
  const ends = new Set(happened.filter(({ id }) => taken.has(id)).map(({ message, type }) => `${message} ${type}`));
  for (const row of rows) {
    if (!endpoints.accounts.includes(row.account_id ?? "") || ends.has(`${row.id} message.${row.status}`)) continue;
    faults.push(`${words(row)}: its account was not told`);
  }
  return { events: arrived.size, arrivals: told.length, taken: taken.size, faults };
}
