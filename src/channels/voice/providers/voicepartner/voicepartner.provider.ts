import { z } from "zod";
import type { Fault } from "../../../../core/problem.ts";
import type { ProviderDefinition } from "../../../provider-definition.ts";
import type { VoiceContent } from "../../content.ts";
import { createRecordingCheck } from "../../recording.ts";
import { Api } from "./api.ts";
import { VoicePartnerProvider } from "./client.ts";
import { NAME } from "./errors.ts";
import { createTokenOf } from "./recordings.ts";
import { voicePartnerRoutes, voicePartnerTickets } from "./webhooks.ts";

const wholeNumber = (minimum: number, maximum: number) => z.coerce.number().int().min(minimum).max(maximum);

const env = {
  VOICEPARTNER_API_KEY: z.string().optional().describe("VoicePartner: the account's key, from my.voicepartner.fr."),
  VOICEPARTNER_EMAIL: z
    .string()
    .optional()
    .describe("VoicePartner: the address that it writes to when a drop has ended; it insists on one."),
  VOICEPARTNER_SENDER: z
    .string()
    .optional()
    .describe("VoicePartner: the mobile number (+33…) to be called back, validated at my.voicepartner.fr."),
  VOICEPARTNER_API_BASE_URL: z
    .url({ protocol: /^https?$/ })
    .default("https://api.voicepartner.fr/v1")
    .describe("VoicePartner: where its API is reached, for a proxy or a test double."),
  VOICEPARTNER_TIMEOUT_MS: wholeNumber(1_000, 120_000)
    .default(15_000)
    .describe("VoicePartner: the longest that one request may take, milliseconds."),
  VOICEPARTNER_REQUESTS_PER_MINUTE: wholeNumber(1, 600)
    .default(5)
    .describe("VoicePartner: drops a minute, over all processes; 5 is what it allows, one number each."),
};

type Env = typeof env;
type Values = z.output<z.ZodObject<Env>>;

const NUMBER = /^\+[1-9]\d{6,14}$/;
const EMAIL = /^[^\s@]+@[^\s@]+\.[^\s@]+$/;

/** Base URL, time-out and pace alone ask for nothing: they only tune. */
function configured(values: Values): "present" | "absent" | Fault[] {
  const { VOICEPARTNER_API_KEY: key, VOICEPARTNER_EMAIL: email, VOICEPARTNER_SENDER: sender } = values;
  if (!key && !email && !sender) return "absent";

  const faults: Fault[] = [];
  const fault = (pointer: keyof Env, detail: string) => faults.push({ pointer, detail });
  if (!key) fault("VOICEPARTNER_API_KEY", "Missing: VoicePartner needs it beside its other variables.");
  if (!email) fault("VOICEPARTNER_EMAIL", "Missing: VoicePartner insists on an address to write to.");
  else if (!EMAIL.test(email)) fault("VOICEPARTNER_EMAIL", "Not an e-mail address.");
  if (sender && !NUMBER.test(sender)) {
    fault("VOICEPARTNER_SENDER", "Not a number to be called back: give it like +33612345678.");
  }
  return faults.length === 0 ? "present" : faults;
}

export const voicePartnerProvider: ProviderDefinition<Env, VoiceContent> = {
  name: NAME,
  env,
  configured,
  /** Lists the account's recordings; a wrong key is answered with 200 and no list. */
  async verify({
    VOICEPARTNER_API_KEY: key = "",
    VOICEPARTNER_API_BASE_URL: baseUrl,
    VOICEPARTNER_TIMEOUT_MS: timeoutMs,
  }) {
    const api = new Api({ baseUrl, timeoutMs });
    try {
      const { status, body } = await api.get(`/audios/${encodeURIComponent(key)}`);
      const isList = Array.isArray((body as { datas?: unknown } | undefined)?.datas);
      return isList ? undefined : `refuses the key (status ${status})`;
    } finally {
      api.close();
    }
  },
  async create(values, { clock, log, fetchPolicy, publicUrl }) {
    const apiKey = values.VOICEPARTNER_API_KEY ?? "";
    const timeoutMs = values.VOICEPARTNER_TIMEOUT_MS;
    const api = new Api({ baseUrl: values.VOICEPARTNER_API_BASE_URL, timeoutMs });
    return new VoicePartnerProvider(
      {
        apiKey,
        email: values.VOICEPARTNER_EMAIL ?? "",
        sender: values.VOICEPARTNER_SENDER,
        publicUrl,
        timeoutMs,
        requestsPerMinute: values.VOICEPARTNER_REQUESTS_PER_MINUTE,
      },
      {
        api,
        tokenOf: createTokenOf({ api, apiKey, clock }),
        tickets: voicePartnerTickets(apiKey, clock),
        checkRecording: createRecordingCheck({ provider: NAME, clock, policy: fetchPolicy }),
        log,
      },
    );
  },
  async webhooks(values, deps) {
    return voicePartnerRoutes(values.VOICEPARTNER_API_KEY ?? "", deps);
  },
};
