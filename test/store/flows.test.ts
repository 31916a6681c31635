import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { NewAttempt, NewHunt, PlannedMessage, Store } from "../../src/store/store.ts";
import { acceptHunt, failAll, planMessages, type PlannedHunt, storeOn } from "../helpers/store.ts";

const ANY = { least: 1_000_000, most: 1_000_000 };
const PHONE = "+33612345678";

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = storeOn(database);
  await database.sql.query("insert into accounts (id) values ('acc'), ('other')");
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

/** Plans so many messages, as one submission of a hunt. */
async function plan(
  count: number,
  fields: Partial<PlannedMessage> = {},
  id: string = randomUUID(),
  priority: NewHunt["priority"] = "normal",
  between = async (): Promise<void> => {},
): Promise<PlannedHunt> {
  const jobId = await acceptHunt(store, { id, priority, accountId: fields.accountId ?? "acc" });
  await between();
  return planMessages(store, { id, jobId }, count, () => fields);
}

const feed = async (
  limit: number,
  underWay: Parameters<Store["flows"]["feed"]>[2] = ANY,
  queue = "sms",
): Promise<string[]> => (await store.flows.feed(queue, limit, underWay)).map(({ id }) => id);
const countOf = ({ messages }: PlannedHunt, fed: readonly string[]): number =>
  fed.filter((id) => messages.includes(id)).length;

const begin = (messageId: string, fields: Partial<NewAttempt> = {}) =>
  store.beginAttempt({ messageId, attemptId: randomUUID(), provider: "test", holdMs: 60_000, ...fields });
const settle = (ids: readonly string[]): Promise<void> => failAll(store, ids);
/** So long after the last look all are looked at again. */
const due = async (ago = "0 seconds"): Promise<void> => {
  await database.sql.query("update flows set due_at = now()");
  await database.sql.query("update feed_senders set look_at = now(), looked_at = clock_timestamp() - $1::interval", [
    ago,
  ]);
};
const statuses = async ({ id }: PlannedHunt): Promise<Record<string, number>> => {
  const { rows } = await database.sql.query(
    "select status, count(*)::int as n from messages where hunt_id = $1 group by 1",
    [id],
  );
  return Object.fromEntries(rows.map(({ status, n }) => [status, n]));
};

test("a chunk is planned, and once more → both answers have what is to be sent, and it is written once", async () => {
  const [id, ids] = [randomUUID(), Array.from({ length: 3 }, () => randomUUID())];
  const jobId = await acceptHunt(store, { id });
  const again = (): Promise<PlannedHunt> =>
    planMessages(store, { id, jobId }, 3, (i) => ({ id: ids[i]!, skip: i === 2 ? "invalid_number" : undefined }));
  expect((await again()).queued).toEqual(new Set(ids.slice(0, 2)));
  await begin(ids[0]!);
  await settle([ids[1]!]);
  const planned = await again();
  expect(planned.queued).toEqual(new Set(ids.slice(0, 1)));
  expect(await statuses(planned)).toEqual({ sending: 1, failed: 1, skipped: 1 });
});

