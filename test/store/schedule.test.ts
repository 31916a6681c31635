import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { HuntStatus, NewHunt, PlannedMessage, Store } from "../../src/store/store.ts";
import { acceptHunt, EXPIRES_AT, failAll, planMessages, type PlannedHunt, storeOn } from "../helpers/store.ts";

const HOUR_MS = 3_600_000;
const EVERY_DAY = [1, 2, 3, 4, 5, 6, 7];
/** Hours of the night on the other side of the earth are closed now, whatever the hour is. */
const iso = (inMs: number): string => new Date(Date.now() + inMs).toISOString();
/** Windows in UTC from and to so many hours from now; within one day. */
const closedNow = () => {
  const hour = new Date().getUTCHours();
  const from = hour < 22 ? `${String(hour + 2).padStart(2, "0")}:00` : "00:00";
  return { days: EVERY_DAY, from, to: hour < 22 ? "24:00" : "12:00", timeZone: "UTC" };
};

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
beforeEach(async () => {
  await database.sql.query(
    "truncate accounts, messages, leads, message_events, flows, feed_clocks, limit_counters, hunt_chunks, hunt_submissions, hunts cascade",
  );
  await database.sql.query("insert into accounts (id) values ('acc')");
});

/** Plans so many messages of a hunt; `each` gives the i-th its own fields. */
async function plan(
  count: number,
  hunt: Partial<NewHunt> = {},
  each: (i: number) => Partial<PlannedMessage> = () => ({}),
): Promise<PlannedHunt> {
  const id = hunt.id ?? randomUUID();
  const jobId = await acceptHunt(store, { ...hunt, id });
  const { sendAt, expiresAt = EXPIRES_AT } = hunt;
  return planMessages(store, { id, jobId }, count, (i) => ({ sendAt, expiresAt, ...each(i) }));
}

const ANY = { least: 1_000_000, most: 1_000_000 };
const feed = (limit = 1000) => store.flows.feed("sms", limit, ANY);
const fed = async (limit?: number): Promise<string[]> => (await feed(limit)).map(({ id }) => id);
const status = async ({ jobId }: PlannedHunt) => {
  const { scheduledAt, endsAt, now } = (await store.huntStatus(jobId)) as HuntStatus;
  const seconds = (at: string | null) => (at === null ? null : (Date.parse(at) - Date.parse(now)) / 1000);
  return { scheduledIn: seconds(scheduledAt), endsIn: seconds(endsAt) };
};
/** The same as if so much time had passed, for flows and limits. */
const passes = async (span: string): Promise<void> => {
  await database.sql.query(
    `update flows set due_at = due_at - interval '${span}', next_at = next_at - interval '${span}'`,
  );
  await database.sql.query(`update limit_counters set next_at = next_at - interval '${span}'`);
};
const limit = (limits: object[]) => store.accounts.change("acc", { limits });
const settle = (ids: readonly string[]): Promise<void> => failAll(store, ids);

test("what is to be sent later is not fed before, is nobody's orphan meanwhile, and steering works with it", async () => {
  const hunt = await plan(3, { sendAt: iso(2 * HOUR_MS) });
  const now = await plan(1);
  expect(await fed()).toEqual(now.messages);
  const held = (await store.openMessages(0, 10, -1000)).filter((message) => message.held).map(({ id }) => id);
  expect(held).toEqual(hunt.messages);
  expect((await status(hunt)).scheduledIn).toBeCloseTo(7200, -1);
  expect((await status(hunt)).endsIn).toBeCloseTo(7200, -1);

  await store.flows.steer(hunt.id, "pause");
  await store.flows.steer(hunt.id, "resume");
  expect(await fed()).toEqual([]);
  await passes("2 hours");
  await store.flows.steer(hunt.id, "pause");
  expect(await fed()).toEqual([]);
  await database.sql.query("update hunts set paused_at = null");
  expect(await fed()).toEqual(hunt.messages);
});

test("contacts of one hunt with times of their own go at theirs, and a cancel takes all of them", async () => {
  const hours = [3, undefined, 1, 3];
  const hunt = await plan(4, {}, (i) =>
    hours[i] === undefined ? {} : { sendAt: iso(hours[i] * HOUR_MS - (Date.now() % HOUR_MS)) },
  );
  const [three = "", none = "", one = "", too = ""] = hunt.messages;
  expect(await fed()).toEqual([none]);
  // Only what has been fed is to have a job.
  expect((await store.openMessages(0, 10, -1000)).filter(({ held }) => !held).map(({ id }) => id)).toEqual([none]);
  expect((await status(hunt)).scheduledIn).toBeNull();
  await settle([none]);
  expect((await status(hunt)).scheduledIn).toBeLessThan(3600);
  await passes("1 hour");
  expect(await fed()).toEqual([one]);
  await passes("2 hours");
  expect(await fed()).toEqual([three, too]);
  await store.flows.steer(hunt.id, "cancel");
  expect(await store.flows.continueCancelling(10)).toBe(3);
});

