import { afterAll, beforeAll, expect, test } from "vitest";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
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
