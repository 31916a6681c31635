import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Receipt } from "../../src/core/inbound.ts";
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

describe("a receipt that names its attempt", () => {
  beforeAll(async () => {
    await database.sql.query("insert into credits (account_id, channel, reserved) values ('acc', 'sms', 100)");
  });

  /** A message with an attempt of the provider "test"; nobody has learned the provider's id of it. */
  async function attempted(status: string): Promise<{ messageId: string; attemptId: string }> {
    const [messageId, attemptId] = [randomUUID(), randomUUID()];
    await database.sql.query(
      `insert into messages (id, account_id, ad_id, channel, queue, recipient, content, status, credit, provider, attempt_id, settled_at)
       values ($1, 'acc', 'ad', 'sms', 'sms', '+33612345678', '{"text": "a", "segments": 2}', $2, 'reserved', 'test', $3,
         case $2 when 'sending' then null else now() end)`,
      [messageId, status, attemptId],
    );
    return { messageId, attemptId };
  }

  const report = (attempt: Receipt["attempt"], more: Partial<Receipt> = {}): Promise<void> =>
    store.recordReceipt({
      provider: "test",
      providerMessageId: `id-${attempt?.messageId}`,
      status: "delivered",
      at: Date.now(),
      ...(attempt ? { attempt } : {}),
      ...more,
    });

  test.each(["sending", "unknown"])("%s, then a receipt that names the attempt → it was accepted", async (status) => {
    await database.sql.query(
      "insert into leads (account_id, ad_id, phone) values ('acc', 'ad', '+33612345678') on conflict do nothing",
    );
    const attempt = await attempted(status);
    await report(attempt);
    expect(await rowOf(attempt.messageId)).toMatchObject({
      status: "delivered",
      credit: "spent",
      provider_message_id: `id-${attempt.messageId}`,
      sent_at: expect.any(Date),
      settled_at: expect.any(Date),
    });
    const { rows } = await database.sql.query("select stage from leads where ad_id = 'ad'");
    expect(rows).toEqual([{ stage: "contacted" }]);
  });

  test("the worker's own outcome after that, of whatever kind → changes nothing", async () => {
    const attempt = await attempted("sending");
    await report(attempt, { status: "sent" });
    for (const result of ["sent", "ambiguous", "unknown", "failed", "not_sent"] as const) {
      const late = { result, code: "late", provider: "test", providerMessageId: "another", holdMs: 0 };
      expect(await store.recordOutcome(outcome(attempt.messageId, attempt.attemptId, late))).toBe(false);
    }
    expect(await rowOf(attempt.messageId)).toMatchObject({
      status: "sent",
      provider_message_id: `id-${attempt.messageId}`,
    });
  });

  test.each([
    ["another attempt", { attemptId: randomUUID() }, {}],
    ["another message", { messageId: randomUUID() }, {}],
    ["another provider", {}, { provider: "somebody else" }],
  ])("a receipt that names %s → proves nothing, and is kept", async (_, attempt, receipt) => {
    const { messageId, attemptId } = await attempted("unknown");
    const providerMessageId = randomUUID();
    await report({ messageId, attemptId, ...attempt }, { ...receipt, providerMessageId });
    expect((await rowOf(messageId)).status).toBe("unknown");
    const kept = "select status from pending_receipts where provider_message_id = $1";
    expect((await database.sql.query(kept, [providerMessageId])).rows).toEqual([{ status: "delivered" }]);
  });

  test("a failed message that is queued again → an old attempt's receipt does not send it", async () => {
    const attempt = await attempted("unknown");
    await database.sql.query(
      "update messages set status = 'queued', attempt_id = null, settled_at = null where id = $1",
      [attempt.messageId],
    );
    await report(attempt);
    expect((await rowOf(attempt.messageId)).status).toBe("queued");
  });

  test("what the provider counted and charged → taken over, and merged from a receipt that came early", async () => {
    const attempt = await attempted("sending");
    const id = `early-${attempt.messageId}`;
    const told = { segments: 3, price: { amount: "0.0999", currency: "EUR" } };
    await store.recordReceipt({ provider: "test", providerMessageId: id, status: "sent", at: Date.now(), ...told });
    expect((await store.message(attempt.messageId))?.segments).toBe(2);
    const sent = outcome(attempt.messageId, attempt.attemptId, { provider: "test", providerMessageId: id });
    await store.recordOutcome(sent);
    expect(await store.message(attempt.messageId)).toMatchObject({
      status: "sent",
      segments: 3,
      price: 0.0999,
      currency: "EUR",
    });
    await report(undefined, { providerMessageId: id });
    expect(await store.message(attempt.messageId)).toMatchObject({ status: "delivered", segments: 3, price: 0.0999 });
  });
});