test("a hunt that ends before something of it is to be sent is refused, also when it is added to", async () => {
  const { id } = await plan(1, { expiresAt: iso(HOUR_MS) });
  for (const late of [{ sendAt: iso(HOUR_MS + 1) }, { lastSendAt: iso(HOUR_MS + 1) }]) {
    const hunt: NewHunt = { id, accountId: "acc", priority: undefined, expiresAt: undefined, ...late };
    expect(await store.acceptHunt(hunt, randomUUID(), [[{}]], {}, undefined)).toEqual({ result: "sends_too_late" });
  }
});

test("a further submission that gives the hunt's own fields otherwise → refused with their names; the same, or none, is taken", async () => {
  const windows = { days: [1, 2], from: "09:00", to: "18:00" };
  const own = { priority: "high", expiresAt: iso(HOUR_MS), windows: { ...windows, until: iso(HOUR_MS) } } as const;
  const { id } = await plan(1, own);
  const none: NewHunt = { id, accountId: "acc", priority: undefined, expiresAt: undefined };
  const submit = (fields: Partial<NewHunt>) =>
    store.acceptHunt({ ...none, ...fields }, randomUUID(), [[{}]], {}, undefined);
  const differs = (...fields: string[]) => ({ result: "differs", fields });
  expect(await submit({ priority: "normal" })).toEqual(differs("priority"));
  expect(await submit({ windows: { ...windows, spread: true } })).toEqual(differs("windows"));
  const others = { priority: "low", expiresAt: iso(2 * HOUR_MS), windows: { ...windows, to: "17:00" } } as const;
  expect(await submit(others)).toEqual(differs("expiresAt", "priority", "windows"));
  expect(await store.previews.hunt({ ...none, ...others })).toMatchObject({
    expiresAt: expect.any(String),
    differences: ["expiresAt", "priority", "windows"],
  });
  for (const same of [own, { windows }, {}, { defaultExpiresAt: iso(9 * HOUR_MS) }])
    expect(await submit(same)).toMatchObject({ result: "accepted" });
  const first = await plan(1, { priority: undefined, expiresAt: undefined, defaultExpiresAt: iso(99 * HOUR_MS) });
  expect(await submit({ id: first.id, windows })).toEqual(differs("windows"));
  expect(await submit({ id: first.id, priority: "normal", lastSendAt: iso(98 * HOUR_MS) })).toMatchObject({
    result: "accepted",
  });
});

test("a limit gives turns evenly apart, a few seconds ahead; the others go at full speed", async () => {
  await limit([{ channel: "sms", sender: "*", perSecond: 5 }]);
  const slow = await plan(50, {}, () => ({ sender: "+33700000001" }));
  const other = await plan(3, {}, () => ({ sender: "+33700000002" }));
  const first = await feed();
  const ofSlow = first.filter(({ sender }) => sender === "+33700000001");
  expect(ofSlow.map(({ id }) => id)).toEqual(slow.messages.slice(0, 10));
  expect(ofSlow.map(({ retryInMs }) => retryInMs)).toEqual([0, 200, 400, 600, 800, 1000, 1200, 1400, 1600, 1800]);
  expect(first.filter(({ id }) => other.messages.includes(id))).toHaveLength(3);
  // One cheap look: nothing of it is due before the last second of what it was given.
  expect(await feed()).toEqual([]);
  const { rows } = await database.sql.query(
    "select extract(epoch from due_at - now())::float8 as due from flows where sender = '+33700000001'",
  );
  expect(rows[0].due).toBeGreaterThan(0.5);
  await passes("1 second");
  const second = await feed();
  expect(second.map(({ id }) => id)).toEqual(slow.messages.slice(10, 10 + second.length));
  // Its turns go on where the first ones end, not before.
  expect(second[0]?.retryInMs).toBeGreaterThan(700);
});

