import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import { accept, ambiguous, refusal, scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

const REFUSED = phone(1);
const LOST = phone(2);
const UNDELIVERED = "+33612340005";

let world: World;
let service: TestService;
let provider: ScriptedProvider;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => {
    if (request.to === REFUSED) throw refusal();
    if (request.to === LOST) throw ambiguous();
    return accept(request, signal);
  });
  service = await world.start({}, { providers: { sms: provider } });
});
afterAll(() => world[Symbol.asyncDispose]());

async function creditOf(accountId: string, channel = "sms") {
  const select = "select balance::int, reserved::int, spent::int from credits where account_id = $1 and channel = $2";
  return (await world.sql.query(select, [accountId, channel])).rows[0];
}

async function metered(balance: number, channel = "sms"): Promise<string> {
  const accountId = await world.account();
  await world.credits(accountId, channel, balance);
  return accountId;
}

function contacts(count: number, first: number) {
  return Array.from({ length: count }, (_, i) => contact({ adId: `ad_${i}`, recipientPhone: phone(first + i) }));
}

test("credit for 3 of 5 contacts → the first 3 are sent, 2 are skipped for want of credit", async () => {
  const accountId = await metered(3);
  const { huntId } = await run(service, { accountId, contacts: contacts(5, 100) });
  expect((await messagesOf(service, huntId)).map(({ status, reason }) => reason ?? status)).toEqual([
    "sent",
    "sent",
    "sent",
    "no_credit",
    "no_credit",
  ]);
  expect(await creditOf(accountId)).toEqual({ balance: 0, reserved: 0, spent: 3 });
});

test("contacts that are skipped anyway → cost no credit", async () => {
  const accountId = await metered(2);
  const [a, b] = contacts(2, 110);
  const invalid = contact({ recipientPhone: "none" });
  const { huntId } = await run(service, { accountId, contacts: [invalid, a, { ...a, adId: "again" }, a, b] });
  expect((await messagesOf(service, huntId)).map(({ status, reason }) => reason ?? status)).toEqual([
    "invalid_number",
    "sent",
    "duplicate",
    "duplicate",
    "sent",
  ]);
  expect(await creditOf(accountId)).toEqual({ balance: 0, reserved: 0, spent: 2 });
});

test("credit for 700 of 1200 contacts in three chunks → exactly 700 are sent", async () => {
  const accountId = await metered(700);
  const { jobId } = await submit(service, { accountId, contacts: contacts(1200, 1000) });
  expect(await finished(service, jobId)).toMatchObject({ total: 1200, counts: { sent: 700, skipped: 500 } });
  expect(await creditOf(accountId)).toEqual({ balance: 0, reserved: 0, spent: 700 });
});

test("hunts of one account at the same time → never spend more than there is", async () => {
  const accountId = await metered(50);
  const hunts = await Promise.all(
    [3000, 3100, 3200].map((n) => submit(service, { accountId, contacts: contacts(40, n) })),
  );
  const ended = await Promise.all(hunts.map(({ jobId }) => finished(service, jobId)));
  expect(ended.reduce((sum, { counts }) => sum + counts.sent, 0)).toBe(50);
  expect(await creditOf(accountId)).toEqual({ balance: 0, reserved: 0, spent: 50 });
});

test("a message that waits → its credit is reserved, then spent when it is sent", async () => {
  const accountId = await metered(5);
  await world.queue("sms").pause();
  const { jobId } = await submit(service, { accountId, contacts: contacts(2, 200) });
  await expect.poll(() => creditOf(accountId)).toEqual({ balance: 3, reserved: 2, spent: 0 });
  await world.queue("sms").resume();
  await finished(service, jobId);
  expect(await creditOf(accountId)).toEqual({ balance: 3, reserved: 0, spent: 2 });
});

test("a message that is refused → its credit comes back", async () => {
  const accountId = await metered(5);
  await run(service, { accountId, contacts: [contact({ recipientPhone: REFUSED })] });
  expect(await creditOf(accountId)).toEqual({ balance: 5, reserved: 0, spent: 0 });
});

