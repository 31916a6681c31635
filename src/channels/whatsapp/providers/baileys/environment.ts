import { z } from "zod";

export const NAME = "baileys";

const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

/** The provider's variables. Those about pace are defaults: each session may have its own values. */
export const env = {
  WHATSAPP_ENCRYPTION_KEY: z
    .string()
    .optional()
    .describe(
      "Seals the keys of WhatsApp sessions: 32 bytes in base64 (`openssl rand -base64 32`). To rotate it put the new one " +
        "before the old one, with a comma; it turns WhatsApp over Baileys on",
    ),
  WHATSAPP_WS_URL: z.url().default("wss://web.whatsapp.com/ws/chat").describe("WhatsApp's server"),
  WHATSAPP_VERSION: z
    .string()
    .regex(/^\d+\.\d+\.\d+$/, "give it as 2.3000.1234567")
    .optional()
    .describe("The WhatsApp Web version to claim to be; default: the one that Baileys was made for"),
  WHATSAPP_TIMEOUT_MS: wholeNumber(1000, 300_000)
    .default(30_000)
    .describe("How long sending one WhatsApp message may take, fetching its media included"),
  WHATSAPP_ACK_TIMEOUT_MS: wholeNumber(500, 60_000)
    .default(10_000)
    .describe("How long WhatsApp's server may take to confirm a message"),
  WHATSAPP_LEASE_MS: wholeNumber(1000, 60_000)
    .default(15_000)
    .describe("For how long a session stays with a process that died; it is renewed every third of that"),
  WHATSAPP_CONCURRENCY: wholeNumber(1, 100)
    .default(30)
    .describe("Messages of one session prepared at once, where its pace has no limit"),
  WHATSAPP_MESSAGES_PER_MINUTE: z
    .union([z.literal("none"), wholeNumber(1, 100_000)])
    .default(20)
    .describe("Pace of one session; `none` for no limit"),
  WHATSAPP_MIN_GAP_MS: wholeNumber(0, 600_000)
    .default(1500)
    .describe("Shortest pause between two messages of a session"),
  WHATSAPP_MAX_GAP_MS: wholeNumber(0, 600_000)
    .default(6000)
    .describe("Longest pause between two messages of a session"),
  WHATSAPP_TYPING: z
    .enum(["true", "false"])
    .default("true")
    .describe("Show `typing…` before each message, for a time that fits its length"),
  WHATSAPP_NEW_CONTACTS_PER_DAY: z
    .union([z.literal("none"), wholeNumber(1, 100_000)])
    .default(100)
    .describe("First contacts of one session a day, once it is warmed up; `none` for no limit"),
  WHATSAPP_WARM_UP_DAYS: wholeNumber(0, 365)
    .default(14)
    .describe("Days after pairing until a session may use its whole number of first contacts"),
  WHATSAPP_MAX_MEDIA_BYTES: wholeNumber(1000, 104_857_600).default(16_777_216).describe("Greatest file to send"),
  WHATSAPP_RELAY_AGAIN: z
    .enum(["true", "false"])
    .default("true")
    .describe(
      "Give WhatsApp a message once more, under the same id, when its server did not confirm it; `false`: it becomes unknown",
    ),
  WHATSAPP_STOP_CONFIRMATION: z
    .string()
    .max(1000)
    .default("C'est noté, nous ne vous écrirons plus.")
    .describe("Answer to a person's first STOP; `none` for no answer"),
} satisfies z.ZodRawShape;

export type BaileysEnv = z.output<z.ZodObject<typeof env>>;
