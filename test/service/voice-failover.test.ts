import { afterAll, beforeAll, expect, test } from "vitest";
import { PUBLIC_URL } from "../contract/voice-under-test.ts";
import { type FakeTwilioVoice, startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import { type FakeVoicePartner, startFakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { phone, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let twilio: FakeTwilioVoice;
let voicepartner: FakeVoicePartner;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  twilio = await startFakeTwilioVoice();
  voicepartner = await startFakeVoicePartner({ perMinute: 600 });
  service = await world.start({
    PUBLIC_URL,
    VOICE_PROVIDERS: "voicepartner,twilio-voice",
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_API_BASE_URL: twilio.url,
    TWILIO_VOICE_FROM: "+33987650000",
    TWILIO_VOICE_CALLS_PER_SECOND: "100",
    VOICEPARTNER_API_KEY: voicepartner.apiKey,
    VOICEPARTNER_EMAIL: "ops@example.com",
    VOICEPARTNER_API_BASE_URL: voicepartner.url,
    SMS_PROVIDER: "sandbox",
  });
  twilio.reach(PUBLIC_URL, service.url);
  voicepartner.reach(PUBLIC_URL, service.url);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
  await voicepartner[Symbol.asyncDispose]();
});

test("a text, which the first provider cannot speak, is carried by the next", async () => {
  const to = phone(1);
  const { body } = await service.post("/api/phone/ringless-voice", { recipientPhone: to, text: "Bonjour" });
  expect(await settles(service, body.messageId, "sent")).toMatchObject({ provider: "twilio-voice", attempts: 1 });
  expect([twilio.callsTo(to).length, voicepartner.campaignsTo(to).length]).toEqual([1, 0]);
});
