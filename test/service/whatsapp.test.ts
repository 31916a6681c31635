import { afterAll, beforeAll, expect, test } from "vitest";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { messageOf, messagesOf, phone, run, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import { openFakeWhatsApp, pairedAccount, whatsappEnvironment } from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
let service: TestService;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  service = await world.start(whatsappEnvironment(fake));
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

test("a number is paired by QR code → a text leaves from it and is delivered", async () => {
  const { accountId, phone: sender } = await pairedAccount(world, service, fake);
  const to = phone(1);
  const { status, body } = await service.post("/api/whatsapp/text", {
    accountId,
    recipientPhone: to,
    message: "Bonjour",
  });
  expect(status).toBe(202);
  await settles(service, body.messageId, "delivered");
  expect(fake.messages.filter((message) => message.to === to)).toEqual([
    expect.objectContaining({ from: sender, text: "Bonjour", relays: 1 }),
  ]);
  expect((await messageOf(service, body.messageId)).provider).toBe("baileys");
  expect(fake.faults).toEqual([]);
});

test("a contact who is not on WhatsApp, with SMS next in line → skipped on one, sent on the other, both visible", async () => {
  const { accountId } = await pairedAccount(world, service, fake);
  await world.credits(accountId, "whatsapp_text", 5);
  await world.credits(accountId, "sms", 5);
  const [there, absent] = [phone(11), phone(12)];
  fake.notOnWhatsApp(absent);
  const channels = ["whatsapp_text", "sms"];
  const contacts = [there, absent].map((recipientPhone, i) => ({
    adId: `ad-${i}`,
    recipientPhone,
    channels,
    message: "Bonjour",
  }));
  const { huntId } = await run(service, { accountId, contacts });
  await expect
    .poll(async () =>
      (await messagesOf(service, huntId)).map(({ adId, channel, status, reason }) => [adId, channel, status, reason]),
    )
    .toEqual([
      ["ad-0", "whatsapp_text", "delivered", null],
      ["ad-1", "whatsapp_text", "skipped", "not_on_whatsapp"],
      ["ad-1", "sms", "delivered", null],
    ]);
  const { rows } = await world.sql.query(
    "select channel, balance, reserved, spent from credits where account_id = $1 order by channel",
    [accountId],
  );
  expect(rows).toEqual([
    { channel: "sms", balance: "4", reserved: "0", spent: "1" },
    { channel: "whatsapp_text", balance: "4", reserved: "0", spent: "1" },
  ]);
});

test("channels in order, the first of which is off → the contact is sent over the next, and not skipped", async () => {
  // Of its own: another service on the same queues would plan for it.
  await using alone = await openWorld();
  const accountId = await alone.account();
  const other = await alone.start({ NODE_ENV: "production", SMS_PROVIDER: "sandbox", DEFAULT_POLICY: "none" });
  const { huntId } = await run(other, {
    accountId,
    contacts: [{ adId: "ad", recipientPhone: phone(13), channels: ["ringless_voice", "sms"], message: "Bonjour" }],
  });
  expect(await messagesOf(other, huntId)).toMatchObject([
    { channel: "sms", status: expect.stringMatching(/^(sent|delivered)$/) },
  ]);
});
