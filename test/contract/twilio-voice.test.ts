import { startFakeTwilioVoice } from "../fakes/twilio-voice/fake-twilio-voice.ts";
import type { TwilioAnswer } from "../fakes/twilio/fake-twilio.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { scriptedVendor, TO } from "./scripted-vendor.ts";
import { SHORT_TIMEOUT_MS } from "./twilio-under-test.ts";
import { TWILIO_VOICE_VALUES, twilioVoiceAt } from "./voice-under-test.ts";

const VENDOR = scriptedVendor<TwilioAnswer>({
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
});

async function startTwilioVoice(situation: Situation): Promise<ProviderUnderTest> {
  const fake = await startFakeTwilioVoice();
  const provider = await twilioVoiceAt(
    fake.url,
    VENDOR.hangs(situation) ? { TWILIO_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {},
  );
  return {
    provider,
    recipientFor: (situation) => VENDOR.arrange(fake, situation),
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

describeProvider("Twilio voice", VENDOR.situations, startTwilioVoice, {
  never: { fails_before_accepting: "Twilio accepts, refuses or limits a call; a fault of its own leaves it in doubt" },
});