test("what was planned is fed once, in its order, with what its job needs", async () => {
  const hunt = await plan(5, { sender: "+33699999999", category: "marketing" });
  const [first] = await store.flows.feed("sms", 1, ANY);
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

test("no more of a flow than its window waits in the queue, and another sender's is not held up by it", async () => {
  const slow = await plan(20, { sender: "+33600000001" });
  const other = await plan(20, { sender: "+33600000002" }, slow.id);
  const first = await feed(20, { least: 5, most: 5 });
  expect([countOf(slow, first), countOf(other, first)]).toEqual([5, 5]);
  await settle(other.messages.slice(0, 5));
  await database.sql.query("update flows set due_at = now()");
  expect(await feed(20, { least: 5, most: 5 })).toEqual(other.messages.slice(5, 10));
});

test("a flow may have more in the queue the faster they begin, and fewer again when they begin slowly", async () => {
  await plan(300);
  const underWay = { least: 10, most: 80 };
  const fed: number[] = [];
  const next = async (settled: boolean, seconds = 0): Promise<void> => {
    await database.sql.query(
      "update flows set due_at = now(), looked_at = now() - make_interval(secs => $1::double precision)",
      [seconds],
    );
    const ids = await feed(1000, underWay);
    fed.push(ids.length);
    if (settled) await settle(ids);
  };
  for (let i = 0; i < 4; i++) await next(true);
  expect(fed).toEqual([10, 20, 40, 80]);
  // Of the next nothing moves for two seconds, which says nothing; then five do in two, and then most of the others.
  const slow = await feed(1000, underWay);
  expect(slow).toHaveLength(80);
  fed.length = 0;
  await next(false, 2);
  await settle(slow.slice(0, 5));
  await next(false, 2);
  await settle(slow.slice(5, 75));
  await next(false);
  expect(fed).toEqual([0, 0, 45]);
});

test("what is put off holds up nobody of its flow, up to the most that may be in the queue", async () => {
  const hunt = await plan(100);
  const sleepers = await feed(100, { least: 10, most: 30 });
  expect(sleepers).toHaveLength(10);
  for (const messageId of sleepers) {
    const wait = { opensInMs: 3_600_000, why: "Its hours begin later.", putOff: true };
    expect(await begin(messageId, wait)).toMatchObject({ verdict: "wait" });
  }
  await database.sql.query("update flows set due_at = now()");
  expect(await feed(100, { least: 10, most: 30 })).toEqual(hunt.messages.slice(10, 30));
  await database.sql.query("update flows set due_at = now()");
  expect(await feed(100, { least: 10, most: 30 })).toEqual([]);
});

test("thousands of flows at their windows: a fresh one is fed within a few calls", async () => {
  await database.sql.query(
    "insert into hunts (id, account_id) select 'blocked ' || s, 'acc' from generate_series(1, 3000) s",
  );
  await database.sql.query(
    `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, content)
     select gen_random_uuid(), 'acc', 'blocked ' || s, 'ad' || k, 'sms', 'sms', '+336' || s || k, '{}'
     from generate_series(1, 3000) s, generate_series(1, 2) k order by s, k`,
  );
  await database.sql.query(
    `insert into flows (hunt_id, queue, sender, weight, tag, fed_seq, last_seq, allowed, due_at)
     select hunt_id, queue, '', 1, 0, min(seq), max(seq), 1, now() - interval '1 second' from messages group by 1, 2`,
  );
  const fresh = await plan(5);
  const fed: string[] = [];
  for (let i = 0; i < 20 && countOf(fresh, fed) < 1; i++) fed.push(...(await feed(400, { least: 1, most: 1 })));
  expect(countOf(fresh, fed)).toBe(1);
});

test("each queue is fed by itself", async () => {
  const hunt = await plan(2);
  await plan(2, { queue: "voice", channel: "ringless_voice" }, hunt.id);
  expect(await feed(10)).toEqual(hunt.messages);
  expect(await feed(10, ANY, "voice")).toHaveLength(2);
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
  const again = await store.flows.feed("sms", 10, ANY);
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
  expect(await statuses(late)).toEqual({ cancelled: 2 });
  expect(await feed(10)).toEqual([]);
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
  const message = { ...row, ...rest } as unknown as PlannedMessage;
  await store.acceptMessage(message.accountId, async () => ({ message, response: {} }), undefined);
  expect(await feed(10)).toEqual([]);
  expect((await store.openMessages(0, 10, -1000)).map(({ held }) => held)).toEqual([false]);
});

test("many hunts of one account from one sender: together no more wait than it sends soon, and another account's hunt has half", async () => {
  const underWay = { least: 10, most: 2000, senders: "shared" } as const;
  const many = await Promise.all(Array.from({ length: 30 }, () => plan(20, { sender: PHONE })));
  const first = await feed(1000, underWay);
  expect(first).toHaveLength(10);

  const few = await plan(12, { sender: PHONE, accountId: "other" });
  expect(await feed(1000, underWay), "what waits is enough").toEqual([]);
  await settle(first);
  await due();
  const second = await feed(1000, underWay);
  expect(second).toHaveLength(20);
  expect(countOf(few, second)).toBe(10);
  expect(many.filter((hunt) => countOf(hunt, second) > 0)).toHaveLength(10);

  // Four in two seconds: three may wait.
  await settle(second.slice(0, 4));
  await due("2 seconds");
  expect(await feed(1000, underWay)).toEqual([]);
  await settle(second.slice(4));
  await due("2 seconds");
  expect(await feed(1000, underWay), "it had nothing left: who knows how fast it is?").toHaveLength(10);
});

test("where each account has its own sender, one's backlog leaves the other's its room", async () => {
  const underWay = { least: 10, most: 2000, senders: "own" } as const;
  const slow = await plan(50);
  expect(await feed(1000, underWay)).toHaveLength(10);
  const other = await plan(50, { accountId: "other" });
  const fed = await feed(1000, underWay);
  expect(countOf(other, fed)).toBe(10);
  expect(countOf(slow, fed)).toBe(0);
});

test("what has been fed whole, put off or paused: it counts for its sender while it waits there", async () => {
  const underWay = { least: 10, most: 2000, senders: "shared" } as const;
  const whole = await plan(10, { sender: PHONE });
  expect(await feed(1000, underWay)).toHaveLength(10);
  const next = await plan(10, { sender: PHONE });
  expect(await feed(1000, underWay)).toEqual([]);
  await store.flows.steer(whole.id, "pause");
  await due();
  expect(countOf(next, await feed(1000, underWay))).toBe(10);
});

test("a sender that has room for a few at a time: its hunts have them in turns", async () => {
  const hunts = [
    await plan(20, { sender: PHONE }),
    await plan(20, { sender: PHONE }),
    await plan(20, { sender: PHONE }),
  ];
  const fed: string[] = [];
  for (let i = 0; i < 12; i++) {
    await due();
    await database.sql.query("update feed_senders set allowed = 1");
    const ids = await feed(1000, { least: 1, most: 2000, senders: "shared" });
    await settle(ids);
    fed.push(...ids);
    const counts = hunts.map((hunt) => countOf(hunt, fed));
    expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
  }
  expect(fed.length).toBeGreaterThan(11);
});
