import { once } from "node:events";
import { request, type IncomingMessage } from "node:http";
import type pg from "pg";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient, type LiveEvent, type Result } from "../../src/client.ts";
import { finished, huntId, phone, run, settles, submit } from "../helpers/hunts.ts";
import { contacts, until } from "../helpers/ledger.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let world: World;
let one: TestService;
let other: TestService;

beforeAll(async () => {
  world = await openWorld();
  [one, other] = await Promise.all([world.start(), world.start()]);
});
afterAll(() => world[Symbol.asyncDispose]());

/** Follows events in the background until it is told to stop. */
function follow(
  service: TestService,
  filter: { accountId?: string; huntId?: string; lastEventId?: string | undefined },
) {
  const ending = new AbortController();
  const events: LiveEvent[] = [];
  const faults: Result<LiveEvent>[] = [];
  const client = createClient({ baseUrl: service.url, apiSecret: SECRET });
  const done = (async () => {
    for await (const result of client.events({ ...filter, signal: ending.signal })) {
      if (result.ok) events.push(result.value);
      else faults.push(result);
    }
  })();
  return {
    events,
    faults,
    /** Waits until it is among the readers. */
    async open(): Promise<void> {
      await until(
        async () => (await service.get("/metrics")).body as string,
        (page) => /event_readers [1-9]/.test(page),
      );
    },
    until: (wished: (events: LiveEvent[]) => boolean) => until(async () => events, wished, 15_000),
    async stop(): Promise<void> {
      ending.abort();
      await done;
    },
  };
}

const sms = async (accountId: string, n: number): Promise<string> => {
  const { body } = await one.post("/api/phone/sms", { accountId, recipientPhone: phone(n), message: "Bonjour" });
  return settles(one, body.messageId, "delivered").then(() => body.messageId as string);
};

/** What a trigger would write, in bulk. */
const note = (sql: pg.Pool | pg.PoolClient, accountId: string, type: string, count = 1, size = 0) =>
  sql.query(
    "insert into events (account_id, type, data) select $1, $2, jsonb_build_object('no', n, 'x', repeat('x', $4)) from generate_series(1, $3::int) n",
    [accountId, type, count, size],
  );

test("nobody listens → nothing is kept", async () => {
  const accountId = await world.account();
  await sms(accountId, 1);
  const { rows } = await world.sql.query("select count(*)::int as n from events");
  expect(rows).toEqual([{ n: 0 }]);
});

// Before anybody else has listened: no event of theirs comes in between.
test("a database that was restored from a backup → readers are reset, those who come again too, and go on", async () => {
  const accountId = await world.account();
  const reader = follow(one, { accountId });
  await reader.open();
  await note(world.sql, accountId, "test.forgotten", 5);
  const before = await reader.until((events) => events.length === 5);
  // What the backup does not know is gone, positions included.
  await world.sql.query(
    "with gone as (delete from events where account_id = $1) update event_head set pos = pos - 5, tidied = 0",
    [accountId],
  );
  const [, , , , , reset] = await reader.until((events) => events.length === 6);
  expect(reset).toMatchObject({ type: "reset" });
  expect(Number(reset?.position)).toBe(Number(before[4]?.position) - 5);
  await note(world.sql, accountId, "test.anew");
  await reader.until((events) => events.at(-1)?.type === "test.anew");

  // The service has noticed: what was given since then is void as well.
  await world.sql.query("update epoch set adopted_at = now()");
  await reader.until((events) => events.at(-1)?.type === "reset");
  await note(world.sql, accountId, "test.last");
  const events = await reader.until((seen) => seen.at(-1)?.type === "test.last");
  await reader.stop();
  expect(events.slice(5).map(({ type }) => type)).toEqual(["reset", "test.anew", "reset", "test.last"]);
  expect(reader.faults).toEqual([]);

  // The position of one that was forgotten now belongs to another event.
  const again = follow(other, { accountId, lastEventId: before[0]?.position });
  const seen = await again.until((all) => all.length === 2);
  await again.stop();
  expect(seen.map(({ type }) => type)).toEqual(["reset", "test.last"]);
});

