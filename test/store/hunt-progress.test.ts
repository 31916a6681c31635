import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(() => database.drop());

async function endpoint(name: string, events: string[] | null): Promise<string> {
  const { rows } = await database.sql.query<{ id: string }>(
    "insert into webhook_endpoints (account_id, url, secret, events) values ('acc', $1, 'x', $2) returning id",
    [`https://hooks.example.com/${name}`, events],
  );
  return rows[0]!.id;
}

/** It happens, and deliveries of it are made. */
async function tell(type: string, huntId: string): Promise<void> {
  const sql = "insert into events (account_id, hunt_id, subject, type, data) values ('acc', $1, $2, $3, '{}')";
  await database.sql.query(sql, [huntId, type === "hunt.progress" ? null : huntId, type]);
  await database.sql.query("select pump_events(100)");
}

/** What an endpoint is still to be given about a hunt. */
async function pending(endpointId: string, huntId: string): Promise<string[]> {
  const { rows } = await database.sql.query<{ type: string }>(
    `select d.type from webhook_deliveries d join events e on e.id = d.event_id
     where d.endpoint_id = $1 and e.hunt_id = $2 and d.state = 'pending' order by d.pos`,
    [endpointId, huntId],
  );
  return rows.map(({ type }) => type);
}

test("a hunt's progress that was not delivered → is left out where a later one, or the end, is given; kept elsewhere", async () => {
  const all = await endpoint("all", null);
  const group = await endpoint("group", ["hunt.*"]);
  const only = await endpoint("only", ["hunt.progress"]);
  const off = await endpoint("off", null);
  for (let i = 0; i < 2; i += 1) await tell("hunt.progress", "h");
  for (const id of [all, group, only]) expect(await pending(id, "h")).toEqual(["hunt.progress"]);
  await database.sql.query("update webhook_endpoints set enabled = false where id = $1", [off]);
  await tell("hunt.completed", "another");
  await tell("hunt.completed", "h");
  expect(await pending(all, "h")).toEqual(["hunt.completed"]);
  expect(await pending(group, "h")).toEqual(["hunt.completed"]);
  expect(await pending(only, "h")).toEqual(["hunt.progress"]);
  expect(await pending(off, "h")).toEqual(["hunt.progress"]);
});

test("a progress that somebody asked for once more → is delivered, whatever comes meanwhile", async () => {
  const again = await endpoint("again", ["hunt.progress"]);
  await tell("hunt.progress", "r");
  const { rows } = await database.sql.query(
    "update webhook_deliveries set state = 'delivered' where endpoint_id = $1 returning id",
    [again],
  );
  const replayed = await database.sql.query("select replay_delivery($1, $2) as answer", [again, rows[0].id]);
  expect(replayed.rows).toEqual([{ answer: "again" }]);
  await tell("hunt.progress", "r");
  expect(await pending(again, "r")).toEqual(["hunt.progress", "hunt.progress"]);
});
