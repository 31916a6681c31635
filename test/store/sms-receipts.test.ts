import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Receipt } from "../../src/core/inbound.ts";
import type { Store } from "../../src/store/store.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = createSupabaseStore({
    url: database.supabaseUrl,
    serviceKey: database.supabaseServiceKey,
    timeoutMs: 10_000,
  });
  await database.sql.query("insert into accounts (id) values ('acc')");
  await database.sql.query("insert into credits (account_id, channel, reserved) values ('acc', 'sms', 100)");
});
afterAll(async () => {
  await store.close();
  await database.drop();
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

const rowOf = async (id: string) => (await database.sql.query("select * from messages where id = $1", [id])).rows[0];

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
    const outcome = { ...attempt, claim: undefined, result, code: "late", detail: undefined, provider: "test" };
    const changed = await store.recordOutcome({ ...outcome, providerMessageId: "another", suppress: false, holdMs: 0 });
    expect(changed).toBe(false);
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
  const outcome = { ...attempt, claim: undefined, result: "sent" as const, code: undefined, detail: undefined };
  await store.recordOutcome({ ...outcome, provider: "test", providerMessageId: id, suppress: false });
  expect(await store.message(attempt.messageId)).toMatchObject({
    status: "sent",
    segments: 3,
    price: 0.0999,
    currency: "EUR",
  });
  await report(undefined, { providerMessageId: id });
  expect(await store.message(attempt.messageId)).toMatchObject({ status: "delivered", segments: 3, price: 0.0999 });
});