test("a reader that comes again at the other process → misses nothing and gets nothing twice", async () => {
  const accountId = await world.account();
  const first = follow(one, { accountId });
  await first.open();
  const seen = await sms(accountId, 2);
  await first.until((events) => events.some(({ type }) => type === "message.delivered"));
  await first.stop();

  // While nobody reads; another account's messages, to whose events nobody has listened, leave none.
  const missed = await sms(accountId, 3);
  const stranger = await world.account();
  await sms(stranger, 6);
  const rowsOf = async (condition: string): Promise<number> => {
    const { rows } = await world.sql.query(`select count(*)::int as n from events where ${condition}`);
    return (rows[0] as { n: number }).n;
  };
  await until(
    () => rowsOf("pos is null"),
    (n) => n === 0,
  );
  expect(await rowsOf(`account_id = '${stranger}'`)).toBe(0);
  const second = follow(other, { accountId, lastEventId: first.events.at(-1)?.position });
  await second.until((events) => events.some(({ type }) => type === "message.delivered"));
  const later = await sms(accountId, 4);
  await second.until((events) =>
    events.some(({ data }) => data["messageId"] === later && data["status"] === "delivered"),
  );
  await second.stop();

  const all = [...first.events, ...second.events];
  expect(all.map(({ type, data }) => [data["messageId"], type])).toEqual(
    [seen, missed, later].flatMap((id) => ["message.sent", "message.delivered"].map((type) => [id, type])),
  );
  const { rows } = await world.sql.query(
    "select 'evt_' || replace(uid::text, '-', '') as id from events where account_id = $1 order by pos",
    [accountId],
  );
  expect(all.map(({ id }) => id)).toEqual(rows.map(({ id }: { id: string }) => id));
  expect(first.faults).toEqual([]);
});

test("a hunt's reader → gets the events of that hunt alone, from its start to its end, with progress", async () => {
  const accountId = await world.account();
  const hunt = huntId();
  const { jobId } = await submit(one, { huntId: hunt, accountId, contacts: [contact({ recipientPhone: phone(30) })] });
  await finished(one, jobId);
  const reader = follow(other, { huntId: hunt });
  await reader.open();
  await sms(accountId, 5);
  const paused = await one.post(`/api/hunt/${hunt}/pause`, undefined);
  expect(paused.status).toBe(200);
  await submit(one, {
    huntId: hunt,
    accountId,
    contacts: [contact({ recipientPhone: phone(31) }), contact({ recipientPhone: "1" })],
  });
  await reader.until((events) => events.some(({ type }) => type === "message.skipped"));
  const isSkipTold = ({ type, data }: LiveEvent): boolean =>
    type === "hunt.progress" && (data["counts"] as Record<string, number>)["skipped"] === 1;
  await reader.until((events) => events.some(isSkipTold));
  await one.post(`/api/hunt/${hunt}/resume`, undefined);
  const events = await reader.until((seen) => seen.some(({ type }) => type === "hunt.completed"));
  await reader.stop();
  expect(new Set(events.map(({ data }) => data["huntId"]))).toEqual(new Set([hunt]));
  const steps = events.map(({ type }) => type).filter((type) => /^hunt\.(?!progress)/.test(type));
  expect(steps).toEqual(["hunt.paused", "hunt.started", "hunt.resumed", "hunt.completed"]);
  const { pausedAt } = paused.body;
  expect(events.find(({ type }) => type === "hunt.paused")?.data).toMatchObject({ accountId, huntId: hunt, pausedAt });
  expect(events.find(isSkipTold)?.data).toMatchObject({ accountId, huntId: hunt, pausedAt });

  expect((await one.get("/api/events?huntId=no_such_hunt")).status).toBe(404);
  expect((await one.get(`/api/events?huntId=${hunt}&accountId=acc_other`)).status).toBe(404);
  expect((await one.get("/api/events?accountId=acc_nobody")).status).toBe(404);
  expect((await one.get("/api/events")).status).toBe(400);
  expect((await one.get(`/api/events?accountId=${accountId}`, { "last-event-id": "x" })).status).toBe(400);
});

test("contacts that are added after the end, and end before anybody looks → start the hunt again, and complete it", async () => {
  const accountId = await world.account();
  const hunt = huntId();
  const { jobId } = await submit(one, { huntId: hunt, accountId, contacts: contacts(2, 40) });
  await finished(one, jobId);
  const reader = follow(one, { huntId: hunt });
  await reader.open();
  const lookAgain = (when: string) =>
    world.sql.query(`update hunt_reports set due_at = ${when} where hunt_id = $1`, [hunt]);
  for (const ends of [1, 2]) {
    await lookAgain("now() + interval '1 hour'");
    await run(one, { huntId: hunt, accountId, contacts: contacts(2, 40 + 2 * ends) });
    await lookAgain("now()");
    await reader.until((events) => events.filter(({ type }) => type === "hunt.completed").length === ends);
  }
  await reader.stop();
  const steps = reader.events.filter(({ type }) => /^hunt\.(?!progress)/.test(type));
  expect(steps.map(({ type }) => type)).toEqual([1, 2].flatMap(() => ["hunt.started", "hunt.completed"]));
  const totals = steps.map(({ data }) =>
    Object.values(data["counts"] as Record<string, number>).reduce((a, b) => a + b),
  );
  expect([totals[1], totals[3]]).toEqual([4, 6]);
});

