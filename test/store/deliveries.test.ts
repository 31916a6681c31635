import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { until } from "../helpers/ledger.ts";

const SLOTS = 16;

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  await database.sql.query("create sequence places");
});
beforeEach(() => database.sql.query("delete from webhook_endpoints"));
afterAll(() => database.drop());

/** An endpoint with so many events that wait for it, of an account of its own unless given. */
async function endpoint(events: number, columns: { account?: string; atOnce?: number; silent?: boolean } = {}) {
  const { account = `acc_${randomUUID()}`, atOnce = 20, silent = false } = columns;
  await database.sql.query("insert into accounts (id) values ($1) on conflict do nothing", [account]);
  const { rows } = await database.sql.query<{ id: string }>(
    `insert into webhook_endpoints (account_id, url, secret, at_once, silent)
     values ($1, 'https://hooks.example.com/' || gen_random_uuid(), 'x', $2, $3) returning id`,
    [account, atOnce, silent],
  );
  const id = rows[0]!.id;
  await database.sql.query(
    `with made as (
       insert into events (account_id, type, data, pos) select $1, 'test', '{}', nextval('places') from generate_series(1, $3::int)
       returning id, pos
     )
     insert into webhook_deliveries (endpoint_id, event_id, type, pos) select $2, id, 'test', pos from made`,
    [account, id, events],
  );
  return { id, account };
}

/** Has what is due handed out, and taken; answers how many of each endpoint. */
async function handOut(): Promise<Map<string, string[]>> {
  const { rows } = await database.sql.query<{ run: { due: number[] } }>(
    "select run_events(500, 20, 10000, $1) as run",
    [SLOTS],
  );
  const ids = rows[0]!.run.due;
  const { rows: begun } = await database.sql.query<{ id: string; endpoint_id: string }>(
    "update webhook_deliveries set claim = gen_random_uuid() where id = any ($1) returning id, endpoint_id",
    [ids],
  );
  const byEndpoint = Map.groupBy(begun, ({ endpoint_id: of }) => of);
  return new Map([...byEndpoint].map(([of, all]) => [of, all.map(({ id }) => id)]));
}

const countOf = (handedOut: Map<string, string[]>, ...endpoints: { id: string }[]): number =>
  endpoints.reduce((sum, { id }) => sum + (handedOut.get(id)?.length ?? 0), 0);

/** Each with its status, null: no answer. */
async function record(ids: readonly string[], status: number | null, durationMs = 10): Promise<void> {
  const delivered = status === 200;
  const { rows } = await database.sql.query<{ id: string; claim: string }>(
    "select id, claim from webhook_deliveries where id = any ($1)",
    [ids],
  );
  const entry = { at: new Date().toISOString(), status, durationMs, error: null, answer: null };
  const items = rows.map((row) => ({ ...row, delivered, gone: false, retry_in_ms: delivered ? null : 1, entry }));
  await database.sql.query("select record_deliveries($1)", [JSON.stringify(items)]);
}

async function atOnce({ id }: { id: string }): Promise<number> {
  const { rows } = await database.sql.query<{ n: number }>("select at_once as n from webhook_endpoints where id = $1", [
    id,
  ]);
  return rows[0]!.n;
}

test("an endpoint → gets more at once with what it takes quickly, a single one while it is silent", async () => {
  const one = await endpoint(30, { atOnce: 2 });
  const round = async (status: number | null, durationMs?: number): Promise<number> => {
    const ids = (await handOut()).get(one.id) ?? [];
    await record(ids, status, durationMs);
    return ids.length;
  };
  expect(await round(200)).toBe(2);
  expect(await atOnce(one)).toBe(4);
  // Of its account, that is all that there is for now.
  expect(await round(200, 5000)).toBe(SLOTS / 4);
  expect(await atOnce(one)).toBe(4);
  expect(await round(null)).toBe(4);
  expect(await round(500)).toBe(1);
  expect(await atOnce(one)).toBe(2);
});

test("endpoints of one account → have a quarter of a process together, each something of it", async () => {
  const first = await endpoint(9);
  const second = await endpoint(9, { account: first.account });
  const other = await endpoint(9);
  const handedOut = await handOut();
  expect([countOf(handedOut, first), countOf(handedOut, second), countOf(handedOut, other)]).toEqual([2, 2, 4]);
  // They are still under way.
  expect((await handOut()).size).toBe(0);
  await record(handedOut.get(second.id)!, 200);
  expect(countOf(await handOut(), first, second)).toBe(2);
});

test("many accounts whose endpoints are silent → half of a process, and what was due first; the others are served", async () => {
  const silent = await Promise.all(Array.from({ length: 2 * SLOTS }, () => endpoint(3, { silent: true, atOnce: 1 })));
  const longest = silent.at(-1)!;
  await database.sql.query(
    "update webhook_deliveries set next_at = now() - interval '1 hour' where endpoint_id = $1 and id % 3 = 0",
    [longest.id],
  );
  const well = await endpoint(3);
  const handedOut = await handOut();
  expect(countOf(handedOut, ...silent)).toBe(SLOTS / 2);
  expect([countOf(handedOut, longest), countOf(handedOut, well)]).toEqual([1, 3]);
});

test("two endpoints at once, of which the account may have one more → one of them is refused", async () => {
  const { account } = await endpoint(0);
  for (let i = 0; i < 18; i += 1) await endpoint(0, { account });
  const first = await database.sql.connect();
  const insert = "insert into webhook_endpoints (account_id, url, secret) values ($1, $2, 'x')";
  await first.query("begin");
  await first.query(insert, [account, "https://hooks.example.com/first"]);
  const second = database.sql.query(insert, [account, "https://hooks.example.com/second"]).then(
    () => "made",
    (error: { code: string }) => error.code,
  );
  const waits = "select 1 from pg_locks where not granted and locktype = 'advisory'";
  const waiting = until(
    async () => (await database.sql.query(waits)).rowCount,
    (n) => n === 1,
  ).then(() => "waits");
  expect(await Promise.race([second, waiting])).toBe("waits");
  await first.query("commit");
  first.release();
  expect(await second).toBe("AP002");
});

test("an hour in which no process ran → all that waits is due in the first look, what was due first before the rest", async () => {
  const { id } = await endpoint(5);
  const { rows } = await database.sql.query<{ id: string }>(
    "select id from webhook_deliveries where endpoint_id = $1 order by pos",
    [id],
  );
  const [retried, taken, queued, held, fresh] = rows.map((row) => row.id);
  const as = (what: string, of: string[], ...values: unknown[]) =>
    database.sql.query(`update webhook_deliveries set ${what} where id = any ($1)`, [of, ...values]);
  // When all stopped: one was to be tried again within the hour, one later than that, one was with a worker, one in its queue.
  await as("attempts = 3, next_at = now() + interval '40 minutes'", [retried!]);
  await as("attempts = 9, next_at = now() + interval '2 hours'", [held!]);
  await as("claim = gen_random_uuid(), held_until = now() + interval '17 seconds'", [taken!]);
  await as("held_until = now() + interval '10 seconds'", [queued!]);
  expect((await handOut()).get(id)).toEqual([fresh]);
  await as(
    "next_at = next_at - interval '1 hour', held_until = held_until - interval '1 hour'",
    rows.map((row) => row.id),
  );
  const { rows: handed } = await database.sql.query<{ run: { due: number[] } }>(
    "select run_events(500, 20, 10000, 100) as run",
  );
  expect(handed[0]!.run.due.map(String)).toEqual([taken, queued, fresh, retried]);
});
