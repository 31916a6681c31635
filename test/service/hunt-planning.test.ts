import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone, run, settles, statusOf, submit } from "../helpers/hunts.ts";
import { scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider();
  service = await world.start({ WORKER_CONCURRENCY: "1" }, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

async function suppress(accountId: string | null, number: string): Promise<void> {
  await world.sql.query("insert into suppressions (account_id, phone) values ($1, $2)", [accountId, number]);
}

/** What became of each contact, in the order of the hunt. */
async function outcomes(hunt: string): Promise<string[]> {
  return (await messagesOf(service, hunt)).map(({ status, reason, code }) =>
    [status, reason ?? code].filter(Boolean).join(": "),
  );
}

test("the same adId on the same channel twice → the first is sent, the other skipped as duplicate", async () => {
  const [a, b] = [
    contact({ adId: "same", recipientPhone: phone(1) }),
    contact({ adId: "same", recipientPhone: phone(2) }),
  ];
  const { jobId, huntId: hunt } = await run(service, { accountId: await world.account(), contacts: [a, b, b] });
  expect(await outcomes(hunt)).toEqual(["sent", "skipped: duplicate", "skipped: duplicate"]);
  expect(await statusOf(service, jobId)).toMatchObject({ total: 3, counts: { sent: 1, skipped: 2 } });
  expect([provider.callsTo(phone(1)), provider.callsTo(phone(2))]).toEqual([1, 0]);
});

test("the same number for another adId → the first is sent, the other skipped as duplicate", async () => {
  const contacts = [contact({ recipientPhone: phone(3) }), contact({ recipientPhone: phone(3) })];
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  expect(await outcomes(hunt)).toEqual(["sent", "skipped: duplicate"]);
  expect(provider.callsTo(phone(3))).toBe(1);
});

test("one number in national, international and E.164 spelling → is called once", async () => {
  const contacts = ["06 12 00 00 47", "+33612000047", "0033 6 12 00 00 47", "+33 (0)6.12.00.00.47"].map(
    (recipientPhone) => contact({ recipientPhone }),
  );
  const { jobId, huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  expect(await outcomes(hunt)).toEqual(["sent", ...Array(3).fill("skipped: duplicate")]);
  expect(await statusOf(service, jobId)).toMatchObject({ total: 4, counts: { sent: 1, skipped: 3 } });
  expect(provider.callsTo("+33612000047")).toBe(1);
});

test("a number that comes again in a later submission of the hunt → skipped as duplicate", async () => {
  const hunt = { huntId: huntId(), accountId: await world.account() };
  await run(service, { ...hunt, contacts: [contact({ recipientPhone: phone(5) })] });
  await run(service, { ...hunt, contacts: [contact({ recipientPhone: phone(5) })] });
  expect(await outcomes(hunt.huntId)).toEqual(["sent", "skipped: duplicate"]);
  expect(provider.callsTo(phone(5))).toBe(1);
});

test("a number that comes again in another chunk of the hunt → skipped as duplicate", async () => {
  const contacts = Array.from({ length: 501 }, (_, i) =>
    contact({ adId: `ad_${i}`, recipientPhone: i % 500 ? "none" : phone(6) }),
  );
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  const both = (await messagesOf(service, hunt)).filter(({ recipientPhone }) => recipientPhone === phone(6));
  expect(both.map(({ status, reason }) => [status, reason]).toSorted()).toEqual([
    ["sent", null],
    ["skipped", "duplicate"],
  ]);
  expect(provider.callsTo(phone(6))).toBe(1);
});

test("the same person on two channels → is contacted on both", async () => {
  const contacts = ["sms", "whatsapp_text"].map((channel) =>
    contact({ adId: "both", recipientPhone: phone(7), channel }),
  );
  const { jobId } = await run(service, { accountId: await world.account(), contacts });
  await expect.poll(async () => (await statusOf(service, jobId)).counts).toMatchObject({ sent: 1, delivered: 1 });
});

test("an unusable number given twice → both are skipped for the number, not as duplicates", async () => {
  const contacts = [contact({ recipientPhone: "none" }), contact({ recipientPhone: "none" })];
  const { huntId: hunt } = await run(service, { accountId: await world.account(), contacts });
  expect(await outcomes(hunt)).toEqual(["skipped: invalid_number", "skipped: invalid_number"]);
});

test("a national number → is read with the account's country", async () => {
  const accountId = await world.account({ default_country: "US" });
  const { huntId: hunt } = await run(service, {
    accountId,
    contacts: [contact({ recipientPhone: "(415) 555-0199" }), contact({ recipientPhone: "0612345678" })],
  });
  expect(await outcomes(hunt)).toEqual(["sent", "skipped: invalid_number"]);
  expect(provider.callsTo("+14155550199")).toBe(1);
});

test("a number that the account, or everybody, must not contact → skipped as suppressed, never called", async () => {
  const accountId = await world.account();
  await suppress(accountId, phone(10));
  await suppress(null, phone(11));
  await suppress(await world.account(), phone(12));
  const contacts = [10, 11, 12].map((n) => contact({ recipientPhone: phone(n) }));
  const { huntId: hunt } = await run(service, { accountId, contacts });
  expect(await outcomes(hunt)).toEqual(["skipped: suppressed", "skipped: suppressed", "sent"]);
  expect([10, 11, 12].map((n) => provider.callsTo(phone(n)))).toEqual([0, 0, 1]);
});

test("a suppressed number → is skipped when the hunt is planned, without a job", async () => {
  const accountId = await world.account();
  await suppress(accountId, phone(15));
  await world.queue("sms").pause();
  const { jobId, huntId: hunt } = await run(service, { accountId, contacts: [contact({ recipientPhone: phone(15) })] });
  expect(await outcomes(hunt)).toEqual(["skipped: suppressed"]);
  await expect.poll(async () => (await service.get(`/api/jobs/hunt/${jobId}`)).body.result).toEqual({ queued: 0 });
  await world.queue("sms").resume();
});

test("a stop between planning and sending → skipped as suppressed, never called", async () => {
  const accountId = await world.account();
  await world.queue("sms").pause();
  const contacts = [contact({ recipientPhone: phone(20) }), contact({ recipientPhone: phone(21) })];
  const { jobId, huntId: hunt } = await submit(service, { accountId, contacts });
  await expect.poll(() => outcomes(hunt)).toEqual(["queued", "queued"]);
  await suppress(accountId, phone(20));
  await world.queue("sms").resume();
  await finished(service, jobId);
  expect(await outcomes(hunt)).toEqual(["skipped: suppressed", "sent"]);
  expect([provider.callsTo(phone(20)), provider.callsTo(phone(21))]).toEqual([0, 1]);
});

test("a hunt that has expired → is refused and makes none: mended, it is taken; once it has ended it takes nobody more", async () => {
  const body = {
    huntId: huntId(),
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(30) })],
  };
  const expiresAt = new Date(Date.now() - 1000).toISOString();
  const ended = {
    status: 400,
    body: { errors: [{ pointer: "/expiresAt", detail: expect.stringContaining("in the past") }] },
  };
  for (const path of ["/api/hunt/execute", "/api/hunt/preview"])
    expect(await service.post(path, { ...body, expiresAt, priority: "high" })).toMatchObject(ended);
  const headers = { "idempotency-key": body.huntId };
  const mended = await service.post("/api/hunt/execute", { ...body, priority: "low" }, headers);
  await finished(service, mended.body.jobId);
  expect(await outcomes(body.huntId)).toEqual(["sent"]);
  await world.sql.query("update hunts set expires_at = now() where id = $1", [body.huntId]);
  for (const path of ["/api/hunt/execute", "/api/hunt/preview"])
    expect(await service.post(path, body)).toMatchObject(ended);
  const again = await service.post("/api/hunt/execute", { ...body, priority: "low" }, headers);
  expect(again).toMatchObject({ status: 202, body: mended.body });
});

