import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import type { SendRequest } from "../../src/channels/provider.ts";
import { messageOf, messagesOf, phone, run, settles } from "../helpers/hunts.ts";
import {
  accept,
  ambiguous,
  channelsWithSms,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
let inbound: ProviderDeps["inbound"];
let script: Script = accept;

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => script(request, signal));
  const channels = channelsWithSms((port) => {
    inbound = port;
    return provider;
  });
  service = await world.start({}, {}, channels);
});
afterAll(() => world[Symbol.asyncDispose]());

let last = 0;

const report = (
  { attemptId }: Pick<SendRequest, "attemptId">,
  status: "delivered" | "read" | "failed",
  code?: string,
): void =>
  void inbound.receipt({
    provider: "scripted",
    providerMessageId: `scripted:${attemptId}`,
    status,
    at: Date.now(),
    ...(code === undefined ? {} : { code }),
  });

/** Sends one message and answers its id with the call that the provider got. */
async function send(during: Script = accept, extra: object = {}): Promise<{ messageId: string; call: SendRequest }> {
  script = during;
  const to = phone((last += 1));
  const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour", ...extra });
  await expect.poll(async () => (await messageOf(service, body.messageId)).status).not.toMatch(/queued|sending/);
  const call = provider.calls.find((each) => each.to === to);
  return { messageId: body.messageId, call: call as SendRequest };
}

/** All receipts that were given before this are in the ledger once it resolves: they are written in order. */
async function receiptsRecorded(): Promise<void> {
  const { messageId, call } = await send();
  report(call, "delivered");
  await settles(service, messageId, "delivered");
}

async function eventsOf(messageId: string): Promise<string[]> {
  const { rows } = await world.sql.query("select kind from message_events where message_id = $1 order by id", [
    messageId,
  ]);
  return rows.map(({ kind }) => kind);
}

test("a receipt that comes before send has resolved → is kept and merged: delivered", async () => {
  const { messageId } = await send(async (request, signal) => {
    report(request, "delivered");
    const early = "select 1 from pending_receipts where provider_message_id = $1";
    await expect.poll(async () => (await world.sql.query(early, [`scripted:${request.attemptId}`])).rowCount).toBe(1);
    return accept(request, signal);
  });
  expect(await settles(service, messageId, "delivered")).toMatchObject({
    sentAt: expect.any(String),
    deliveredAt: expect.any(String),
  });
  expect((await world.sql.query("select 1 from pending_receipts")).rowCount).toBe(0);
});

test("read before send has resolved, delivered after it → read, with both times", async () => {
  const { messageId, call } = await send(async (request, signal) => {
    report(request, "read");
    return accept(request, signal);
  });
  expect(await settles(service, messageId, "read")).toMatchObject({
    deliveredAt: expect.any(String),
    readAt: expect.any(String),
  });
  report(call, "delivered");
  await receiptsRecorded();
  expect((await messageOf(service, messageId)).status).toBe("read");
});

test("delivered, then read → each once, in order", async () => {
  const { messageId, call } = await send();
  report(call, "delivered");
  await settles(service, messageId, "delivered");
  report(call, "read");
  const message = await settles(service, messageId, "read");
  expect(Date.parse(message.deliveredAt)).toBeLessThanOrEqual(Date.parse(message.readAt));
  expect(await eventsOf(messageId)).toEqual(["sent", "delivered", "read"]);
});

test("the same receipt many times → changes nothing after the first", async () => {
  const { messageId, call } = await send();
  for (let i = 0; i < 5; i++) report(call, "delivered");
  await receiptsRecorded();
  for (let i = 0; i < 5; i++) report(call, "delivered");
  await receiptsRecorded();
  expect((await messageOf(service, messageId)).status).toBe("delivered");
  expect(await eventsOf(messageId)).toEqual(["sent", "delivered"]);
});

test.each([
  ["delivered", "failed"],
  ["read", "failed"],
  ["read", "delivered"],
  ["failed", "delivered"],
  ["failed", "read"],
] as const)("%s, and %s comes late → stays what it was", async (first, late) => {
  const { messageId, call } = await send();
  report(call, first, "carrier_said_no");
  await settles(service, messageId, first);
  report(call, late, "too_late");
  await receiptsRecorded();
  expect(await messageOf(service, messageId)).toMatchObject({
    status: first,
    code: first === "failed" ? "carrier_said_no" : null,
  });
});

test("a failed receipt → failed with its code, and not to be tried again", async () => {
  const { messageId, call } = await send();
  report(call, "failed", "landline");
  expect(await settles(service, messageId, "failed")).toMatchObject({ code: "landline", detail: expect.any(String) });
  expect(await service.post(`/api/jobs/sms/${messageId}/retry`, undefined)).toMatchObject({
    status: 409,
    body: { code: "not_retryable" },
  });
});

