import { randomUUID } from "node:crypto";
import type { PoolClient } from "pg";
import { afterAll, afterEach, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";

let database: TestDatabase;
let client: PoolClient;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
});
afterAll(() => database.drop());
// Of one moment each: how long a test takes is in no pace.
beforeEach(async () => {
  client = await database.sql.connect();
  await client.query("begin");
});
afterEach(async () => {
  await client.query("rollback");
  client.release();
});

interface Hunt {
  id: string;
  jobId: string;
  account: string;
}

/** Of an account of its own, unless there is one. */
async function hunt(given: { account?: string; priority?: string; windows?: object } = {}): Promise<Hunt> {
  const { account = randomUUID(), priority = "normal", windows } = given;
  const [id, jobId] = [randomUUID(), randomUUID()];
  await client.query("insert into accounts (id) values ($1) on conflict do nothing", [account]);
  await client.query(
    `insert into hunts (id, account_id, priority, windows, created_at) values ($1, $2, $3, $4, now() - interval '1 hour')`,
    [id, account, priority, windows === undefined ? null : JSON.stringify(windows)],
  );
  await client.query("insert into hunt_submissions (job_id, hunt_id, contacts, planned_at) values ($1, $2, 1, now())", [
    jobId,
    id,
  ]);
  return { id, jobId, account };
}

/** Messages of a hunt that were planned so many seconds ago. */
interface Batch {
  sender?: string;
  queue?: string;
  ago: number;
  left: number;
  /** Done one after another, `every` seconds, since `from` seconds ago; each call took `took` seconds. */
  done?: { count: number; every: number; from: number; took?: number };
  /** So many are done at once each time. */
  together?: number;
  sendAt?: string;
}

async function batch(
  { id, account }: Hunt,
  { sender = "", queue = "sms", ago, left, done, together = 1, sendAt }: Batch,
) {
  const { count, every, from, took = 0.01 } = done ?? { count: 0, every: 1, from: 0 };
  await client.query(
    `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, sender, content, created_at, attempts,
       attempt_started_at, status, settled_at, send_at)
     select gen_random_uuid(), $12, $1, gen_random_uuid(), $2, $2, '+336' || floor(random() * 1e8), nullif($3, ''), '{}',
       now() - make_interval(secs => $4::float8), case when x.ended is null then 0 else 1 end, x.ended - make_interval(secs => $9::float8),
       case when x.ended is null then 'queued' else 'sent' end, x.ended, coalesce($10::timestamptz, '-infinity')
     from generate_series(1, $5::integer + $6::integer) as i (n)
     cross join lateral (
       select case when i.n <= $6 then now() - make_interval(secs => $7::float8 - $8::float8 * ((i.n - 1) / $11::integer) - $9::float8) end as ended
     ) x`,
    [id, queue, sender, ago, left, count, from, every, took, sendAt ?? null, together, account],
  );
  await client.query(
    `insert into flows (hunt_id, queue, sender, weight, tag, fed_seq, last_seq)
     select $1, $2, $3, priority_weight(h.priority), 0, min(m.seq) - 1, max(m.seq)
     from messages m join hunts h on h.id = m.hunt_id
     where m.hunt_id = $1 and m.queue = $2 and coalesce(m.sender, '') = $3 and m.settled_at is null group by h.priority
     on conflict (hunt_id, queue, sender, send_at, zone) do update set last_seq = excluded.last_seq`,
    [id, queue, sender],
  );
}

/** No hunt that there is, is in the way of the next. */
const leaveAlone = () => client.query("delete from flows");
/** As feed finds senders that have no room for all that there is for them. */
const holdUp = (...senders: string[]) =>
  client.query(
    "insert into feed_senders (queue, account_id, sender, allowed, tag) select 'sms', '', unnest($1::text[]), 10, 0",
    [senders],
  );
const limit = ({ account }: Hunt, limits: object[]) =>
  client.query("update accounts set limits = $2 where id = $1", [account, JSON.stringify(limits)]);
const steadySince = ({ id }: Hunt, seconds: number) =>
  client.query("update hunts set steady_since = now() - make_interval(secs => $2) where id = $1", [id, seconds]);

