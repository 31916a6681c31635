import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone, run, statusOf, submit } from "../helpers/hunts.ts";
import { contact, openWorld, type Answer, type TestService, type World } from "../helpers/service.ts";

const CHANNELS = ["sms", "whatsapp_text", "ringless_voice"];

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

const sum = (counts: Record<string, number>) => Object.values(counts).reduce((total, count) => total + count, 0);

function expectConsistent(status: Answer["body"], total: number): void {
  expect(status.total).toBe(total);
  expect(sum(status.counts)).toBe(total);
  const channels = Object.values(status.byChannel) as Record<string, number>[];
  for (const name of Object.keys(status.counts)) {
    expect(channels.reduce((all, counts) => all + (counts[name] ?? 0), 0)).toBe(status.counts[name]);
  }
}

test("a hunt over all channels ends with every contact in a visible state", async () => {
  const accountId = await world.account();
  const contacts = [
    contact({ adId: "a", recipientPhone: "+33612340100" }),
    contact({ adId: "b", recipientPhone: "06 12 34 01 01", channel: "whatsapp_text" }),
    contact({ adId: "c", recipientPhone: "+33612340102", channel: "ringless_voice" }),
    contact({ adId: "d", recipientPhone: "not a number" }),
    contact({ adId: "e", recipientPhone: "+33612340001" }),
  ];
  const { jobId, accepted } = await submit(service, { huntId: "all-channels", accountId, contacts });
  expect(accepted).toBe(5);
  await finished(service, jobId);

  await expect.poll(async () => (await service.get(`/api/hunt/status/${jobId}`)).body.counts.delivered).toBe(3);
  const { body } = await service.get(`/api/hunt/status/${jobId}`);
  expect(body).toMatchObject({ total: 5, counts: { delivered: 3, failed: 1, skipped: 1, queued: 0 }, etaSeconds: 0 });
  const found = await messagesOf(service, "all-channels");
  expect(found.map(({ adId, status, reason, code }) => [adId, status, reason, code])).toEqual([
    ["a", "delivered", null, null],
    ["b", "delivered", null, null],
    ["c", "delivered", null, null],
    ["d", "skipped", "invalid_number", null],
    ["e", "failed", null, "sandbox_refused"],
  ]);
});

test("1,500 contacts in three chunks → the counts sum to the total from the first moment to the last", async () => {
  const contacts = Array.from({ length: 1500 }, (_, i) =>
    contact({ adId: `ad_${i}`, recipientPhone: i % 10 ? phone(i) : "none", channel: CHANNELS[i % 3] }),
  );
  const { jobId } = await submit(service, { accountId: await world.account(), contacts });
  const states = new Set<string>();
  for (let status = await statusOf(service, jobId); ; status = await statusOf(service, jobId)) {
    expectConsistent(status, 1500);
    states.add(status.state);
    if (status.state === "finished") break;
  }
  expect(states).toContain("planning");
  expect(states).toContain("running");
  await expect.poll(async () => (await statusOf(service, jobId)).counts.delivered).toBe(1350);
  const status = await statusOf(service, jobId);
  expectConsistent(status, 1500);
  expect(status.counts).toMatchObject({ delivered: 1350, skipped: 150 });
  expect(Object.keys(status.byChannel).toSorted()).toEqual(CHANNELS.toSorted());
});

test("a hunt from its start to its end → startedAt, finishedAt and etaSeconds follow it", async () => {
  await world.queue("sms").pause();
  const { jobId } = await submit(service, {
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(1) })],
  });
  await expect.poll(async () => (await statusOf(service, jobId)).state).toBe("running");
  const waiting = await statusOf(service, jobId);
  expect(waiting).toMatchObject({ startedAt: null, finishedAt: null, etaSeconds: null, counts: { queued: 1 } });
  await world.queue("sms").resume();
  const ended = await finished(service, jobId);
  expect(ended.etaSeconds).toBe(0);
  expect(Date.parse(ended.finishedAt)).toBeGreaterThanOrEqual(Date.parse(ended.startedAt));
  for (const time of [ended.startedAt, ended.finishedAt]) expect(time).toMatch(/\.\d{3}Z$/);
});

test("a hunt of which nobody can be contacted → is finished, with a time", async () => {
  const accountId = await world.account();
  const { jobId, huntId: hunt } = await run(service, { accountId, contacts: [contact({ recipientPhone: "none" })] });
  const status = await statusOf(service, jobId);
  expect(status).toMatchObject({ huntId: hunt, accountId, state: "finished", total: 1, startedAt: null });
  expect(status.finishedAt).toEqual(expect.any(String));
});

test("a second submission → both jobs show the whole hunt", async () => {
  const hunt = { huntId: huntId(), accountId: await world.account() };
  const first = await run(service, { ...hunt, contacts: [contact({ recipientPhone: phone(2) })] });
  const second = await run(service, { ...hunt, contacts: [contact({ recipientPhone: phone(3) })] });
  const [a, b] = [await statusOf(service, first.jobId), await statusOf(service, second.jobId)];
  expect([a.total, b.total]).toEqual([2, 2]);
  expect([a.jobId, b.jobId]).toEqual([first.jobId, second.jobId]);
});

