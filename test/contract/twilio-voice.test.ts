import { type FakeTwilioVoice, startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import type { TwilioAnswer } from "../fakes/twilio/fake-twilio.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { SHORT_TIMEOUT_MS } from "./twilio-under-test.ts";
import { TWILIO_VOICE_VALUES, twilioVoiceAt } from "./voice-under-test.ts";

const TO = "+33612348899";

const ANSWERS = {
  accepts: { kind: "accept" },
  refuses_for_good: {
    kind: "error",
    status: 400,
    code: 21211,
    message: `The phone number you are attempting to call, ${TO}, is not valid.`,
  },
  limits_rate: { kind: "error", status: 429, code: 20429 },
  never_answers: { kind: "hang" },
  times_out_unresolvably: { kind: "hang" },
  breaks_off_after_accepting: { kind: "reset", accept: true },
  times_out_after_accepting: { kind: "hang", accept: true },
} satisfies Partial<Record<Situation, TwilioAnswer>>;

async function arrange(fake: FakeTwilioVoice, situation: Situation): Promise<string> {
  if (situation === "is_unreachable") await fake[Symbol.asyncDispose]();
  else fake.script(TO, ANSWERS[situation as keyof typeof ANSWERS]);
  return TO;
}

async function startTwilioVoice(situation: Situation): Promise<ProviderUnderTest> {
  const fake = await startFakeTwilioVoice();
  const hangs = situation in ANSWERS && ANSWERS[situation as keyof typeof ANSWERS].kind === "hang";
  const provider = await twilioVoiceAt(fake.url, hangs ? { TWILIO_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {});
  return {
    provider,
    recipientFor: (situation) => arrange(fake, situation),
    acceptedFor: (to) => fake.callsTo(to).length,
    secrets: [
      fake.authToken,
      Buffer.from(`${fake.accountSid}:${fake.authToken}`).toString("base64"),
      TWILIO_VOICE_VALUES.TWILIO_VOICE_FROM ?? "",
    ],
    async [Symbol.asyncDispose]() {
      await provider.close?.();
      await fake[Symbol.asyncDispose]();
    },
  };
}

describeProvider("Twilio voice", ["is_unreachable", ...(Object.keys(ANSWERS) as Situation[])], startTwilioVoice, {
  never: { fails_before_accepting: "Twilio accepts, refuses or limits a call; a fault of its own leaves it in doubt" },
});
