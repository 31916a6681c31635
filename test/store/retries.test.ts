import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Store } from "../../src/store/store.ts";
import { storeOn } from "../helpers/store.ts";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = storeOn(database);
});
afterAll(async () => {
  await store.close();
  await database.drop();
});

async function failedMessage(): Promise<string> {
  const id = randomUUID();
  await database.sql.query(
    `insert into messages (id, channel, queue, recipient, content, status, retryable)
     values ($1, 'sms', 'sms', '+33612345678', '{}', 'failed', true)`,
    [id],
  );
  return id;
}

/** Runs the work while the message's row is locked, until so many statements wait for it; answers what they came to. */
async function whileLocked<T>(id: string, waiting: number, work: () => Promise<T>[]): Promise<T[]> {
  const client = await database.sql.connect();
  try {
    await client.query("begin");
    await client.query("select 1 from messages where id = $1 for update", [id]);
    const running = work();
    const blocked =
      "select count(*)::int as n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    await expect.poll(async () => (await database.sql.query(blocked)).rows[0].n).toBe(waiting);
    await client.query("commit");
    return await Promise.all(running);
  } finally {
    client.release();
  }
}

test("the same request three times at the same moment → is taken once, and replayed twice", async () => {
  const id = await failedMessage();
  const idempotency = { scope: "POST /retry", key: randomUUID(), bodyHash: "same" };
  const response = { jobId: id };
  const answers = await whileLocked(id, 3, () => [1, 2, 3].map(() => store.retryMessage(id, response, idempotency)));
  expect(answers.map(({ result }) => result).toSorted()).toEqual(["accepted", "replay", "replay"]);
  expect(answers.map((answer) => "response" in answer && answer.response)).toEqual([response, response, response]);
});

test("the same key with another body at the same moment → is a conflict", async () => {
  const id = await failedMessage();
  const key = randomUUID();
  const answers = await whileLocked(id, 2, () =>
    ["one", "other"].map((bodyHash) => store.retryMessage(id, {}, { scope: "POST /retry", key, bodyHash })),
  );
  expect(answers.map(({ result }) => result).toSorted()).toEqual(["accepted", "conflict"]);
});

test("two requests without a key at the same moment → one is taken", async () => {
  const id = await failedMessage();
  const answers = await whileLocked(id, 2, () => [1, 2].map(() => store.retryMessage(id, {}, undefined)));
  expect(answers.map(({ result }) => result).toSorted()).toEqual(["accepted", "not_failed"]);
});

test("a key that is older than a day → counts for a new request", async () => {
  const idempotency = { scope: "POST /retry", key: randomUUID(), bodyHash: "same" };
  expect(await store.retryMessage(await failedMessage(), { n: 1 }, idempotency)).toMatchObject({ result: "accepted" });
  expect(await store.retryMessage(await failedMessage(), { n: 2 }, idempotency)).toMatchObject({
    result: "replay",
    response: { n: 1 },
  });
  await database.sql.query("update idempotency_keys set created_at = now() - interval '24 hours' where key = $1", [
    idempotency.key,
  ]);
  expect(await store.retryMessage(await failedMessage(), { n: 3 }, idempotency)).toMatchObject({
    result: "accepted",
    response: { n: 3 },
  });
  await database.sql.query("update idempotency_keys set created_at = now() - interval '25 hours'");
  await store.tidy();
  expect((await database.sql.query("select 1 from idempotency_keys")).rowCount).toBe(0);
});