test("pages of messages → show each contact exactly once, in the order of the hunt", async () => {
  const adIds = Array.from({ length: 57 }, (_, i) => `ad_${i}`);
  const contacts = adIds.map((adId, i) => contact({ adId, recipientPhone: phone(100 + i) }));
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  const seen: string[] = [];
  const sizes: number[] = [];
  for (let cursor: string | null = ""; cursor !== null;) {
    const { body } = await service.get(`/api/hunt/${hunt}/messages?limit=10${cursor && `&cursor=${cursor}`}`);
    seen.push(...body.messages.map(({ adId }: { adId: string }) => adId));
    sizes.push(body.messages.length);
    cursor = body.nextCursor;
  }
  expect(seen).toEqual(adIds);
  expect(sizes).toEqual([10, 10, 10, 10, 10, 7]);
});

test("pages whose last one is full → no empty page after it", async () => {
  const contacts = Array.from({ length: 20 }, () => contact({ recipientPhone: "none" }));
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  const first = await service.get(`/api/hunt/${hunt}/messages?limit=10`);
  const last = await service.get(`/api/hunt/${hunt}/messages?limit=10&cursor=${first.body.nextCursor}`);
  expect([first.body.messages.length, last.body.messages.length, last.body.nextCursor]).toEqual([10, 10, null]);
});

test("messages of one status → only those, over all pages", async () => {
  const contacts = Array.from({ length: 30 }, (_, i) =>
    contact({ adId: `ad_${i}`, recipientPhone: i % 3 ? phone(200 + i) : "none" }),
  );
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  const page = async (cursor: string) =>
    (await service.get(`/api/hunt/${hunt}/messages?status=skipped&limit=4${cursor && `&cursor=${cursor}`}`)).body;
  const seen = [];
  for (let body = await page(""); ; body = await page(body.nextCursor)) {
    seen.push(...body.messages);
    if (body.nextCursor === null) break;
  }
  expect(seen.map(({ adId }) => adId)).toEqual(Array.from({ length: 10 }, (_, i) => `ad_${3 * i}`));
  expect(new Set(seen.map(({ status, reason }) => `${status} ${reason}`))).toEqual(new Set(["skipped invalid_number"]));
});

test("a status that no contact of the hunt has → an empty page, not 404", async () => {
  const { huntId: hunt } = await run(service, {
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: "none" })],
  });
  const answer = await service.get(`/api/hunt/${hunt}/messages?status=read`);
  expect(answer).toMatchObject({ status: 200, body: { messages: [], nextCursor: null } });
});

test("a sent message → shows provider, its id, the attempts and the times", async () => {
  const accountId = await world.account();
  const given = contact({ recipientPhone: "06 12 00 03 07", senderPhone: "+33987654321" });
  const { huntId: hunt } = await run(service, { accountId, contacts: [given] });
  await expect.poll(async () => (await messagesOf(service, hunt))[0].status).toBe("delivered");
  const [message] = await messagesOf(service, hunt);
  expect(message).toMatchObject({
    accountId,
    huntId: hunt,
    adId: given["adId"],
    channel: "sms",
    recipientPhone: "+33612000307",
    senderPhone: "+33987654321",
    reason: null,
    code: null,
    provider: "sandbox",
    providerMessageId: expect.stringMatching(/^sandbox:sms:/),
    attempts: 1,
    readAt: null,
  });
  expect(Date.parse(message.createdAt)).toBeLessThanOrEqual(Date.parse(message.sentAt));
  for (const time of [message.createdAt, message.sentAt, message.updatedAt]) expect(time).toMatch(/\.\d{3}Z$/);
  expect(message.deliveredAt).toEqual(expect.any(String));
  expect(message).not.toHaveProperty("queue");
  expect(JSON.stringify(message)).not.toContain("Bonjour");
});

test.each(["limit=0", "limit=1001", "limit=ten", "status=lost", "cursor=abc", "cursor=1;drop", "colour=red"])(
  "the query %s → 400 by its pointer",
  async (query) => {
    const answer = await service.get(`/api/hunt/any/messages?${query}`);
    expect(answer).toMatchObject({ status: 400, body: { errors: [{ pointer: `/query/${query.split("=")[0]}` }] } });
  },
);

test("a hunt id with slashes, spaces and emoji → its messages are found", async () => {
  const hunt = `a/b c?d#e%f 🏠 ${huntId()}`;
  const { jobId } = await run(service, {
    huntId: hunt,
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: "none" })],
  });
  expect(await messagesOf(service, hunt)).toHaveLength(1);
  expect((await statusOf(service, jobId)).huntId).toBe(hunt);
});

test("a hunt whose id is a word of our own paths → its messages are found, or the id is refused", async () => {
  const hunt = { huntId: "status", accountId: await world.account(), contacts: [contact({ recipientPhone: "none" })] };
  const answer = await service.post("/api/hunt/execute", hunt);
  if (answer.status === 400) return;
  await finished(service, answer.body.jobId);
  expect(await service.get("/api/hunt/status/messages")).toMatchObject({ status: 200, body: { messages: [{}] } });
});