test("several limits hold together: an account's counts all of its senders, and its channels", async () => {
  await limit([{ perSecond: 4 }, { sender: "+33700000001", perMinute: 60 }]);
  await plan(20, {}, (i) => ({ sender: i % 2 ? "+33700000001" : "+33700000002" }));
  const counts = Map.groupBy(await feed(), ({ sender }) => sender);
  const [slow, fast] = [counts.get("+33700000001")?.length ?? 0, counts.get("+33700000002")?.length ?? 0];
  expect(slow).toBeLessThanOrEqual(2);
  expect(slow + fast).toBeGreaterThanOrEqual(7);
  expect(slow + fast).toBeLessThanOrEqual(9);
});

test("hunts that share a limit have parts of its turns by their weight, and none is left out", async () => {
  await limit([{ perSecond: 5 }]);
  const [first, second, heavy] = [await plan(100), await plan(100), await plan(100, { priority: "high" })];
  const counts = async (): Promise<number[]> => {
    const ids = await fed();
    return [first, second, heavy].map(({ messages }) => messages.filter((id) => ids.includes(id)).length);
  };
  // Ten turns in two seconds: what one leaves over by whole numbers is the last one's.
  const [one = 0, two = 0, much = 0] = await counts();
  expect(one + two + much).toBe(10);
  expect([one >= 1, two >= 1, much > one + two]).toEqual([true, true, true]);
  // What is left when one has next to nothing to send is the others'.
  await settle([...second.messages, ...heavy.messages.slice(0, 99)]);
  await passes("2 seconds");
  const [rest = 0, none, last] = await counts();
  expect([none, last]).toEqual([0, 1]);
  expect(rest).toBeGreaterThanOrEqual(1);
  await passes("1 second");
  expect((await counts())[0]).toBeGreaterThanOrEqual(4);
});

test("so many a day, by the limit's own calendar; the rest on the next", async () => {
  await limit([{ channel: "sms", perDay: 4, timeZone: "Pacific/Auckland" }]);
  const hunt = await plan(10);
  expect(await fed(3)).toEqual(hunt.messages.slice(0, 3));
  expect(await fed()).toEqual(hunt.messages.slice(3, 4));
  expect(await fed()).toEqual([]);
  const { rows } = await database.sql.query(
    "select to_char(due_at at time zone 'Pacific/Auckland', 'HH24:MI:SS') as due, due_at > now() as later from flows",
  );
  expect(rows).toEqual([{ due: "00:00:00", later: true }]);
  await database.sql.query("update limit_counters set day = day - 1");
  await database.sql.query("update flows set due_at = now()");
  expect(await fed()).toEqual(hunt.messages.slice(4, 8));
});

test("what a pause sends back unsent → counts once for the day; after midnight, for the day on which it is sent", async () => {
  await limit([{ perDay: 5 }, { channel: "sms", sender: "*", perDay: 8 }]);
  const hunt = await plan(10);
  const { rows } = await database.sql.query(
    "select (now() at time zone 'UTC')::date = ((now() + interval '1 minute') at time zone 'UTC')::date as safe",
  );
  const used = async (): Promise<number[]> =>
    (await database.sql.query("select used from limit_counters order by scope")).rows.map((row) => row.used as number);
  expect(await fed(4)).toEqual(hunt.messages.slice(0, 4));
  await settle(hunt.messages.slice(0, 1));
  await store.flows.steer(hunt.id, "pause");
  await store.flows.steer(hunt.id, "resume");
  await store.flows.steer(hunt.id, "pause");
  await store.flows.steer(hunt.id, "resume");
  // Around midnight the counters begin anew, and there is nothing to be said of them.
  if (rows[0].safe) expect(await used()).toEqual([1, 1]);
  expect(await fed()).toEqual(hunt.messages.slice(1, 5));
  await store.flows.steer(hunt.id, "pause");
  await database.sql.query("update hunts set paused_at = paused_at - interval '1 day'");
  const before = await used();
  await store.flows.steer(hunt.id, "resume");
  expect(await used()).toEqual(before);
});

test("an account's limits are instead of the service's, and none at all is a choice", async () => {
  const limited = storeOn(database, { limits: [{ channel: "*", sender: "*", perSecond: 1 }] });
  const hunt = await plan(30);
  expect(await limited.flows.feed("sms", 10, ANY)).toHaveLength(2);
  expect((await limited.huntStatus(hunt.jobId))?.endsAt).not.toBeNull();
  await limit([]);
  await passes("1 minute");
  expect(await limited.flows.feed("sms", 10, ANY)).toHaveLength(10);
  await limited.close();
});