test("an event that commits after a later one → is read after it, and not passed over", async () => {
  const accountId = await world.account();
  const reader = follow(one, { accountId });
  await reader.open();
  const slow = await world.sql.connect();
  await slow.query("begin");
  await note(slow, accountId, "test.early");
  await note(world.sql, accountId, "test.late");
  await reader.until((events) => events.length === 1);
  await slow.query("commit");
  slow.release();
  const events = await reader.until((seen) => seen.length === 2);
  await reader.stop();
  expect(events.map(({ type }) => type)).toEqual(["test.late", "test.early"]);
  const positions = events.map(({ position }) => Number(position));
  expect(positions[1]).toBeGreaterThan(positions[0]!);

  // From an hour after the last reader on events are not kept: whoever comes again then is told.
  await world.sql.query("update event_readers set until = now() - interval '1 second' where account_id = $1", [
    accountId,
  ]);
  const again = follow(one, { accountId, lastEventId: events[0]?.position });
  const [reset, next] = await again.until((seen) => seen.length === 2);
  await again.stop();
  expect([reset?.type, next?.type]).toEqual(["reset", "test.early"]);
});

const lookedForOthers = async (): Promise<number> => {
  const page = (await one.get("/metrics")).body as string;
  return Number(/database_seconds_count\{operation="begun_before"\} (\d+)/.exec(page)?.[1] ?? 0);
};

test.each(["an endpoint", "a reader"])(
  "%s that begins while a change is under way → is there once that has ended, and told of the next",
  async (kind) => {
    const accountId = await world.account();
    const change = await world.sql.connect();
    await change.query("begin");
    await change.query(
      `insert into messages (id, account_id, channel, queue, recipient, content, status, code)
       values (gen_random_uuid(), $1, 'sms', 'sms', '+33612000001', '{}', 'failed', 'test')`,
      [accountId],
    );
    const order: string[] = [];
    const looked = await lookedForOthers();
    const begun: Promise<Partial<IncomingMessage>> =
      kind === "a reader" ? rawReader(one, accountId) : createEndpoint(accountId);
    void begun.then(() => order.push("begun"));
    // It has seen that somebody is under way.
    await until(lookedForOthers, (n) => n >= looked + 2);
    order.push("committed");
    await change.query("commit");
    change.release();
    const listener = await begun;
    expect(order).toEqual(["committed", "begun"]);
    listener.destroy?.();
  },
);

async function createEndpoint(accountId: string) {
  return (await one.post("/api/webhook-endpoints", { accountId, url: "https://hooks.example.com/x" })).body as object;
}

async function rawReader(service: TestService, accountId: string): Promise<IncomingMessage> {
  const outgoing = request(`${service.url}/api/events?accountId=${accountId}`, {
    headers: { authorization: `Bearer ${SECRET}` },
  });
  outgoing.end();
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  incoming.on("error", () => {});
  return incoming;
}

test("a reader that does not read → is cut off, while another gets everything", async () => {
  const accountId = await world.account();
  const stuck = await rawReader(one, accountId);
  stuck.pause();
  const reader = follow(one, { accountId });
  await until(
    async () => (await one.get("/metrics")).body as string,
    (page) => page.includes("event_readers 2"),
  );
  await note(world.sql, accountId, "test.many", 6000, 2000);
  await reader.until((events) => events.length === 6000);
  await until(
    async () => (await one.get("/metrics")).body as string,
    (page) => page.includes("event_readers 1"),
  );
  expect(one.logs.some(({ msg }) => msg === "a reader of live events was too slow")).toBe(true);
  await reader.stop();
  stuck.destroy();
  expect(reader.events.map(({ data }) => data["no"])).toEqual(Array.from({ length: 6000 }, (_, i) => i + 1));
  expect(reader.faults).toEqual([]);
});

test("an endpoint within a private network, without https or at another port → is refused when it is made, with all its faults", async () => {
  const accountId = await world.account();
  for (const [url, ...faults] of [
    ["https://10.0.0.1", /private/],
    ["http://example.com/x", /https/],
    ["http://10.0.0.1:3001/x", /port 3001.* 80, 443, 8080, and 8443/, /private/, /https/],
    ["https://[::1]/", /private/, /WEBHOOK_ALLOW_LOOPBACK/],
    ["http://localhost:3001/x", /port 3001/, /private/, /https/, /WEBHOOK_ALLOW_LOOPBACK/],
    ["ftp://example.com", /not an address/],
  ] as const) {
    const answer = await one.post("/api/webhook-endpoints", { accountId, url });
    expect({ url, status: answer.status, errors: answer.body.errors }).toEqual({
      url,
      status: 400,
      errors: faults.map((detail) => ({ pointer: "/url", detail: expect.stringMatching(detail) })),
    });
  }
});

test("a service that stops → ends its streams at once, and drains", async () => {
  const accountId = await world.account();
  const reader = await rawReader(other, accountId);
  const ended = once(reader.resume(), "end");
  expect(await other.stop(AbortSignal.timeout(10_000))).toBe(true);
  await ended;
});