test("a hunt that expires while it waits → what is left is skipped as expired", async () => {
  await world.queue("sms").pause();
  const { jobId, huntId: hunt } = await submit(service, {
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(31) })],
  });
  await expect.poll(() => outcomes(hunt)).toEqual(["queued"]);
  await world.sql.query("update messages set expires_at = now() where hunt_id = $1", [hunt]);
  await world.queue("sms").resume();
  await finished(service, jobId);
  expect(await outcomes(hunt)).toEqual(["skipped: expired"]);
  expect(provider.callsTo(phone(31))).toBe(0);
});

test.each([
  "0000-01-01T00:00:00Z",
  "9999-12-31T23:59:59Z",
  "2031-01-01T00:00:00+23:59",
  "2031-01-01T00:00:00.123456789012Z",
])("the expiry %s → is accepted or refused as the caller's fault, never an error of ours", async (expiresAt) => {
  const hunt = {
    huntId: huntId(),
    accountId: await world.account(),
    expiresAt,
    contacts: [contact({ recipientPhone: phone(32) })],
  };
  expect([202, 400]).toContain((await service.post("/api/hunt/execute", hunt)).status);
});

test("a contact → has one lead, contacted only when something was sent", async () => {
  const accountId = await world.account();
  const contacts = [
    contact({ adId: "good", recipientPhone: phone(40) }),
    contact({ adId: "good", recipientPhone: phone(40), channel: "whatsapp_text" }),
    contact({ adId: "bad", recipientPhone: "none" }),
  ];
  await run(service, { accountId, contacts });
  await run(service, { accountId, contacts });
  const leads =
    "select ad_id, stage, contacted_at is not null as contacted from leads where account_id = $1 order by ad_id";
  expect((await world.sql.query(leads, [accountId])).rows).toEqual([
    { ad_id: "bad", stage: "new", contacted: false },
    { ad_id: "good", stage: "contacted", contacted: true },
  ]);
});

