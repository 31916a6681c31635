import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { planChunk } from "../../src/hunt/plan.ts";
import { CHANNELS } from "../../src/modules.ts";
import type { Store } from "../../src/store/store.ts";
import { acceptHunt, EXPIRES_AT, planMessages, storeOn } from "../helpers/store.ts";

const PHONE = "+33612345678";

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
beforeEach(async () => {
  await database.sql.query(
    "truncate messages, leads, message_events, fallbacks, flows, feed_clocks, feed_senders, hunt_chunks, hunt_submissions, hunts cascade",
  );
});

/** A contact that is submitted again with its channels, one of them off; answers what the preview said before. */
async function submitAgain(id: string, off: readonly string[]): Promise<unknown> {
  const jobId = await acceptHunt(store, { id });
  const contacts = [
    { adId: "ad_1", recipientPhone: PHONE, channel: "whatsapp_text", next: ["sms"], message: "Bonjour" },
  ];
  const chunk = await store.readChunk(jobId, 0);
  if (!chunk) throw new Error("no chunk");
  const channels = CHANNELS.map((channel) => [channel.name, { channel, on: !off.includes(channel.name) }] as const);
  const rows = planChunk(chunk, contacts, new Map(channels));
  const [finding] = await store.previews.judge(rows);
  await store.planChunk(jobId, 0, id, rows);
  await store.finishSubmission(jobId);
  return finding?.reason;
}

test.each([
  { off: [], later: ["whatsapp_text"], channel: "whatsapp_text" },
  { off: ["whatsapp_text"], later: [], channel: "sms" },
])("who got $channel, submitted again when they would get another channel → gets nothing more", async (it) => {
  const id = randomUUID();
  const planned = async () =>
    (await database.sql.query("select channel, status from messages where hunt_id = $1 order by seq", [id])).rows;
  expect(await submitAgain(id, it.off)).toBeUndefined();
  for (const off of [it.off, it.later]) expect(await submitAgain(id, off)).toBe("planned");
  await database.sql.query("update messages set status = 'sent' where status = 'queued'");
  for (const off of [it.off, it.later]) expect(await submitAgain(id, off)).toBe("planned");
  expect(await planned()).toEqual([{ channel: it.channel, status: "sent" }]);
});

test("who was skipped on one channel, submitted again when another is on → gets that", async () => {
  const id = randomUUID();
  expect(await submitAgain(id, ["whatsapp_text", "sms"])).toBeUndefined();
  expect(await submitAgain(id, ["whatsapp_text"])).toBeUndefined();
  const { rows } = await database.sql.query("select channel, status from messages where hunt_id = $1 order by seq", [
    id,
  ]);
  expect(rows).toEqual([
    { channel: "whatsapp_text", status: "skipped" },
    { channel: "sms", status: "queued" },
  ]);
});

type Mover = "record_outcomes" | "record_receipts" | "continue_fallbacks";
const MOVERS: Mover[] = ["record_outcomes", "record_receipts", "continue_fallbacks"];

/** A message that is followed by a text as soon as the statement is run. */
async function movable(mover: Mover, huntId: string, channel = "whatsapp_text"): Promise<string> {
  const adId = randomUUID();
  const next = { id: randomUUID(), accountId: "acc", huntId, adId, copy: 0, channel: "sms", queue: "sms", content: {} };
  const rest = { recipient: PHONE, sender: undefined, expiresAt: EXPIRES_AT, skip: undefined, detail: undefined };
  const fields = { adId, channel, recipient: PHONE, next: { ...next, ...rest, afterSeconds: 0 } };
  const jobId = await acceptHunt(store, { id: huntId });
  const [id = ""] = (await planMessages(store, { id: huntId, jobId }, 1, () => fields)).messages;
  const attemptId = randomUUID();
  const attempt = { messageId: id, attemptId, provider: "test", holdMs: 60_000 };
  expect(await store.beginAttempt(attempt)).toMatchObject({ verdict: "go" });
  const outcome = { id, attempt_id: attemptId, provider: "test", provider_message_id: id };
  const items = (item: object) => `'${JSON.stringify([{ ...outcome, ...item }])}'`;
  if (mover === "record_outcomes") return `select record_outcomes(${items({ result: "failed", refused: true })})`;
  await database.sql.query(`select record_outcomes(${items({ result: "sent" })})`);
  if (mover === "continue_fallbacks") return "select continue_fallbacks(1)";
  return `select record_receipts(${items({ status: "failed", code: "x", at: EXPIRES_AT })})`;
}

