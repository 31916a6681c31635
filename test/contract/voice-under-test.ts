import type { Provider } from "../../src/channels/provider.ts";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import type { VoiceContent } from "../../src/channels/voice/content.ts";
import { twilioVoiceProvider } from "../../src/channels/voice/providers/twilio-voice/twilio-voice.provider.ts";
import { voicePartnerProvider } from "../../src/channels/voice/providers/voicepartner/voicepartner.provider.ts";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { FakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { FakeVoicePartner } from "../fakes/voicepartner/fake-voicepartner.ts";
import { providerDeps } from "../helpers/provider-deps.ts";

type TwilioVoiceValues = Parameters<typeof twilioVoiceProvider.create>[0];
type VoicePartnerValues = Parameters<typeof voicePartnerProvider.create>[0];

export const PUBLIC_URL = "https://worker.example.com";

/** The values of a complete group. */
export const TWILIO_VOICE_VALUES: TwilioVoiceValues = {
  TWILIO_ACCOUNT_SID: FakeTwilio.ACCOUNT_SID,
  TWILIO_AUTH_TOKEN: FakeTwilio.AUTH_TOKEN,
  TWILIO_API_BASE_URL: "https://api.twilio.com",
  TWILIO_TIMEOUT_MS: 15_000,
  TWILIO_VOICE_FROM: "+33987650000",
  TWILIO_VOICE_NAME: "Polly.Lea",
  TWILIO_VOICE_LANGUAGE: "fr-FR",
  TWILIO_VOICE_RING_SECONDS: 60,
  TWILIO_VOICE_DETECTION_SECONDS: 45,
  TWILIO_VOICE_CALL_SECONDS: 300,
  TWILIO_VOICE_CALLS_PER_SECOND: 1,
  PUBLIC_URL,
};

export const VOICEPARTNER_VALUES: VoicePartnerValues = {
  VOICEPARTNER_API_KEY: FakeVoicePartner.API_KEY,
  VOICEPARTNER_EMAIL: "ops@example.com",
  VOICEPARTNER_SENDER: "+33698765432",
  VOICEPARTNER_API_BASE_URL: "https://api.voicepartner.fr/v1",
  VOICEPARTNER_TIMEOUT_MS: 15_000,
  VOICEPARTNER_REQUESTS_PER_MINUTE: 5,
};

const deps = (given: Partial<ProviderDeps>): ProviderDeps =>
  providerDeps({ publicUrl: PUBLIC_URL, fetchPolicy: LOOPBACK, ...given });

export function twilioVoiceAt(
  url: string,
  values: Partial<TwilioVoiceValues> = {},
  given: Partial<ProviderDeps> = {},
): Promise<Provider<VoiceContent>> {
  return twilioVoiceProvider.create({ ...TWILIO_VOICE_VALUES, TWILIO_API_BASE_URL: url, ...values }, deps(given));
}

export function voicePartnerAt(
  url: string,
  values: Partial<VoicePartnerValues> = {},
  given: Partial<ProviderDeps> = {},
): Promise<Provider<VoiceContent>> {
  return voicePartnerProvider.create(
    { ...VOICEPARTNER_VALUES, VOICEPARTNER_API_BASE_URL: url, ...values },
    deps(given),
  );
}