/** In how many seconds it ends, as its status says. */
async function endsIn({ jobId }: Hunt): Promise<number | null> {
  const { rows } = await client.query("select hunt_status($1) as status", [jobId]);
  const { endsAt, now } = rows[0].status;
  return endsAt === null ? null : (Date.parse(endsAt) - Date.parse(now)) / 1000;
}

/** By what part of the truth its status is off. Twenty hundredths are promised, on a steady provider. */
async function off(hunt: Hunt, seconds: number): Promise<number> {
  return Math.abs(((await endsIn(hunt)) ?? Number.NaN) - seconds) / seconds;
}

test("a hunt of several flows → ends with the one that takes longest, each by its own pace", async () => {
  const channels = await hunt();
  await batch(channels, { queue: "sms", ago: 3, left: 220, done: { count: 30, every: 0.1, from: 3 } });
  await batch(channels, { queue: "whatsapp", ago: 3, left: 100, done: { count: 400, every: 0.007, from: 3 } });
  expect(await off(channels, 22)).toBeLessThan(0.1);

  const senders = await hunt();
  await holdUp("+33700000001", "+33700000002");
  await batch(senders, { sender: "+33700000001", ago: 6, left: 240, done: { count: 60, every: 0.1, from: 6 } });
  await batch(senders, { sender: "+33700000002", ago: 6, left: 1, done: { count: 59, every: 0.1, from: 6 } });
  expect(await off(senders, 24)).toBeLessThan(0.1);
});

test("what came after a rest, or goes on after a pause → the rest is no part of the pace", async () => {
  const appended = await hunt();
  await batch(appended, { ago: 150, left: 0, done: { count: 100, every: 0.1, from: 140 } });
  await batch(appended, { ago: 3.4, left: 270, done: { count: 30, every: 0.1, from: 3 } });
  expect(await off(appended, 27)).toBeLessThan(0.1);

  await leaveAlone();
  const soon = await hunt();
  await batch(soon, { ago: 50, left: 0, done: { count: 20, every: 0.5, from: 45 } });
  await batch(soon, { ago: 6.4, left: 100, done: { count: 12, every: 0.5, from: 6 } });
  expect(await off(soon, 50)).toBeLessThan(0.1);

  await leaveAlone();
  const paused = await hunt();
  await batch(paused, { ago: 60, left: 0, done: { count: 100, every: 0.1, from: 55 } });
  await batch(paused, { ago: 60, left: 370, done: { count: 30, every: 0.1, from: 3 } });
  await client.query("update hunts set paused_at = now() - interval '42 seconds' where id = $1", [paused.id]);
  await client.query("update hunts set paused_at = null where id = $1", [paused.id]);
  // Since this very moment nothing has gone.
  expect(await endsIn(paused)).toBeNull();
  await steadySince(paused, 3.4);
  expect(await off(paused, 37)).toBeLessThan(0.1);
});

test("calls that take long, many at once → what is half done counts; a slow one is looked at for longer", async () => {
  const calls = await hunt();
  // Five lines, twenty seconds a call: the second five are half done.
  await batch(calls, {
    queue: "voice",
    ago: 31,
    left: 45,
    done: { count: 5, every: 20, from: 30, took: 20 },
    together: 5,
  });
  await client.query(
    `update messages set status = 'sending', attempts = 1, attempt_id = gen_random_uuid(), attempt_started_at = now() - interval '10 seconds'
     where id in (select id from messages where hunt_id = $1 and status = 'queued' limit 5)`,
    [calls.id],
  );
  expect(await off(calls, 180)).toBeLessThan(0.1);

  const slow = await hunt();
  await batch(slow, { ago: 1000, left: 20, done: { count: 24, every: 40, from: 990 } });
  expect(await off(slow, 800)).toBeLessThan(0.1);
});

test("nobody can tell yet: before a flow has sent, and while one of several has not", async () => {
  const fresh = await hunt();
  await batch(fresh, { ago: 1, left: 50 });
  expect(await endsIn(fresh)).toBeNull();
  await batch(fresh, { queue: "whatsapp", ago: 3, left: 30, done: { count: 30, every: 0.1, from: 3 } });
  expect(await endsIn(fresh)).toBeNull();
  // What is to begin later has no pace, and a time.
  const later = await hunt();
  await batch(later, { ago: 3, left: 30, done: { count: 30, every: 0.1, from: 3 } });
  await batch(later, { queue: "voice", ago: 3, left: 5, sendAt: new Date(Date.now() + 3_600_000).toISOString() });
  expect(await off(later, 3600)).toBeLessThan(0.1);
});