test("outside its windows a hunt is not looked at before they open; what has expired ends at once", async () => {
  const windows = closedNow();
  const hunt = await plan(2, { windows });
  expect(await fed()).toEqual([]);
  const { rows } = await database.sql.query(
    "select to_char(due_at at time zone 'UTC', 'HH24:MI') as due, due_at - now() as wait from flows",
  );
  expect(rows[0]?.due).toBe(windows.from);
  expect((await status(hunt)).scheduledIn).toBeGreaterThan(60);
  await database.sql.query("update flows set due_at = now()");
  await database.sql.query("update hunts set expires_at = now()");
  expect(await fed()).toEqual(hunt.messages);
});

test("windows by the recipient's clock open where it is day, and by days of the week", async () => {
  const at = new Date("2026-03-27T17:30:00Z").toISOString(); // A Friday: 18:30 in Paris, 13:30 in New York.
  const weekdays = { days: [1, 2, 3, 4, 5], from: "09:00", to: "18:00" };
  const opens = async (zone: string): Promise<string[]> =>
    (
      await database.sql.query("select opens, closes from windows_of($1, $2, $3) limit 2", [weekdays, zone, at])
    ).rows.map(({ opens, closes }) => `${opens.toISOString().slice(0, 16)} ${closes.toISOString().slice(0, 16)}`);
  expect(await opens("America/New_York")).toEqual([
    "2026-03-27T17:30 2026-03-27T22:00",
    "2026-03-30T13:00 2026-03-30T22:00",
  ]);
  // The clocks are put forward on the Sunday between.
  expect(await opens("Europe/Paris")).toEqual([
    "2026-03-30T07:00 2026-03-30T16:00",
    "2026-03-31T07:00 2026-03-31T16:00",
  ]);
  const walked = await database.sql.query("select after_open($1, 'Europe/Paris', $2, 10 * 3600) as at", [weekdays, at]);
  expect(walked.rows[0].at.toISOString()).toBe("2026-03-31T08:00:00.000Z");

  await plan(2, { windows: { days: EVERY_DAY, from: "00:00", to: "24:00" } }, (i) => ({
    zone: i ? "Europe/Paris" : "America/New_York",
  }));
  expect(await fed()).toHaveLength(2);
  const flows = await database.sql.query("select zone from flows order by 1");
  expect(flows.rows).toEqual([{ zone: "America/New_York" }, { zone: "Europe/Paris" }]);
});

test("a hunt that is spread goes evenly over the open time until its end", async () => {
  const open = { days: EVERY_DAY, from: "00:00", to: "24:00", timeZone: "UTC", spread: true };
  const hunt = await plan(100, { windows: { ...open, until: iso(99_900) } });
  const first = await feed();
  expect(first.map(({ retryInMs }) => Math.round(retryInMs / 100))).toEqual([0, 10, 20]);
  expect((await status(hunt)).endsIn).toBeGreaterThan(90);
  expect((await status(hunt)).endsIn).toBeLessThanOrEqual(100);
  await passes("2 seconds");
  expect((await fed()).length).toBeGreaterThanOrEqual(1);
});

test("its end is told from the limit that binds; else from the pace of its last minute, not from the one before", async () => {
  await limit([{ channel: "sms", sender: "*", perSecond: 2 }]);
  const limited = await plan(1000);
  expect((await status(limited)).endsIn).toBeCloseTo(500, -1);
  await limit([{ perDay: 250, perSecond: 100 }]);
  const { endsIn } = await status(limited);
  // Today's, two whole days, and what is left on the fourth.
  expect(endsIn).toBeGreaterThan(2 * 86_400);
  expect(endsIn).toBeLessThan(3 * 86_400 + 60);

  await limit([]);
  await store.flows.steer(limited.id, "cancel");
  const measured = await plan(600);
  const done = measured.messages.slice(0, 300);
  await database.sql.query("update messages set created_at = now() - interval '2 hours' where hunt_id = $1", [
    measured.id,
  ]);
  // Two hours in which hardly anything went, and one minute of 299.
  await database.sql.query(
    "update messages set status = 'sending', attempts = 1, attempt_id = gen_random_uuid(), attempt_started_at = now() - interval '2 hours' where id = any ($1)",
    [done],
  );
  await database.sql.query(
    `update messages m set status = 'sent', attempt_started_at = x.at, settled_at = x.at
     from (select id, now() - interval '0.2 seconds' * n as at from unnest($1::uuid[]) with ordinality as u (id, n)) x
     where m.id = x.id`,
    [done.slice(1)],
  );
  await database.sql.query(
    "update messages set status = 'sent', settled_at = now() - interval '1 hour' where id = $1",
    [done[0]],
  );
  expect((await status(measured)).endsIn).toBeCloseTo(60, -1);
});