test("a small hunt after a big one → does not wait for its end", async () => {
  await world.queue("sms").pause();
  const accountId = await world.account();
  const big = await submit(service, {
    accountId,
    contacts: Array.from({ length: 300 }, (_, i) => contact({ adId: `ad_${i}`, recipientPhone: phone(1000 + i) })),
  });
  await expect.poll(async () => (await statusOf(service, big.jobId)).state).toBe("running");
  const small = await submit(service, {
    accountId,
    contacts: [0, 1, 2].map((n) => contact({ recipientPhone: phone(1500 + n) })),
  });
  await expect.poll(async () => (await statusOf(service, small.jobId)).state).toBe("running");
  const single = await service.post("/api/phone/sms", { recipientPhone: phone(1600), message: "Bonjour" });
  const before = provider.calls.length;
  await world.queue("sms").resume();
  await settles(service, single.body.messageId, "sent");
  await finished(service, big.jobId);
  const order = provider.calls.slice(before).map(({ to }) => to);
  expect(order).toHaveLength(304);
  // Before them what was in the queue already; with them, in turns, the big one's.
  const last = Math.max(...[1500, 1501, 1502, 1600].map((n) => order.indexOf(phone(n))));
  expect(last).toBeLessThan(30);
});

test("a chunk that the database refuses → told as an error, and planned once it takes it", async () => {
  await world.sql.query(`
    create function refuse() returns trigger language plpgsql as $$ begin raise check_violation; end $$;
    create trigger refusal before insert on messages for each row when (new.ad_id = 'refused') execute function refuse()`);
  const body = {
    accountId: await world.account(),
    contacts: [contact({ adId: "refused", recipientPhone: phone(901) }), contact({ recipientPhone: phone(902) })],
  };
  const { jobId } = await submit(service, body);
  await expect
    .poll(() => service.logs)
    .toContainEqual(expect.objectContaining({ level: 50, jobId: expect.stringContaining(jobId), msg: "job failed" }));
  await world.sql.query("drop trigger refusal on messages; drop function refuse");
  expect(await finished(service, jobId)).toMatchObject({ counts: { sent: 2 } });
});
