import { type TwilioAnswer, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { scriptedVendor, TO } from "./scripted-vendor.ts";
import { SHORT_TIMEOUT_MS, TWILIO_VALUES, twilioAt } from "./twilio-under-test.ts";

const VENDOR = scriptedVendor<TwilioAnswer>({
  accepts: { kind: "accept" },
  refuses_for_good: {
    kind: "error",
    status: 400,
    code: 21211,
    message: `The 'To' number ${TO} is not a valid phone number.`,
  },
  limits_rate: { kind: "error", status: 429, code: 20429 },
  fails_before_accepting: { kind: "error", status: 400, code: 30500, message: `Failed: ${TO}` },
  never_answers: { kind: "hang" },
  times_out_unresolvably: { kind: "hang" },
  breaks_off_after_accepting: { kind: "reset", accept: true },
  times_out_after_accepting: { kind: "hang", accept: true },
});

async function startTwilio(situation: Situation): Promise<ProviderUnderTest> {
  const fake = await startFakeTwilio();
  const provider = await twilioAt(fake.url, VENDOR.hangs(situation) ? { TWILIO_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {});
  return {
    provider,
    recipientFor: (situation) => VENDOR.arrange(fake, situation),
    acceptedFor: (to) => fake.acceptedFor(to).length,
    secrets: [
      fake.authToken,
      Buffer.from(`${fake.accountSid}:${fake.authToken}`).toString("base64"),
      TWILIO_VALUES.TWILIO_FROM ?? "",
    ],
    async [Symbol.asyncDispose]() {
      await provider.close?.();
      await fake[Symbol.asyncDispose]();
    },
  };
}

describeProvider("Twilio", VENDOR.situations, startTwilio);
