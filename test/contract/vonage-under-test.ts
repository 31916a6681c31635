import type { Provider } from "../../src/channels/provider.ts";
import type { SmsContent } from "../../src/channels/sms/content.ts";
import { vonageProvider } from "../../src/channels/sms/providers/vonage/vonage.provider.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { FakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { providerDeps } from "../helpers/provider-deps.ts";

type VonageValues = Parameters<typeof vonageProvider.create>[0];

/** The values of a complete Vonage group. */
export const VONAGE_VALUES: VonageValues = {
  VONAGE_API_KEY: FakeVonage.API_KEY,
  VONAGE_API_SECRET: FakeVonage.API_SECRET,
  VONAGE_FROM: "+33987650000",
  VONAGE_API_BASE_URL: "https://api.nexmo.com",
  VONAGE_TIMEOUT_MS: 15_000,
  SMS_RATE_MIN: 0.2,
  SMS_RATE_STEP: 0.2,
  SMS_RATE_CUT: 0.5,
};

/** The Vonage provider, through the official SDK, talking to `url`. */
export function vonageAt(
  url: string,
  values: Partial<VonageValues> = {},
  clock: Clock = systemClock,
  publicUrl?: string,
): Promise<Provider<SmsContent>> {
  return vonageProvider.create(
    { ...VONAGE_VALUES, VONAGE_API_BASE_URL: url, ...values },
    providerDeps({ clock, publicUrl }),
  );
}