test("a message that is skipped only when its turn comes → its credit comes back", async () => {
  const accountId = await metered(5);
  await world.queue("sms").pause();
  const { jobId } = await submit(service, { accountId, contacts: contacts(1, 210) });
  await expect.poll(() => creditOf(accountId)).toEqual({ balance: 4, reserved: 1, spent: 0 });
  await world.sql.query("insert into suppressions (account_id, phone) values ($1, $2)", [accountId, phone(210)]);
  await world.queue("sms").resume();
  await finished(service, jobId);
  expect(await creditOf(accountId)).toEqual({ balance: 5, reserved: 0, spent: 0 });
});

test("a message of unknown fate → its credit stays reserved", async () => {
  const accountId = await metered(5);
  const { jobId } = await run(service, { accountId, contacts: [contact({ recipientPhone: LOST })] });
  expect(await finished(service, jobId)).toMatchObject({ counts: { unknown: 1 } });
  expect(await creditOf(accountId)).toEqual({ balance: 4, reserved: 1, spent: 0 });
});

test("a message that was accepted and then not delivered → its credit stays spent", async () => {
  const accountId = await metered(5, "whatsapp_text");
  const undelivered = contact({ recipientPhone: UNDELIVERED, channel: "whatsapp_text" });
  const { jobId } = await run(service, { accountId, contacts: [undelivered] });
  await expect.poll(async () => (await finished(service, jobId)).counts.failed).toBe(1);
  expect(await creditOf(accountId, "whatsapp_text")).toEqual({ balance: 5 - 1, reserved: 0, spent: 1 });
});

test("no credit row → the account is not metered; a row for one channel → only that one is", async () => {
  const accountId = await metered(0, "sms");
  const both = ["sms", "whatsapp_text"].map((channel) =>
    contact({ adId: channel, recipientPhone: phone(220), channel }),
  );
  const { huntId } = await run(service, { accountId, contacts: both });
  const reasons = Object.fromEntries((await messagesOf(service, huntId)).map(({ adId, reason }) => [adId, reason]));
  expect(reasons).toEqual({ sms: "no_credit", whatsapp_text: null });
  expect(await creditOf(accountId, "whatsapp_text")).toBeUndefined();
});

test("a contact that had no credit, submitted again when there is some → stays skipped, nothing is reserved", async () => {
  const accountId = await metered(0);
  const hunt = { huntId: `hunt_${accountId}`, accountId, contacts: contacts(1, 230) };
  await run(service, hunt);
  await world.sql.query("update credits set balance = 5 where account_id = $1", [accountId]);
  await run(service, hunt);
  expect((await messagesOf(service, hunt.huntId)).map(({ reason }) => reason)).toEqual(["no_credit"]);
  expect(await creditOf(accountId)).toEqual({ balance: 5, reserved: 0, spent: 0 });
});

test("a single send → is metered too", async () => {
  const accountId = await metered(1);
  const send = () => service.post("/api/phone/sms", { accountId, recipientPhone: phone(240), message: "Bonjour" });
  const first = await send();
  await settles(service, first.body.messageId, "sent");
  const second = await send();
  expect(await settles(service, second.body.messageId, "skipped")).toMatchObject({ reason: "no_credit" });
  expect(await creditOf(accountId)).toEqual({ balance: 0, reserved: 0, spent: 1 });
  expect(provider.callsTo(phone(240))).toBe(1);
});

test("a refused message that is tried again → is reserved anew; without credit → 409", async () => {
  const accountId = await metered(1);
  const { huntId } = await run(service, { accountId, contacts: [contact({ recipientPhone: REFUSED })] });
  const { messageId } = (await messagesOf(service, huntId))[0];
  expect(await service.post(`/api/jobs/sms/${messageId}/retry`, undefined)).toMatchObject({ status: 202 });
  await settles(service, messageId, "failed");
  expect(await creditOf(accountId)).toEqual({ balance: 1, reserved: 0, spent: 0 });
  await world.sql.query("update credits set balance = 0 where account_id = $1", [accountId]);
  const answer = await service.post(`/api/jobs/sms/${messageId}/retry`, undefined);
  expect(answer).toMatchObject({
    status: 409,
    body: { code: "not_retryable", detail: expect.stringContaining("credit") },
  });
});