test("a limit that holds a flow up → that alone, whatever went in the last minute; one that does not → its pace", async () => {
  const resumed = await hunt();
  await limit(resumed, [{ channel: "sms", sender: "*", perSecond: 5 }]);
  await batch(resumed, { ago: 60, left: 0, done: { count: 60, every: 0.2, from: 55 } });
  await batch(resumed, { ago: 60, left: 230, done: { count: 2, every: 0.5, from: 1 } });
  await steadySince(resumed, 2);
  expect(await off(resumed, 46)).toBeLessThan(0.1);
  // Of one account's limit over two senders, both have their part.
  const both = await hunt();
  await limit(both, [{ channel: "sms", perSecond: 10 }]);
  await batch(both, { sender: "+33700000001", ago: 20, left: 200, done: { count: 100, every: 0.2, from: 20 } });
  await batch(both, { sender: "+33700000002", ago: 20, left: 50, done: { count: 100, every: 0.2, from: 20 } });
  expect(await off(both, 25)).toBeLessThan(0.1);
  await limit(both, [{ channel: "sms", sender: "*", perSecond: 50 }]);
  expect(await off(both, 40)).toBeLessThan(0.1);
});

test("a hunt that is spread → by that alone, however slowly it has gone", async () => {
  const windows = { days: [1, 2, 3, 4, 5, 6, 7], from: "00:00", to: "24:00", timeZone: "UTC", spread: true };
  const until = new Date(Date.now() + 1_000_000).toISOString();
  const spread = await hunt({ windows: { ...windows, until } });
  await batch(spread, { ago: 30, left: 100, done: { count: 2, every: 20, from: 25 } });
  expect(await off(spread, 1000)).toBeLessThan(0.1);
});

test("hunts of one account that share a sender → each has its part, as long as the others last", async () => {
  const big = await hunt();
  const small = await hunt(big);
  // Five a second each, of ten.
  await batch(big, { ago: 12, left: 300, done: { count: 60, every: 0.2, from: 12 } });
  await batch(small, { ago: 12, left: 100, done: { count: 60, every: 0.2, from: 12 } });
  expect(await off(small, 20)).toBeLessThan(0.1);
  expect(await off(big, 40)).toBeLessThan(0.1);
  // One that came just now, and weighs four times as much.
  const urgent = await hunt({ account: big.account, priority: "high" });
  await batch(urgent, { ago: 0.5, left: 400 });
  expect(await off(big, 80)).toBeLessThan(0.1);
  expect(await endsIn(urgent)).toBeNull();
  // The same where a limit is what they share.
  await limit(big, [{ channel: "sms", sender: "*", perSecond: 10 }]);
  expect(await off(urgent, 60)).toBeLessThan(0.1);
  expect(await off(big, 80)).toBeLessThan(0.1);
  // One that is paused is in nobody's way.
  await client.query("update hunts set paused_at = now() where id = $1", [urgent.id]);
  expect(await off(big, 40)).toBeLessThan(0.1);
});

test("hunts of several accounts that share a sender → each account has its part, within it each hunt by weight", async () => {
  await holdUp("+33700000001");
  const sender = "+33700000001";
  const [first, other] = [await hunt(), await hunt()];
  const second = await hunt({ account: first.account });
  // Of twenty a second ten go to the other account.
  await batch(first, { sender, ago: 12, left: 100, done: { count: 60, every: 0.2, from: 12 } });
  await batch(second, { sender, ago: 12, left: 400, done: { count: 60, every: 0.2, from: 12 } });
  await batch(other, { sender, ago: 12, left: 700, done: { count: 120, every: 0.1, from: 12 } });
  expect(await off(first, 20)).toBeLessThan(0.1);
  // Its account's other hunt leaves its part to it, and not to the others.
  expect(await off(second, 50)).toBeLessThan(0.1);
  expect(await off(other, 60)).toBeLessThan(0.1);
  // Which come just now, and what another sender has, and what waits for its time.
  const late = await hunt({ priority: "high" });
  await batch(late, { sender: "+33700000002", ago: 12, left: 5000, done: { count: 600, every: 0.02, from: 12 } });
  const tomorrow = await hunt();
  await batch(tomorrow, { sender, ago: 12, left: 5000 });
  await client.query("update flows set due_at = now() + interval '1 day' where hunt_id = $1", [tomorrow.id]);
  expect(await off(other, 60)).toBeLessThan(0.1);
  await batch(await hunt({ priority: "high" }), { sender, ago: 0.2, left: 300 });
  expect(await off(other, 75)).toBeLessThan(0.1);
});

