import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Outcome, PlannedMessage, Store } from "../../src/store/store.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";

const WINDOW = 1_000_000;
const PHONE = "+33612345678";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = database;
  store = createSupabaseStore({ url, serviceKey, timeoutMs: 10_000 });
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(async () => {
  await store.close();
  await database.drop();
});
beforeEach(async () => {
  await database.sql.query(
    "truncate messages, message_events, flows, feed_clocks, hunt_chunks, hunt_submissions, hunts cascade",
  );
});

interface Hunt {
  id: string;
  /** In the order of planning. */
  messages: string[];
}

const EXPIRES_AT = new Date(Date.now() + 86_400_000).toISOString();

/** Accepts a submission of a hunt; answers its id. */
async function accept(id: string, priority: string): Promise<string> {
  const jobId = randomUUID();
  const hunt = { id, accountId: "acc", priority: priority as "normal", expiresAt: EXPIRES_AT };
  const { result } = await store.acceptHunt(hunt, jobId, [[{}]], {}, undefined);
  if (result !== "accepted") throw new Error(result);
  return jobId;
}

/** Plans so many messages, as one submission of a hunt. */
async function plan(
  count: number,
  fields: Partial<PlannedMessage> = {},
  id: string = randomUUID(),
  priority = "normal",
  between = async (): Promise<void> => {},
): Promise<Hunt> {
  const jobId = await accept(id, priority);
  await between();
  const rows = Array.from({ length: count }, () => ({
    id: randomUUID(),
    accountId: "acc",
    huntId: id,
    adId: randomUUID(),
    copy: 0,
    channel: "sms",
    queue: "sms",
    // A person of one's own for each: the same one twice would be a duplicate.
    recipient: `+336${String(Math.trunc(Math.random() * 1e8)).padStart(8, "0")}`,
    sender: undefined,
    content: { text: "Bonjour" },
    priority: 0,
    expiresAt: EXPIRES_AT,
    skip: undefined,
    detail: undefined,
    ...fields,
  }));
  await store.planChunk(jobId, 0, id, rows);
  await store.finishSubmission(jobId);
  return { id, messages: rows.map((row) => row.id) };
}

const feed = async (limit: number, window = WINDOW, queue = "sms"): Promise<string[]> =>
  (await store.flows.feed(queue, limit, window)).map(({ id }) => id);
const countOf = ({ messages }: Hunt, fed: readonly string[]): number =>
  fed.filter((id) => messages.includes(id)).length;

const begin = (messageId: string) =>
  store.beginAttempt({ messageId, attemptId: randomUUID(), provider: "test", holdMs: 60_000 });
const FAILED = {
  attemptId: undefined,
  claim: undefined,
  result: "failed",
  code: "x",
  detail: undefined,
  provider: undefined,
  providerMessageId: undefined,
  suppress: false,
} satisfies Partial<Outcome>;
const settle = async (ids: readonly string[]): Promise<void> => {
  await Promise.all(ids.map((messageId) => store.recordOutcome({ messageId, ...FAILED })));
};
const statuses = async ({ id }: Hunt): Promise<Record<string, number>> => {
  const { rows } = await database.sql.query(
    "select status, count(*)::int as n from messages where hunt_id = $1 group by 1",
    [id],
  );
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
};

test("what was planned is fed once, in its order, with what its job needs", async () => {
  const hunt = await plan(5, { sender: "+33699999999", category: "marketing" });
  const [first] = await store.flows.feed("sms", 1, WINDOW);
  expect(first).toMatchObject({
    id: hunt.messages[0],
    queue: "sms",
    channel: "sms",
    sender: "+33699999999",
    content: { text: "Bonjour" },
    accountId: "acc",
    huntId: hunt.id,
    category: "marketing",
    retryInMs: 0,
    again: false,
  });
  expect(await feed(3)).toEqual(hunt.messages.slice(1, 4));
  expect(await feed(3)).toEqual(hunt.messages.slice(4));
  expect(await feed(3)).toEqual([]);
});

