import { z } from "zod";

/** Variables of an account, whatever it is used for. */
export const accountEnv = {
  TWILIO_ACCOUNT_SID: z.string().optional().describe("Twilio: the account, AC and 32 hexadecimal digits."),
  TWILIO_AUTH_TOKEN: z.string().optional().describe("Twilio: the account's secret token."),
  TWILIO_API_BASE_URL: z
    .url({ protocol: /^https?$/ })
    .default("https://api.twilio.com")
    .describe("Twilio: where its API is reached, for a proxy or a test double."),
  TWILIO_TIMEOUT_MS: z.coerce
    .number()
    .int()
    .min(1_000)
    .max(120_000)
    .default(15_000)
    .describe("Twilio: the longest that one request may take, milliseconds."),
  TWILIO_VOICE_FROM: z
    .string()
    .optional()
    .describe("Twilio: the number (+33…) to call from; with it voicemails are left through Twilio (docs/voice.md)."),
};

export const ACCOUNT_SID = /^AC[0-9a-f]{32}$/i;
