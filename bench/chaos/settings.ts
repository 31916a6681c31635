import { FakeTwilio } from "../../test/fakes/twilio/fake-twilio.ts";
import { FakeVoicePartner } from "../../test/fakes/voicepartner/fake-voicepartner.ts";
import { FakeVonage } from "../../test/fakes/vonage/fake-vonage.ts";
import { PUBLIC_URL } from "./vendors/postman.ts";
import { ENVIRONMENT as WHATSAPP } from "./whatsapp.ts";

export const SHUTDOWN_TIMEOUT_MS = 4000;
/** The longest that one `send` takes, whoever carries it. */
export const LONGEST_SEND_MS = 2500;
/** For how long an attempt is its worker's: START_BUDGET_MS and the margin of src/workers/attempt.ts around it. */
export const HOLD_MS = 4000 + LONGEST_SEND_MS + 1000;

const REQUEST_TIMEOUT_MS = "1500";

/** Quick to find out, and quick to come back; and every vendor with somebody to fall back on. */
export const SETTINGS: Readonly<Record<string, string>> = {
  NODE_ENV: "production",
  // It runs at night, too.
  DEFAULT_POLICY: "none",
  HOST: "127.0.0.1",
  PUBLIC_URL,
  DATABASE_TIMEOUT_MS: "3000",
  JOB_BACKOFF_MS: "300",
  WORKER_CONCURRENCY: "30",
  LOCK_MS: "2000",
  STALLED_CHECK_MS: "500",
  SWEEP_MS: "1000",
  SHUTDOWN_TIMEOUT_MS: String(SHUTDOWN_TIMEOUT_MS),
  CHAOS_LONGEST_SEND_MS: String(LONGEST_SEND_MS),
  PROVIDER_PROBE_MS: "1000",
  WEBHOOK_TIMEOUT_MS: REQUEST_TIMEOUT_MS,
  WEBHOOK_BACKOFF_MS: "300",
  SMS_RATE_MAX: "1000",
  TWILIO_VOICE_CALLS_PER_SECOND: "1000",
  SMS_PROVIDERS: "twilio,vonage",
  SMS_PROVIDERS_BE: "vonage,twilio",
  VOICE_PROVIDERS: "twilio-voice,voicepartner",
  VOICE_PROVIDERS_BE: "voicepartner,twilio-voice",
  TWILIO_ACCOUNT_SID: FakeTwilio.ACCOUNT_SID,
  TWILIO_AUTH_TOKEN: FakeTwilio.AUTH_TOKEN,
  TWILIO_FROM: "+33987650000",
  TWILIO_VOICE_FROM: "+33987650000",
  TWILIO_TIMEOUT_MS: REQUEST_TIMEOUT_MS,
  VONAGE_API_KEY: FakeVonage.API_KEY,
  VONAGE_API_SECRET: FakeVonage.API_SECRET,
  VONAGE_SIGNATURE_SECRET: FakeVonage.SIGNATURE_SECRET,
  VONAGE_FROM: "+33987650000",
  VONAGE_TIMEOUT_MS: REQUEST_TIMEOUT_MS,
  VOICEPARTNER_API_KEY: FakeVoicePartner.API_KEY,
  VOICEPARTNER_EMAIL: "bilan@example.com",
  // It asks for its recordings before it sends.
  VOICEPARTNER_TIMEOUT_MS: "1000",
  VOICEPARTNER_REQUESTS_PER_MINUTE: "600",
  ...WHATSAPP,
  WHATSAPP_TIMEOUT_MS: "2000",
  WHATSAPP_ACK_TIMEOUT_MS: "1000",
  WHATSAPP_LEASE_MS: "3000",
};