test("a small hunt behind a big one has its share from the next round on", async () => {
  const big = await plan(500);
  await feed(300);
  const small = await plan(10);
  const next = await feed(40);
  expect(countOf(small, next)).toBe(10);
  expect(countOf(big, next)).toBe(30);
});

test("shares are by priority, and even the lowest has one", async () => {
  const [low, normal, high] = [
    await plan(300, {}, undefined, "low"),
    await plan(300, {}, undefined, "normal"),
    await plan(300, {}, undefined, "high"),
  ];
  const fed: string[] = [];
  for (let round = 0; round < 7; round++) fed.push(...(await feed(30)));
  const [ofLow, ofNormal, ofHigh] = [low, normal, high].map((hunt) => countOf(hunt, fed)) as [number, number, number];
  expect(ofLow + ofNormal + ofHigh).toBe(210);
  // 1/4 to 1 to 4, but for what one message is at the end of a round.
  expect(ofLow).toBeGreaterThanOrEqual(7);
  expect(ofLow).toBeLessThanOrEqual(14);
  expect(ofHigh / ofNormal).toBeGreaterThan(3);
  expect(ofHigh / ofNormal).toBeLessThan(5);
});

test("a hunt that had nothing to send for long does not make up for it", async () => {
  const idle = await plan(1);
  await feed(10);
  const busy = await plan(300);
  for (let i = 0; i < 10; i++) await feed(10);
  await plan(100, {}, idle.id);
  const next = await feed(40);
  // It is at most one round ahead.
  expect(countOf(busy, next)).toBeGreaterThanOrEqual(15);
});

test("no more of a flow than its window is under way, and another sender's is not held up by it", async () => {
  const slow = await plan(20, { sender: "+33600000001" });
  const other = await plan(20, { sender: "+33600000002" }, slow.id);
  const first = await feed(20, 5);
  expect([countOf(slow, first), countOf(other, first)]).toEqual([5, 5]);
  await settle(other.messages.slice(0, 5));
  await database.sql.query("update flows set due_at = now()");
  expect(await feed(20, 5)).toEqual(other.messages.slice(5, 10));
});

test("each queue is fed by itself", async () => {
  const hunt = await plan(2);
  await plan(2, { queue: "voice", channel: "ringless_voice" }, hunt.id);
  expect(await feed(10)).toEqual(hunt.messages);
  expect(await feed(10, WINDOW, "voice")).toHaveLength(2);
});

test("the sweeper leaves alone what is still to be fed", async () => {
  const hunt = await plan(4);
  await feed(1);
  const open = await store.openMessages(0, 10, -1000);
  expect(open.map(({ id, held }) => [id, held])).toEqual(hunt.messages.map((id, i) => [id, i > 0]));
  expect(open.map(({ content }) => content)).toEqual([{ text: "Bonjour" }, null, null, null]);
});

test("a paused hunt: nothing is fed, nothing begins; resumed, all of it goes on in its order, and nothing twice", async () => {
  const hunt = await plan(6);
  const [sent = "", begun = "", fed = ""] = await feed(3);
  await settle([sent]);
  expect(await begin(begun)).toMatchObject({ verdict: "go" });
  expect(await store.flows.steer(hunt.id, "pause")).toMatchObject({ result: "done", pausedAt: expect.any(String) });
  expect(await feed(10)).toEqual([]);
  expect(await begin(fed)).toEqual({ verdict: "paused" });
  const held = (await store.openMessages(0, 10, -1000)).filter((message) => message.held);
  expect(held.map(({ id }) => id)).toEqual(hunt.messages.slice(2));

  expect(await store.flows.steer(hunt.id, "resume")).toMatchObject({ result: "done", pausedAt: null });
  const again = await store.flows.feed("sms", 10, WINDOW);
  // A job that ended by the pause stands in the way of the third one's.
  expect(again.map(({ id }) => id)).toEqual(hunt.messages.slice(2));
  expect(again[0]?.again).toBe(true);
  expect(await begin(fed)).toMatchObject({ verdict: "go" });
});