test("a receipt for a message that nobody knows → is kept, and harms no other in its batch", async () => {
  report({ attemptId: randomUUID() }, "delivered");
  const { messageId, call } = await send();
  report(call, "delivered");
  await settles(service, messageId, "delivered");
  expect((await world.sql.query("select 1 from pending_receipts")).rowCount).toBe(1);
});

test("a receipt that the database cannot store → harms no other in its batch, and is logged", async () => {
  const { messageId, call } = await send();
  void inbound.receipt({ provider: "scripted", providerMessageId: "a\0b", status: "delivered", at: Date.now() });
  void inbound.receipt({
    provider: "scripted",
    providerMessageId: "ok",
    status: "failed",
    code: "\ud83d",
    at: Date.now(),
  });
  report(call, "delivered");
  await settles(service, messageId, "delivered");
  await expect.poll(() => service.logs.filter(({ msg }) => msg === "could not record a receipt")).toHaveLength(2);
});

test.each([
  ["not a number", Number.NaN],
  ["beyond all dates", 1e20],
])("a receipt whose time is %s → does not bring the service down", async (_, at) => {
  const { messageId, call } = await send();
  expect(
    () => void inbound.receipt({ provider: "scripted", providerMessageId: "x", status: "delivered", at }),
  ).not.toThrow();
  report(call, "delivered");
  await settles(service, messageId, "delivered");
});

test("a receipt for an attempt of unknown fate, once its id is known → is merged", async () => {
  const { messageId, call } = await send(() => {
    throw ambiguous();
  });
  expect((await messageOf(service, messageId)).status).toBe("unknown");
  report(call, "delivered");
  await receiptsRecorded();
  // The provider cannot be asked here, so the ledger does not know the id: the receipt waits, nothing is sent again.
  expect((await messageOf(service, messageId)).status).toBe("unknown");
  expect(provider.callsTo(call.to)).toBe(1);
});

async function leadOf(accountId: string, adId: string) {
  const select = "select stage, replied_at is not null as replied from leads where account_id = $1 and ad_id = $2";
  return (await world.sql.query(select, [accountId, adId])).rows[0];
}

async function contacted(adId: string): Promise<{ accountId: string; to: string; huntId: string; call: SendRequest }> {
  script = accept;
  const accountId = await world.account();
  const to = phone((last += 1));
  const { huntId } = await run(service, { accountId, contacts: [contact({ adId, recipientPhone: to })] });
  return { accountId, to, huntId, call: provider.calls.find((call) => call.to === to) as SendRequest };
}

test("a reply → the lead has replied, the number may still be contacted", async () => {
  const { accountId, to, call } = await contacted("talker");
  void inbound.reply({
    provider: "scripted",
    providerMessageId: `scripted:${call.attemptId}`,
    from: to,
    text: "Oui, encore libre",
    at: Date.now(),
  });
  await expect.poll(() => leadOf(accountId, "talker")).toEqual({ stage: "replied", replied: true });
  await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  expect(provider.callsTo(to)).toBe(2);
});

test.each(["STOP", " stop. ", "Désabonner", "STOP SMS", "Stop 36111"])(
  "the reply %j → never contacted again by that account, the lead has replied",
  async (text) => {
    const { accountId, to } = await contacted("leaver");
    void inbound.reply({ provider: "scripted", from: to, text, at: Date.now() });
    await expect.poll(() => leadOf(accountId, "leaver")).toEqual({ stage: "replied", replied: true });
    const channels = ["sms", "whatsapp_text", "ringless_voice"];
    const contacts = channels.map((channel) => contact({ adId: channel, recipientPhone: to, channel }));
    const { huntId } = await run(service, { accountId, contacts });
    expect((await messagesOf(service, huntId)).map(({ reason }) => reason)).toEqual([
      "suppressed",
      "suppressed",
      "suppressed",
    ]);
    const other = await run(service, { accountId: await world.account(), contacts: [contact({ recipientPhone: to })] });
    expect((await messagesOf(service, other.huntId))[0].status).toBe("sent");
  },
);

test("a STOP from somebody whom nobody has written to → is kept for every account", async () => {
  const stranger = phone((last += 1));
  void inbound.reply({ provider: "scripted", from: stranger, text: "STOP", at: Date.now() });
  const kept = "select account_id, reason from suppressions where phone = $1";
  await expect
    .poll(async () => (await world.sql.query(kept, [stranger])).rows)
    .toEqual([{ account_id: null, reason: "stop" }]);
});

test("a lead that the web app has moved on → a reply does not move it back", async () => {
  const { accountId, to } = await contacted("winner");
  await world.sql.query("update leads set stage = 'won' where account_id = $1", [accountId]);
  void inbound.reply({ provider: "scripted", from: to, text: "Merci", at: Date.now() });
  await expect.poll(() => leadOf(accountId, "winner")).toEqual({ stage: "won", replied: true });
});

test("all of this → neither number nor text stands in the log", async () => {
  const log = JSON.stringify(service.logs);
  for (const text of ["Bonjour", "encore libre", phone(1), phone(last)]) expect(log).not.toContain(text);
});
