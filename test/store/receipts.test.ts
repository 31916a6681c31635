import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Store } from "../../src/store/store.ts";
import { outcome, storeOn } from "../helpers/store.ts";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = storeOn(database);
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(async () => {
  await store.close();
  await database.drop();
});

/** A message in that state, carried by the provider "test" under its own id. */
async function message(status: string, credit = "none", channel = "sms"): Promise<string> {
  const id = randomUUID();
  await database.sql.query(
    `insert into messages (id, account_id, channel, queue, recipient, content, status, credit, provider, provider_message_id)
     values ($1::uuid, 'acc', $4, 'sms', '+33612345678', '{}', $2, $3, 'test', $1::text)`,
    [id, status, credit, channel],
  );
  return id;
}

const receipt = (id: string, status: "delivered" | "read" | "failed", at = Date.now()): Promise<void> =>
  store.recordReceipt({
    provider: "test",
    providerMessageId: id,
    status,
    at,
    ...(status === "failed" ? { code: "why" } : {}),
  });

async function rowOf(id: string) {
  return (await database.sql.query("select * from messages where id = $1", [id])).rows[0];
}

const pending = async () => (await database.sql.query("select 1 from pending_receipts")).rowCount;

test.each([
  ["sent", "delivered", "delivered"],
  ["sent", "read", "read"],
  ["sent", "failed", "failed"],
  ["delivered", "read", "read"],
  ["delivered", "failed", "delivered"],
  ["read", "delivered", "read"],
  ["read", "failed", "read"],
  ["failed", "delivered", "failed"],
  ["failed", "read", "failed"],
  ["unknown", "delivered", "delivered"],
  ["unknown", "failed", "failed"],
] as const)("%s, then a receipt that says %s → %s, and the receipt is no fault", async (before, says, after) => {
  const id = await message(before);
  await expect(receipt(id, says)).resolves.toBeUndefined();
  expect((await rowOf(id)).status).toBe(after);
});

test("all receipts of a message in one batch, in the wrong order → the furthest state, with every time", async () => {
  const id = await message("sent");
  await Promise.all([receipt(id, "read", 3000), receipt(id, "failed", 1000), receipt(id, "delivered", 2000)]);
  const row = await rowOf(id);
  expect(row).toMatchObject({ status: "read", code: null, delivered_at: new Date(2000), read_at: new Date(3000) });
});

describe("a receipt before the outcome", () => {
  test.each([
    ["for the first time", undefined],
    ["again, under the id that it had before", "its own"],
  ])("of a message that is on its way %s → is kept, and merged with the outcome", async (_, known) => {
    const id = randomUUID();
    const attemptId = randomUUID();
    await database.sql.query(
      `insert into messages (id, channel, queue, recipient, content, status, provider, attempt_id, provider_message_id)
       values ($1::uuid, 'sms', 'sms', '+33612345678', '{}', 'sending', 'test', $2, $3)`,
      [id, attemptId, known && id],
    );
    await receipt(id, "delivered");
    await receipt(id, "read");
    // Which may look at them meanwhile.
    await store.tidy();
    expect(await pending()).toBe(2);
    expect(await store.recordOutcome(outcome(id, attemptId, { provider: "test", providerMessageId: id }))).toBe(true);
    expect((await rowOf(id)).status).toBe("read");
    expect(await pending()).toBe(0);
  });

  test("that slipped in beside the outcome → is merged by tidy", async () => {
    const id = await message("sent");
    await database.sql.query(
      "insert into pending_receipts (provider, provider_message_id, status, at) values ('test', $1, 'delivered', now())",
      [id],
    );
    await store.tidy();
    expect((await rowOf(id)).status).toBe("delivered");
    expect(await pending()).toBe(0);
  });

  test("of nobody → is kept for a week, then dropped", async () => {
    await receipt(randomUUID(), "delivered");
    await store.tidy();
    expect(await pending()).toBe(1);
    await database.sql.query("update pending_receipts set received_at = now() - interval '8 days'");
    await store.tidy();
    expect(await pending()).toBe(0);
  });
});

test("a receipt for a message of unknown fate → proves that it was accepted: its credit is spent", async () => {
  await database.sql.query("insert into credits values ('acc', 'proven', 5, 1, 0)");
  const id = await message("unknown", "reserved", "proven");
  await receipt(id, "delivered");
  expect(await rowOf(id)).toMatchObject({ status: "delivered", credit: "spent" });
  const { rows } = await database.sql.query("select balance::int, reserved::int, spent::int from credits");
  expect(rows).toEqual([{ balance: 5, reserved: 0, spent: 1 }]);
});

test("another provider's receipt with the same id → is not this message's", async () => {
  const id = await message("sent");
  await store.recordReceipt({ provider: "other", providerMessageId: id, status: "delivered", at: Date.now() });
  expect((await rowOf(id)).status).toBe("sent");
});

test("a receipt that waits for its message, while somebody has the message in hand → tidying leaves both alone until later", async () => {
  const id = await message("sent");
  const insert = `insert into pending_receipts (provider, provider_message_id, status, at)
    values ('test', $1, 'delivered', now()) on conflict do nothing`;
  await database.sql.query(insert, [id]);
  const [holder, tidier] = [await database.sql.connect(), await database.sql.connect()];
  try {
    await holder.query("begin");
    await holder.query("select from messages where id = $1 for update", [id]);
    await tidier.query("set lock_timeout = '2s'");
    await tidier.query("select tidy()");
    // It would wait for the tidier, which would wait for its message.
    await holder.query(insert, [id]);
    await holder.query("commit");
    expect((await rowOf(id)).status).toBe("sent");
    await tidier.query("select tidy()");
    expect((await rowOf(id)).status).toBe("delivered");
    const { rows } = await tidier.query("select from pending_receipts where provider_message_id = $1", [id]);
    expect(rows).toEqual([]);
  } finally {
    await holder.query("rollback");
    holder.release();
    tidier.release(true);
  }
});