test("what expires during a pause ends then", async () => {
  const hunt = await plan(2);
  await feed(1);
  await store.flows.steer(hunt.id, "pause");
  await database.sql.query("update hunts set expires_at = now() where id = $1", [hunt.id]);
  await database.sql.query("update messages set expires_at = now() where hunt_id = $1", [hunt.id]);
  expect(await feed(10)).toEqual(hunt.messages.slice(1));
  expect((await store.openMessages(0, 10, -1000)).map(({ held }) => held)).toEqual([false, false]);
  for (const id of hunt.messages) expect(await begin(id)).toEqual({ verdict: "skipped", code: "expired" });
});

test("a cancelled hunt: what waits is cancelled and its credits come back, what is under way goes on", async () => {
  await database.sql.query("insert into credits (account_id, channel, balance) values ('acc', 'sms', 10)");
  const credits = async () => (await database.sql.query("select balance, reserved, spent from credits")).rows[0];
  const hunt = await plan(5);
  const [begun = "", fed = ""] = await feed(2);
  await begin(begun);
  expect(await credits()).toMatchObject({ balance: "5", reserved: "5" });
  expect(await store.flows.steer(hunt.id, "cancel")).toMatchObject({ result: "done", cancelledAt: expect.any(String) });
  expect(await begin(fed)).toEqual({ verdict: "settled", status: "cancelled", code: undefined });
  expect(await store.flows.continueCancelling(2)).toBe(2);
  expect(await store.flows.continueCancelling(2)).toBe(1);
  expect(await statuses(hunt)).toEqual({ sending: 1, cancelled: 4 });
  expect(await credits()).toMatchObject({ balance: "9", reserved: "1" });
  expect(await feed(10)).toEqual([]);
  expect(await store.flows.steer(hunt.id, "resume")).toEqual({ result: "cancelled" });
  expect(await store.flows.steer(hunt.id, "cancel")).toMatchObject({ result: "done" });
  await database.sql.query("delete from credits");
});

test("nothing is added to a cancelled hunt, and what was accepted before and is planned after is cancelled", async () => {
  const hunt = await plan(1);
  await store.flows.steer(hunt.id, "cancel");
  expect(await store.flows.continueCancelling(10)).toBe(1);
  await expect(plan(2, {}, hunt.id)).rejects.toThrow("cancelled_hunt");
  // Accepted in the moment before, and its cancelling was done meanwhile.
  const cancel = "update hunts set cancelled_at = now(), cancelling = false";
  const late = await plan(2, {}, undefined, "normal", async () => void (await database.sql.query(cancel)));
  expect(await feed(10)).toEqual([]);
  expect(await store.flows.continueCancelling(10)).toBe(2);
  expect(await statuses(late)).toEqual({ cancelled: 2 });
});

test("two feeders at once never get the same message", async () => {
  const hunts = [await plan(100), await plan(100)];
  const batches = await Promise.all(Array.from({ length: 8 }, () => feed(25)));
  const fed = batches.flat();
  expect(fed).toHaveLength(200);
  expect(new Set(fed)).toEqual(new Set(hunts.flatMap(({ messages }) => messages)));
});

test("a hunt that there is not", async () => {
  expect(await store.flows.steer("nobody's", "pause")).toEqual({ result: "missing" });
});

test("a single message belongs to no flow", async () => {
  const id = randomUUID();
  const row = { id, accountId: "acc", huntId: undefined, adId: undefined, copy: 0, channel: "sms", queue: "sms" };
  const rest = { recipient: PHONE, sender: undefined, content: {}, priority: 0, skip: undefined, detail: undefined };
  await store.acceptMessage({ ...row, ...rest } as unknown as PlannedMessage, {}, undefined);
  expect(await feed(10)).toEqual([]);
  expect((await store.openMessages(0, 10, -1000)).map(({ held }) => held)).toEqual([false]);
});
