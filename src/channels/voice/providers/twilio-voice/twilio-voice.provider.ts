import { z } from "zod";
import type { Fault } from "../../../../core/problem.ts";
import type { ProviderDefinition } from "../../../provider-definition.ts";
import { ACCOUNT_SID, accountEnv } from "../../../twilio/env.ts";
import { verifyAccount } from "../../../twilio/verify.ts";
import type { VoiceContent } from "../../content.ts";
import { createRecordingCheck } from "../../recording.ts";
import { TwilioVoiceProvider } from "./client.ts";
import { NAME } from "./errors.ts";
import { twilioTickets, twilioVoiceRoutes } from "./webhooks.ts";

const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_API_BASE_URL, TWILIO_TIMEOUT_MS, TWILIO_VOICE_FROM } = accountEnv;

const seconds = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);

const env = {
  TWILIO_ACCOUNT_SID,
  TWILIO_AUTH_TOKEN,
  TWILIO_API_BASE_URL,
  TWILIO_TIMEOUT_MS,
  TWILIO_VOICE_FROM,
  TWILIO_VOICE_NAME: z
    .string()
    .regex(/^[\w.-]{1,60}$/)
    .default("Polly.Lea")
    .describe("Twilio voice: who speaks a text, as in https://www.twilio.com/docs/voice/twiml/say/text-speech."),
  TWILIO_VOICE_LANGUAGE: z
    .string()
    .regex(/^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$/)
    .default("fr-FR")
    .describe("Twilio voice: the language that a text is spoken in; it has to fit TWILIO_VOICE_NAME."),
  TWILIO_VOICE_RING_SECONDS: seconds(5, 600)
    .default(60)
    .describe("Twilio voice: how long a phone may ring; voicemail has to pick up within."),
  TWILIO_VOICE_DETECTION_SECONDS: seconds(3, 59)
    .default(45)
    .describe("Twilio voice: how long the end of a greeting is waited for; a longer one is hung up on."),
  TWILIO_VOICE_CALL_SECONDS: seconds(30, 3_600)
    .default(300)
    .describe("Twilio voice: when a call is ended, whatever is being said."),
  TWILIO_VOICE_CALLS_PER_SECOND: z.coerce
    .number()
    .min(0.01)
    .max(1000)
    .default(1)
    .describe(
      "Twilio voice: calls a second from each number; 1 is what an account may make unless Twilio says otherwise.",
    ),
  PUBLIC_URL: z.string().optional().describe("Where Twilio asks what to do in a call."),
};

type Env = typeof env;
type Values = z.output<z.ZodObject<Env>>;

const NUMBER = /^\+[1-9]\d{6,14}$/;
const CONSOLE = "It is on the console's front page.";

/** The account alone asks for nothing: it may be there for SMS. The number to call from is what turns calls on. */
function configured(values: Values): "present" | "absent" | Fault[] {
  const { TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token, TWILIO_VOICE_FROM: from, PUBLIC_URL: publicUrl } = values;
  if (!from) return "absent";

  const faults: Fault[] = [];
  const fault = (pointer: keyof Env, detail: string) => faults.push({ pointer, detail });
  if (!sid) fault("TWILIO_ACCOUNT_SID", `Missing: TWILIO_VOICE_FROM needs the account that it belongs to. ${CONSOLE}`);
  else if (!ACCOUNT_SID.test(sid)) fault("TWILIO_ACCOUNT_SID", "Not an account SID: AC and 32 hexadecimal digits.");
  if (!token) fault("TWILIO_AUTH_TOKEN", `Missing: TWILIO_VOICE_FROM needs its account's token. ${CONSOLE}`);
  if (!NUMBER.test(from)) fault("TWILIO_VOICE_FROM", "Not a number to call from: give it like +33987654321.");
  if (!publicUrl) {
    fault("PUBLIC_URL", "Missing: during a call Twilio asks there what to do, so TWILIO_VOICE_FROM needs it.");
  }
  return faults.length === 0 ? "present" : faults;
}

export const twilioVoiceProvider: ProviderDefinition<Env, VoiceContent> = {
  name: NAME,
  env,
  configured,
  verify: verifyAccount,
  /** The SDK is loaded only here: its import takes some 90 ms that a worker without Twilio need not spend. */
  async create(values, { clock, fetchPolicy, publicUrl }) {
    const { default: sdk } = await import("twilio");
    const authToken = values.TWILIO_AUTH_TOKEN ?? "";
    const config = {
      accountSid: values.TWILIO_ACCOUNT_SID ?? "",
      authToken,
      from: values.TWILIO_VOICE_FROM ?? "",
      publicUrl: publicUrl ?? "",
      baseUrl: values.TWILIO_API_BASE_URL,
      timeoutMs: values.TWILIO_TIMEOUT_MS,
      ringSeconds: values.TWILIO_VOICE_RING_SECONDS,
      detectionSeconds: values.TWILIO_VOICE_DETECTION_SECONDS,
      callSeconds: values.TWILIO_VOICE_CALL_SECONDS,
      callsPerSecond: values.TWILIO_VOICE_CALLS_PER_SECOND,
    };
    return new TwilioVoiceProvider(sdk, config, {
      clock,
      tickets: twilioTickets(authToken, clock),
      checkRecording: createRecordingCheck({ provider: NAME, clock, policy: fetchPolicy }),
    });
  },
  async webhooks(values, deps) {
    const { default: sdk } = await import("twilio");
    const authToken = values.TWILIO_AUTH_TOKEN ?? "";
    return twilioVoiceRoutes(
      {
        authToken,
        voice: values.TWILIO_VOICE_NAME,
        language: values.TWILIO_VOICE_LANGUAGE,
        isTwilio: (signature, url, form) => sdk.validateRequest(authToken, signature, url, form),
      },
      deps,
    );
  },
};
