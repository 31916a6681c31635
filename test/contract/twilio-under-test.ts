import type { Provider } from "../../src/channels/provider.ts";
import { twilioProvider } from "../../src/channels/sms/providers/twilio/twilio.provider.ts";
import type { TextContent } from "../../src/channels/text.ts";
import { type Clock, systemClock } from "../../src/core/clock.ts";
import { FakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { providerDeps } from "../helpers/provider-deps.ts";

type TwilioValues = Parameters<typeof twilioProvider.create>[0];

/** The values of a complete Twilio group. */
export const TWILIO_VALUES: TwilioValues = {
  TWILIO_ACCOUNT_SID: FakeTwilio.ACCOUNT_SID,
  TWILIO_AUTH_TOKEN: FakeTwilio.AUTH_TOKEN,
  TWILIO_FROM: "+33987650000",
  TWILIO_API_BASE_URL: "https://api.twilio.com",
  TWILIO_TIMEOUT_MS: 15_000,
  SMS_RATE_MIN: 0.2,
  SMS_RATE_STEP: 0.2,
  SMS_RATE_CUT: 0.5,
};

/** For the situations in which a test waits for the time-out: far below what the schema allows. */
export const SHORT_TIMEOUT_MS = 1000;

/** The Twilio provider, through the official SDK, talking to `url`. */
export function twilioAt(
  url: string,
  values: Partial<TwilioValues> = {},
  clock: Clock = systemClock,
): Promise<Provider<TextContent>> {
  return twilioProvider.create({ ...TWILIO_VALUES, TWILIO_API_BASE_URL: url, ...values }, providerDeps({ clock }));
}