/** So many sessions, each in a transaction. `waits`: begins a statement, and resolves when it waits for another; not of the first. */
async function inTransactions(count: number, run: (...sessions: Session[]) => Promise<void>): Promise<void> {
  const clients = await Promise.all(Array.from({ length: count }, () => database.sql.connect()));
  const session = async (client: (typeof clients)[number]) => {
    // A circle that the database finds no way out of, because another of these would have to commit, ends as well.
    await client.query("begin; set local lock_timeout = '5s'");
    const { rows } = await client.query("select pg_backend_pid() as pid");
    const blocked = "select 1 from pg_locks where pid = $1 and not granted";
    return {
      run: (text: string) => client.query(text),
      async waits(text: string) {
        const done = client.query(text);
        // Whatever it rejects with is thrown where it is awaited.
        done.catch(() => undefined);
        await expect.poll(async () => (await clients[0]!.query(blocked, [rows[0].pid])).rowCount).toBe(1);
        return { done: () => done };
      },
    };
  };
  try {
    await run(...(await Promise.all(clients.map(session))));
  } finally {
    for (const client of clients) client.release(true);
  }
}
interface Session {
  run(text: string): Promise<unknown>;
  waits(text: string): Promise<{ done(): Promise<unknown> }>;
}

const texts = async (): Promise<string[]> => {
  const query = "select coalesce(code, status) as became from messages where channel = 'sms' order by seq";
  return (await database.sql.query(query)).rows.map(({ became }) => became);
};

test.each(MOVERS)("%s that moves on, while that person is erased → both come to their end", async (mover) => {
  const moves = await movable(mover, randomUUID());
  await database.sql.query(`update messages set next = next || '{"recipient_hash": "hash"}'`);
  await inTransactions(3, async (planner, eraser, worker) => {
    await planner.run("select insert_messages('[]')");
    const erased = await eraser.waits(`select erase_person('${PHONE}', 'hash', '[]')`);
    const moved = await worker.waits(moves);
    await planner.run("commit");
    await erased.done();
    await eraser.run("commit");
    await moved.done();
    await worker.run("commit");
  });
  expect((await texts()).filter((became) => became !== "suppressed")).toEqual([]);
  await database.sql.query("truncate suppressions, erasures");
});

test.each(MOVERS)("two of one person move on at once, by %s → one text", async (mover) => {
  const id = randomUUID();
  const first = await movable(mover, id);
  const second = await movable(mover, id, "whatsapp_image");
  await inTransactions(2, async (one, other) => {
    await one.run(first);
    const moved = await other.waits(second);
    await one.run("commit");
    await moved.done();
    await other.run("commit");
  });
  expect(await texts()).toEqual(["queued", "duplicate"]);
});

test("moving on, planning and an erasure at once → none waits for another in a circle", async () => {
  const id = randomUUID();
  const moves = await movable("record_outcomes", id);
  const jobId = await acceptHunt(store, { id });
  await inTransactions(4, async (holder, worker, eraser, planner) => {
    await holder.run("select 1 from messages for update");
    const moved = await worker.waits(moves);
    const erased = await eraser.waits("select erase_person('+33600000000', 'other', '[]')");
    const planned = await planner.waits(`select plan_chunk('${jobId}', 0, '${id}', '[]')`);
    await holder.run("commit");
    await moved.done();
    await worker.run("commit");
    await erased.done();
    await eraser.run("commit");
    await planned.done();
  });
  expect(await texts()).toEqual(["queued"]);
  await database.sql.query("truncate suppressions");
});

test("moving on takes the credits of both channels in one order", async () => {
  await database.sql.query(
    "insert into credits (account_id, channel, balance) values ('acc', 'sms', 5), ('acc', 'whatsapp_text', 5)",
  );
  const moves = await movable("record_outcomes", randomUUID());
  const settle = (channel: string) =>
    `select settle_credits('[{"account_id": "acc", "channel": "${channel}", "spent": 0, "released": 0}]')`;
  await inTransactions(2, async (other, worker) => {
    await other.run(settle("sms"));
    const moved = await worker.waits(moves);
    await other.run(settle("whatsapp_text"));
    await other.run("commit");
    await moved.done();
    await worker.run("commit");
  });
  const { rows } = await database.sql.query("delete from credits returning channel, balance::int, reserved::int");
  expect(rows.toSorted((a, b) => (a.channel < b.channel ? -1 : 1))).toEqual([
    { channel: "sms", balance: 4, reserved: 1 },
    { channel: "whatsapp_text", balance: 5, reserved: 0 },
  ]);
});
