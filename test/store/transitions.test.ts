import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { MESSAGE_STATUSES } from "../../src/store/store.ts";

/** All that may follow a state; whatever is not here is forbidden. */
const ALLOWED: Record<string, string[]> = {
  queued: ["sending", "sent", "unknown", "failed", "skipped", "cancelled"],
  sending: ["queued", "sent", "failed", "unknown"],
  unknown: ["queued", "sent", "delivered", "read", "failed"],
  sent: ["delivered", "read", "failed"],
  delivered: ["read"],
};

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(() => database.drop());

async function insert(status: string, retryable = false): Promise<string> {
  const id = randomUUID();
  await database.sql.query(
    `insert into messages (id, channel, queue, recipient, content, status, retryable)
     values ($1, 'sms', 'sms', '+33612345678', '{"text": "Bonjour"}', $2, $3)`,
    [id, status, retryable],
  );
  return id;
}

const move = (id: string, status: string) =>
  database.sql.query("update messages set status = $2 where id = $1", [id, status]);

describe.each(MESSAGE_STATUSES)("from %s", (from) => {
  for (const to of MESSAGE_STATUSES.filter((status) => status !== from)) {
    const allowed = ALLOWED[from]?.includes(to) ?? false;
    test(`to ${to} → ${allowed ? "is allowed" : "is refused, the state stays"}`, async () => {
      const id = await insert(from);
      if (allowed) await move(id, to);
      else
        await expect(move(id, to)).rejects.toMatchObject({
          code: "23514",
          message: `message ${id} cannot go from ${from} to ${to}`,
        });
      const { rows } = await database.sql.query("select status from messages where id = $1", [id]);
      expect(rows[0].status).toBe(allowed ? to : from);
    });
  }
});

test("from failed to queued → only where it is proven that nothing was sent", async () => {
  await expect(move(await insert("failed", false), "queued")).rejects.toMatchObject({ code: "23514" });
  await expect(move(await insert("failed", true), "queued")).resolves.toMatchObject({ rowCount: 1 });
});

test("the same state again → changes nothing and is no fault", async () => {
  await expect(move(await insert("delivered"), "delivered")).resolves.toMatchObject({ rowCount: 1 });
});

test("a state that there is not → is refused", async () => {
  await expect(insert("lost")).rejects.toMatchObject({ code: "23514" });
});

test("a lead → moves on, and never back", async () => {
  await database.sql.query("insert into leads (account_id, ad_id) values ('acc', 'ad')");
  const stages: string[] = [];
  for (const stage of ["contacted", "new", "qualified", "replied", "won", "contacted"]) {
    await database.sql.query("update leads set stage = $1 where ad_id = 'ad'", [stage]);
    stages.push((await database.sql.query("select stage from leads where ad_id = 'ad'")).rows[0].stage);
  }
  expect(stages).toEqual(["contacted", "contacted", "qualified", "qualified", "won", "won"]);
});

test("credits → cannot become negative", async () => {
  await database.sql.query("insert into credits (account_id, channel, balance) values ('acc', 'sms', 1)");
  await expect(database.sql.query("update credits set balance = balance - 2")).rejects.toMatchObject({ code: "23514" });
  await expect(database.sql.query("update credits set reserved = reserved - 1")).rejects.toMatchObject({
    code: "23514",
  });
});

test("a contact of a hunt on one channel → is in the ledger once", async () => {
  await database.sql.query("insert into hunts (id, account_id) values ('hunt', 'acc')");
  const add = (adId: string, channel: string, copy: number, status: string) =>
    database.sql.query(
      `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, content, copy, status)
       values ($1, 'acc', 'hunt', $2, $3, 'sms', '+33612345678', '{}', $4, $5)`,
      [randomUUID(), adId, channel, copy, status],
    );
  await add("ad", "sms", 0, "queued");
  await expect(add("ad", "sms", 0, "queued")).rejects.toMatchObject({ code: "23505" });
  await expect(add("ad", "sms", 1, "queued")).rejects.toMatchObject({ code: "23514" });
  await add("ad", "sms", 1, "skipped");
  await add("ad", "whatsapp_text", 0, "queued");
});
