import { FakeVonage, type VonageAnswer, startFakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { APPLICATION_KEY } from "../fakes/vonage/application-key.ts";
import { type ProviderUnderTest, type Situation, describeProvider } from "./provider-contract.ts";
import { scriptedVendor, TO } from "./scripted-vendor.ts";
import { SHORT_TIMEOUT_MS } from "./twilio-under-test.ts";
import { VONAGE_VALUES, vonageAt } from "./vonage-under-test.ts";

const VENDOR = scriptedVendor<VonageAnswer>({
  accepts: { kind: "accept" },
  refuses_for_good: { kind: "error", status: 422, code: 1170, detail: `The number ${TO} is not valid.` },
  limits_rate: { kind: "error", status: 429, code: 1000 },
  fails_before_accepting: { kind: "error", status: 422, code: 1100, detail: `Failed: ${TO}` },
  never_answers: { kind: "hang" },
  times_out_unresolvably: { kind: "hang" },
  breaks_off_after_accepting: { kind: "reset", accept: true },
  times_out_after_accepting: { kind: "hang", accept: true },
});

const APPLICATION = {
  VONAGE_APPLICATION_ID: FakeVonage.APPLICATION_ID,
  VONAGE_PRIVATE_KEY: APPLICATION_KEY.private,
};

const start =
  (values: object) =>
  async (situation: Situation): Promise<ProviderUnderTest> => {
    const fake = await startFakeVonage();
    const provider = await vonageAt(fake.url, {
      ...values,
      ...(VENDOR.hangs(situation) ? { VONAGE_TIMEOUT_MS: SHORT_TIMEOUT_MS } : {}),
    });
    return {
      provider,
      recipientFor: (situation) => VENDOR.arrange(fake, situation),
      acceptedFor: (to) => fake.acceptedFor(to).length,
      secrets: [
        FakeVonage.API_SECRET,
        Buffer.from(`${FakeVonage.API_KEY}:${FakeVonage.API_SECRET}`).toString("base64"),
        APPLICATION_KEY.private.slice(100, 200),
        VONAGE_VALUES.VONAGE_FROM ?? "",
      ],
      async [Symbol.asyncDispose]() {
        await provider.close?.();
        await fake[Symbol.asyncDispose]();
      },
    };
  };

describeProvider("Vonage, by key and secret,", VENDOR.situations, start({}));
describeProvider("Vonage, by an application's token,", VENDOR.situations, start(APPLICATION));
