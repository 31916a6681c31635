import { createPrivateKey } from "node:crypto";
import { z } from "zod";
import type { Fault } from "../../../../core/problem.ts";
import type { ProviderDefinition } from "../../../provider-definition.ts";
import { verifyByAsking } from "../../../providers/verify.ts";
import type { SmsContent } from "../../content.ts";
import { VonageProvider } from "./client.ts";
import { paceOf, rateEnv, rateFaults } from "../rate.ts";
import { NAME } from "./errors.ts";
import { vonageWebhooks } from "./webhooks.ts";

const env = {
  VONAGE_API_KEY: z.string().optional().describe("Vonage: the account's API key, eight characters."),
  VONAGE_API_SECRET: z
    .string()
    .optional()
    .describe(
      "Vonage: the account's API secret. Wanted beside an application too, because Reports takes nothing else.",
    ),
  VONAGE_APPLICATION_ID: z
    .string()
    .optional()
    .describe("Vonage: the application to send with, a UUID; with VONAGE_PRIVATE_KEY, or neither."),
  VONAGE_PRIVATE_KEY: z
    .string()
    .optional()
    .describe("Vonage: the application's private key in PEM; line breaks may be written as \\n."),
  VONAGE_FROM: z.string().optional().describe("Vonage: the number (+33…), short code or name to send from."),
  VONAGE_SIGNATURE_SECRET: z
    .string()
    .optional()
    .describe("Vonage: the account's signature secret, which its webhooks are signed with; without it none is taken."),
  VONAGE_API_BASE_URL: z
    .url({ protocol: /^https?$/ })
    .default("https://api.nexmo.com")
    .describe("Vonage: where its API is reached, for a region, a proxy or a test double."),
  VONAGE_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(120_000)
    .default(15_000)
    .describe("Vonage: the longest that one request may take, milliseconds."),
  ...rateEnv,
};

type Env = typeof env;
type Values = z.output<z.ZodObject<Env>>;

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
/** E.164, a short code, or a name of up to 11 characters. */
const SENDER = /^(?:\+[1-9]\d{6,14}|\d{3,15}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11})$/;
/** Of an API key: https://api.support.vonage.com/hc/en-us/articles/203993598 */
const SMS_PER_SECOND = 30;
const BESIDE = "Missing: Vonage needs it beside the other VONAGE_ variables.";

/** Base URL and time-out alone ask for nothing: they only tune. */
function configured(values: Values): "present" | "absent" | Fault[] {
  const { VONAGE_API_KEY: key, VONAGE_API_SECRET: secret, VONAGE_FROM: from } = values;
  const {
    VONAGE_APPLICATION_ID: application,
    VONAGE_PRIVATE_KEY: privateKey,
    VONAGE_SIGNATURE_SECRET: signature,
  } = values;
  if (!key && !secret && !from && !application && !privateKey && !signature) return "absent";

  const faults: Fault[] = [];
  const fault = (pointer: keyof Env, detail: string) => faults.push({ pointer, detail });
  if (!key) fault("VONAGE_API_KEY", `${BESIDE} It is on the dashboard's front page.`);
  if (!secret) fault("VONAGE_API_SECRET", `${BESIDE} It is on the dashboard's front page.`);
  if (!from) fault("VONAGE_FROM", `${BESIDE} Give the sender.`);
  else if (!SENDER.test(from))
    fault("VONAGE_FROM", "Not a sender: a number like +33612345678, a short code, or a name of up to 11 characters.");
  if (privateKey && !application) fault("VONAGE_APPLICATION_ID", "Missing: VONAGE_PRIVATE_KEY is an application's.");
  if (application && !privateKey) fault("VONAGE_PRIVATE_KEY", "Missing: an application signs with its private key.");
  if (application && !UUID.test(application)) fault("VONAGE_APPLICATION_ID", "Not an application's id: a UUID.");
  if (privateKey && !isPrivateKey(pemOf(privateKey)))
    fault("VONAGE_PRIVATE_KEY", "Not a private key in PEM: it begins with -----BEGIN PRIVATE KEY-----.");
  faults.push(...rateFaults(values));
  return faults.length === 0 ? "present" : faults;
}

const pemOf = (value: string): string => value.replaceAll(String.raw`\n`, "\n");

function isPrivateKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === "rsa";
  } catch {
    return false;
  }
}

export const vonageProvider: ProviderDefinition<Env, SmsContent> = {
  name: NAME,
  env,
  configured,
  /** Lists the ids of the account's secrets: https://developer.vonage.com/en/api/account#retrieveAPISecrets */
  verify({ VONAGE_API_KEY: user = "", VONAGE_API_SECRET: password = "", VONAGE_API_BASE_URL: base }) {
    const url = `${base.replace(/\/+$/, "")}/accounts/${encodeURIComponent(user)}/secrets`;
    return verifyByAsking({ url, user, password });
  },
  /** The SDK is loaded only here: a worker without Vonage need not spend the time. */
  async create(values, { clock, log, publicUrl }) {
    const reported = publicUrl !== undefined && values.VONAGE_SIGNATURE_SECRET !== undefined;
    if (!reported) log.warn("no receipts from Vonage: PUBLIC_URL and VONAGE_SIGNATURE_SECRET are wanted for them");
    const config = {
      apiKey: values.VONAGE_API_KEY ?? "",
      apiSecret: values.VONAGE_API_SECRET ?? "",
      applicationId: values.VONAGE_APPLICATION_ID,
      privateKey: values.VONAGE_PRIVATE_KEY === undefined ? undefined : pemOf(values.VONAGE_PRIVATE_KEY),
      from: values.VONAGE_FROM ?? "",
      baseUrl: values.VONAGE_API_BASE_URL,
      timeoutMs: values.VONAGE_TIMEOUT_MS,
      publicUrl: reported ? publicUrl : undefined,
      pace: paceOf(values, SMS_PER_SECOND, (named = values.VONAGE_FROM ?? "") => named),
    };
    return new VonageProvider(await import("./sdk.ts"), config, clock);
  },
  async webhooks(values, deps) {
    const { VONAGE_API_KEY: apiKey = "", VONAGE_SIGNATURE_SECRET: signatureSecret } = values;
    if (!signatureSecret) return [];
    const { verifySignature } = await import("@vonage/jwt");
    return vonageWebhooks({ verifySignature, apiKey, signatureSecret }, deps);
  },
};
