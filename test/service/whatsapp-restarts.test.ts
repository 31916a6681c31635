import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createSealer } from "../../src/channels/whatsapp/providers/baileys/sealed.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { phone as recipient, settles } from "../helpers/hunts.ts";
import { openWorld, type World } from "../helpers/service.ts";
import {
  ENCRYPTION_KEY,
  keysOf,
  openFakeWhatsApp,
  pairedAccount,
  sendText,
  sessionOf,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
});
afterAll(async () => {
  expect(fake.faults).toEqual([]);
  await fake.stop();
});