test("flows that share no more than their queue → the others leave their part when they are done", async () => {
  const [big, small] = [await hunt(), await hunt()];
  await batch(big, { sender: "+33700000001", ago: 12, left: 300, done: { count: 60, every: 0.2, from: 12 } });
  await batch(small, { sender: "+33700000002", ago: 12, left: 100, done: { count: 60, every: 0.2, from: 12 } });
  expect(await off(small, 20)).toBeLessThan(0.1);
  expect(await off(big, 40)).toBeLessThan(0.1);
  // Of one hunt it is the same.
  await batch(big, { sender: "+33700000003", ago: 12, left: 100, done: { count: 60, every: 0.2, from: 12 } });
  expect(await off(big, 100 / 5 + 200 / 15)).toBeLessThan(0.1);
  // Who is slow by a sender of its own, or by a limit, takes no more than that.
  await leaveAlone();
  const [quick, slow, limited] = [await hunt(), await hunt(), await hunt()];
  await holdUp("+33700000009");
  await limit(limited, [{ perSecond: 1 }]);
  await batch(quick, { sender: "+33700000001", ago: 12, left: 900, done: { count: 120, every: 0.1, from: 12 } });
  await batch(slow, { sender: "+33700000009", ago: 12, left: 20, done: { count: 12, every: 1, from: 12 } });
  await batch(limited, { sender: "+33700000002", ago: 12, left: 20, done: { count: 12, every: 1, from: 12 } });
  expect(await off(quick, 85)).toBeLessThan(0.05);
});

test("once the others are done → no faster than the account's limit", async () => {
  const [big, small] = [await hunt(), await hunt()];
  await batch(big, { ago: 12, left: 1000, done: { count: 60, every: 0.2, from: 12 } });
  await batch(small, { ago: 12, left: 10, done: { count: 60, every: 0.2, from: 12 } });
  expect(await off(big, 101)).toBeLessThan(0.1);
  await limit(big, [{ perSecond: 7 }]);
  expect(await off(big, 143)).toBeLessThan(0.1);
});

test("one that was done just now → has part in what went while it was there", async () => {
  const [big, small] = [await hunt(), await hunt()];
  await batch(big, { ago: 20, left: 700, done: { count: 48, every: 0.2, from: 9.6 } });
  await batch(small, { ago: 20, left: 0, done: { count: 48, every: 0.2, from: 9.6 } });
  await client.query(
    `insert into flows (hunt_id, queue, sender, weight, tag, fed_seq, last_seq, moved_at)
     values ($1, 'sms', '', 1, 0, 5, 5, now() - interval '1.5 seconds')`,
    [small.id],
  );
  expect(await off(big, 75)).toBeLessThan(0.1);
  // What it was before says nothing once very many went since.
  await batch(big, { ago: 20, left: 0, done: { count: 290, every: 0.01, from: 2.9 } });
  await client.query("update flows set moved_at = now() - interval '5 seconds' where hunt_id = $1", [small.id]);
  expect(await off(big, 7)).toBeLessThan(0.15);
});

test("hunts that were planned side by side → how much another has is not taken from the numbers it lies between", async () => {
  const [big, small] = [await hunt(), await hunt()];
  for (let i = 0; i < 8; i++) {
    await batch(small, { ago: 12, left: 500 });
    await batch(big, { ago: 12, left: 2500 });
  }
  await batch(big, { ago: 12, left: 0, done: { count: 6000, every: 0.002, from: 12 } });
  await batch(small, { ago: 12, left: 0, done: { count: 6000, every: 0.002, from: 12 } });
  // 4,000 between 24,000 numbers.
  expect(await off(big, 24)).toBeLessThan(0.15);
  expect(await off(small, 8)).toBeLessThan(0.1);
});
