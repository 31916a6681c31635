import { z } from "zod";
import type { Fault } from "../../../../core/problem.ts";
import type { ProviderDefinition } from "../../../provider-definition.ts";
import { ACCOUNT_SID, accountEnv } from "../../../twilio/env.ts";
import { verifyAccount } from "../../../twilio/verify.ts";
import type { SmsContent } from "../../content.ts";
import { TwilioProvider } from "./client.ts";
import { paceOf, rateEnv, rateFaults } from "../rate.ts";
import { NAME } from "./errors.ts";
import { twilioWebhooks } from "./webhooks.ts";

const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN, TWILIO_API_BASE_URL, TWILIO_TIMEOUT_MS, TWILIO_VOICE_FROM } = accountEnv;

const env = {
  TWILIO_ACCOUNT_SID,
  TWILIO_AUTH_TOKEN,
  TWILIO_FROM: z
    .string()
    .optional()
    .describe("Twilio: the number (+33…), short code or name to send from. This or TWILIO_MESSAGING_SERVICE_SID."),
  TWILIO_MESSAGING_SERVICE_SID: z
    .string()
    .optional()
    .describe("Twilio: the messaging service to send with, MG and 32 hexadecimal digits. This or TWILIO_FROM."),
  TWILIO_API_BASE_URL,
  TWILIO_TIMEOUT_MS,
  TWILIO_VOICE_FROM,
  ...rateEnv,
};

type Env = typeof env;
type Values = z.output<z.ZodObject<Env>>;

const SERVICE_SID = /^MG[0-9a-f]{32}$/i;
/**
 * To countries other than the US and Canada, from a number or a name. Twilio takes more and sends it later, when it is too
 * late to stop it: https://support.twilio.com/hc/en-us/articles/115002943027
 */
const SMS_PER_SECOND = 10;
/** E.164, a short code, or a name of up to 11 characters with a letter in it: https://www.twilio.com/docs/api/errors/21212 */
const SENDER = /^(?:\+[1-9]\d{6,14}|\d{3,8}|(?=.*[A-Za-z])[A-Za-z0-9 +_&-]{1,11})$/;

/** Base URL and time-out alone ask for nothing: they only tune. An account may be there for calls alone. */
function configured(values: Values): "present" | "absent" | Fault[] {
  const { TWILIO_ACCOUNT_SID: sid, TWILIO_AUTH_TOKEN: token, TWILIO_FROM: from } = values;
  const service = values.TWILIO_MESSAGING_SERVICE_SID;
  if (!from && !service && ((!sid && !token) || values.TWILIO_VOICE_FROM)) return "absent";

  const faults: Fault[] = [];
  const fault = (pointer: keyof Env, detail: string) => faults.push({ pointer, detail });
  if (!sid)
    fault(
      "TWILIO_ACCOUNT_SID",
      "Missing: Twilio needs it beside the other TWILIO_ variables. It is on the console's front page.",
    );
  else if (sid.startsWith("SK"))
    fault("TWILIO_ACCOUNT_SID", "This is an API key; give the account's SID, which begins with AC.");
  else if (!ACCOUNT_SID.test(sid)) fault("TWILIO_ACCOUNT_SID", "Not an account SID: AC and 32 hexadecimal digits.");
  if (!token)
    fault(
      "TWILIO_AUTH_TOKEN",
      "Missing: Twilio needs it beside the other TWILIO_ variables. It is on the console's front page.",
    );
  if (!from && !service)
    fault("TWILIO_FROM", "Missing: give a sender here, or a service as TWILIO_MESSAGING_SERVICE_SID.");
  if (from && service)
    fault("TWILIO_FROM", "Given together with TWILIO_MESSAGING_SERVICE_SID; give only one of the two.");
  if (from && !SENDER.test(from))
    fault("TWILIO_FROM", "Not a sender: a number like +33612345678, a short code, or a name of up to 11 characters.");
  if (service && !SERVICE_SID.test(service)) {
    fault("TWILIO_MESSAGING_SERVICE_SID", "Not a messaging service SID: MG and 32 hexadecimal digits.");
  }
  faults.push(...rateFaults(values));
  return faults.length === 0 ? "present" : faults;
}

export const twilioProvider: ProviderDefinition<Env, SmsContent> = {
  name: NAME,
  env,
  configured,
  verify: verifyAccount,
  /** The SDK is loaded only here: its import takes some 90 ms that a worker without Twilio need not spend. */
  async create(values, { clock, publicUrl, inbound }) {
    const { default: sdk } = await import("twilio");
    const { TWILIO_MESSAGING_SERVICE_SID: service, TWILIO_FROM: from = "" } = values;
    const config = {
      accountSid: values.TWILIO_ACCOUNT_SID ?? "",
      authToken: values.TWILIO_AUTH_TOKEN ?? "",
      sender: service ? { messagingServiceSid: service } : { from },
      baseUrl: values.TWILIO_API_BASE_URL,
      timeoutMs: values.TWILIO_TIMEOUT_MS,
      publicUrl,
      pace: paceOf(values, SMS_PER_SECOND, (named) => named ?? service ?? from),
    };
    return new TwilioProvider(sdk, config, { clock, inbound });
  },
  async webhooks(values, deps) {
    const { default: sdk } = await import("twilio");
    const [authToken, accountSid] = [values.TWILIO_AUTH_TOKEN ?? "", values.TWILIO_ACCOUNT_SID ?? ""];
    return twilioWebhooks({ validate: sdk.validateRequest, authToken, accountSid }, deps);
  },
};