describe("hunts as a whole", () => {
  const STEP_MS = 60_000;

  /** A hunt of an hour ago whose messages went their ways in known minutes. */
  async function pastHunt(): Promise<string> {
    const id = huntId();
    const accountId = await world.account();
    const from = Date.now() - 3_600_000;
    const at = (minute: number | null) => (minute === null ? null : new Date(from + minute * STEP_MS));
    await world.sql.query("insert into hunts (id, account_id, created_at) values ($1, $2, $3)", [id, accountId, at(0)]);
    await world.sql.query(
      "insert into hunt_submissions (job_id, hunt_id, contacts, planned_at) values (gen_random_uuid(), $1, 5, now())",
      [id],
    );
    const ways: [string, string | null, number | null, number | null, number | null, number | null][] = [
      // status, code, sent, delivered, read, settled
      ["read", null, 1.5, 2.5, 3.5, 1.5],
      // The vendor's clock is late: it says delivered before it was sent.
      ["delivered", null, 2.5, 0.5, null, 2.5],
      ["failed", "twilio_30003", null, null, null, 1.5],
      ["skipped", "duplicate", null, null, null, 0],
      ["sent", null, 9.9, null, null, 9.9],
    ];
    for (const [status, code, sent, delivered, read, settled] of ways) {
      await world.sql.query(
        `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, content, status, code, created_at,
           sent_at, delivered_at, read_at, settled_at, attempts)
         values (gen_random_uuid(), $1, $2, gen_random_uuid(), 'sms', 'sms', '+33612345678', '{}', $3, $4, $5, $6, $7, $8, $9, 1)`,
        [accountId, id, status, code, at(0), at(sent), at(delivered), at(read), at(settled)],
      );
    }
    return id;
  }

  test("over time → each message is in one state at each moment, from its planning to its end", async () => {
    const id = await pastHunt();
    const { status, body } = await service.get(`/api/hunts/${id}/timeline?points=10`);
    expect(status).toBe(200);
    expect(body.points.map(({ counts }: Answer["body"]) => sum(counts))).toEqual(Array(10).fill(5));
    const shown = body.points.map(({ counts }: Answer["body"]) =>
      Object.fromEntries(Object.entries(counts).filter(([, n]) => n !== 0)),
    );
    expect(shown[0]).toEqual({ queued: 4, skipped: 1 });
    expect(shown[1]).toEqual({ queued: 2, sent: 1, failed: 1, skipped: 1 });
    expect(shown[2]).toEqual({ queued: 1, delivered: 2, failed: 1, skipped: 1 });
    expect(shown[3]).toEqual({ queued: 1, delivered: 1, read: 1, failed: 1, skipped: 1 });
    expect(shown[9]).toEqual({ sent: 1, delivered: 1, read: 1, failed: 1, skipped: 1 });
    expect(Date.parse(body.to) - Date.parse(body.from)).toBe(9.9 * STEP_MS);
    expect((await service.get("/api/hunts/none/timeline")).status).toBe(404);
  });

  test("one hunt → its counts and reasons; its messages of one reason → only those", async () => {
    const id = await pastHunt();
    const { body } = await service.get(`/api/hunts/${id}`);
    expect(body).toMatchObject({ huntId: id, state: "finished", total: 5, counts: { read: 1, failed: 1, queued: 0 } });
    expect(body.reasons).toEqual([
      { status: "skipped", reason: "duplicate", count: 1 },
      { status: "failed", reason: "twilio_30003", count: 1 },
    ]);
    const { body: page } = await service.get(`/api/hunt/${id}/messages?reason=duplicate`);
    expect(page.messages).toMatchObject([{ status: "skipped", reason: "duplicate" }]);
    expect((await service.get("/api/hunts/none")).status).toBe(404);
  });

  test("all hunts of an account → the newest first, each once over all pages, as its own status says", async () => {
    const accountId = await world.account();
    const made: string[] = [];
    for (let i = 0; i < 5; i++) {
      const hunt = await run(service, { accountId, contacts: [contact({ recipientPhone: phone(800 + i) })] });
      made.unshift(hunt.huntId);
    }
    const seen: Answer["body"][] = [];
    let cursor = "";
    do {
      const { body } = await service.get(`/api/hunts?accountId=${accountId}&limit=2${cursor && `&cursor=${cursor}`}`);
      seen.push(...body.hunts);
      cursor = body.nextCursor ?? "";
    } while (cursor !== "" && seen.length < 20);
    expect(seen.map((hunt) => hunt.huntId)).toEqual(made);
    const { byChannel: _, byVariant: __, counts, ...status } = await statusOf(service, seen[0].jobId);
    expect(seen[0]).toMatchObject(status);
    expect(sum(seen[0].counts)).toBe(sum(counts));
    expect((await service.get("/api/hunts?cursor=none")).status).toBe(400);
  });
});