test("every zone that a number may belong to is one that the database knows", async () => {
  const { ZONE_TABLE } = await import("../../src/compliance/zone-table.ts");
  const zones = new Set(
    ZONE_TABLE.trim()
      .split("\n")
      .flatMap((line) => line.split(" ")[0]?.split(",") ?? []),
  );
  const known = await database.sql.query("select name from pg_timezone_names");
  const names = new Set(known.rows.map(({ name }) => name));
  expect([...zones].filter((zone) => !names.has(zone))).toEqual([]);
});

test("contacts appended to a hunt that is spread → the first goes at once, the others spread over what is left", async () => {
  const expiresAt = iso(7 * 24 * HOUR_MS);
  const windows = { days: EVERY_DAY, from: "00:00", to: "24:00", timeZone: "UTC", spread: true, until: expiresAt };
  const hunt = { windows, expiresAt };
  const first = await plan(1, hunt);
  // Of another flow: with nothing open the hunt's flows would go.
  await plan(1, { ...hunt, expiresAt: undefined, id: first.id, sendAt: iso(24 * HOUR_MS) });
  expect(await fed()).toEqual(first.messages);
  await settle(first.messages);
  const late = await plan(100, { ...hunt, expiresAt: undefined, id: first.id });
  expect(await fed()).toEqual(late.messages.slice(0, 1));
  await passes("2 hours");
  expect(await fed()).toEqual(late.messages.slice(1, 2));
});

test("a limit slower than any interval, from before there was a bound → holds nobody else up", async () => {
  await database.sql.query("insert into accounts (id) values ('other')");
  await limit([{ channel: "sms", perSecond: 1e-300 }]);
  await plan(2);
  await fed();
  const other = await plan(1, { accountId: "other" });
  expect(await fed()).toEqual(other.messages);
});

test("a hunt that is cancelled while it is planned → what was planned is cancelled as well", async () => {
  const [id, jobId] = [randomUUID(), randomUUID()];
  const hunt = { id, accountId: "acc", priority: "normal" as const, expiresAt: iso(HOUR_MS) };
  await store.acceptHunt(hunt, jobId, [[{}]], {}, undefined);
  const planner = await database.sql.connect();
  await planner.query("begin");
  const row = { id: randomUUID(), account_id: "acc", hunt_id: id, ad_id: "x", channel: "sms", queue: "sms" };
  const rows = JSON.stringify([{ ...row, recipient: "+33612340009", content: { text: "x" } }]);
  await planner.query("select plan_chunk($1, 0, $2, $3::jsonb)", [jobId, id, rows]);
  await store.flows.steer(id, "cancel");
  await store.flows.continueCancelling(10);
  await planner.query("commit");
  planner.release();
  await store.flows.continueCancelling(10);
  const { rows: messages } = await database.sql.query("select status from messages where hunt_id = $1", [id]);
  expect(messages).toEqual([{ status: "cancelled" }]);
});

test("a limit of a day that is used up, and then lifted → counts at once for what waits", async () => {
  await limit([{ channel: "sms", perDay: 2 }]);
  const { messages } = await plan(5);
  expect(await fed()).toEqual(messages.slice(0, 2));
  expect(await fed()).toEqual([]);
  await limit([]);
  expect(await fed()).toEqual(messages.slice(2));
});

test("runs of a recurrence that waited for the database → one; those of before a resume → none", async () => {
  const id = randomUUID();
  await database.sql.query(
    `insert into recurrences (id, account_id, name, pattern, time_zone, hunt, contacts, since)
     values ($1, 'acc', 'x', '0 * * * *', 'UTC', '{"priority": "normal"}', 1, now() - interval '1 day')`,
    [id],
  );
  await database.sql.query("insert into hunt_chunks (job_id, no, size, contacts) values ($1, 0, 1, '[{}]')", [id]);
  const run = (at: string) => store.recurrences.run(id, at, randomUUID());
  expect(await run(iso(-3 * HOUR_MS))).toMatchObject({ chunks: 1 });
  expect(await run(iso(-2 * HOUR_MS))).toBeUndefined();
  expect(await run(iso(-1 * HOUR_MS))).toBeUndefined();
  const before = iso(1);
  await expect.poll(() => iso(0) > before).toBe(true);
  await store.recurrences.pause("acc", id, true);
  await store.recurrences.pause("acc", id, false);
  expect(await run(before)).toBeUndefined();
  expect(await run(iso(HOUR_MS))).toMatchObject({ chunks: 1 });
});
