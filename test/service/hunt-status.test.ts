import { afterAll, beforeAll, expect, test } from "vitest";
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
