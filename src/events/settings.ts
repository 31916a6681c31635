import { z } from "zod";
import { encryptionKeyFaults, encryptionKeysOf } from "../core/sealed.ts";

const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

/** The room's variables. */
export const EVENTS_ENV = {
  WEBHOOK_ENCRYPTION_KEY: z
    .string()
    .refine((text) => encryptionKeyFaults(text).length === 0, {
      error: ({ input }) => encryptionKeyFaults(String(input)).join("; "),
    })
    .optional()
    .describe(
      "Seals the secrets of webhook endpoints: 32 bytes in base64 (`openssl rand -base64 32`); to rotate it put the new one before the old one, with a comma. Default: `WHATSAPP_ENCRYPTION_KEY`, which opens what it has sealed in any case; without either they stand in the database as they are, for the service role alone",
    ),
  WEBHOOK_TIMEOUT_MS: wholeNumber(100, 60_000)
    .default(15_000)
    .describe("How long an endpoint may take to answer a webhook"),
  WEBHOOK_BACKOFF_MS: wholeNumber(10, 3_600_000)
    .default(5000)
    .describe(
      "Before a webhook's second attempt; three times as long after each, up to six hours, for twelve attempts in all",
    ),
  WEBHOOK_CONCURRENCY: wholeNumber(1, 1000).default(100).describe("Webhooks under way at once, each process"),
  WEBHOOK_ALLOW_LOOPBACK: z
    .stringbool()
    .default(false)
    .describe(
      "`true` lets webhooks go to this machine itself, by http and to any port, to try a receiver out (docs/events.md); not in production",
    ),
  EVENT_RETENTION_DAYS: wholeNumber(1, 90)
    .default(7)
    .describe("For how long events and their deliveries are kept, to be read again and replayed"),
} satisfies z.ZodRawShape;

export interface EventsConfig {
  /** What opens secrets; the first one seals. Empty: they are not sealed. */
  encryptionKeys: string[];
  timeoutMs: number;
  backoffMs: number;
  concurrency: number;
  /** Webhooks may go to this machine itself. */
  allowLoopback: boolean;
  keepSeconds: number;
}

/** `whatsAppKey`: what seals secrets where the room has no key of its own, and may have done so before it had one. */
export function eventsConfig(
  env: z.output<z.ZodObject<typeof EVENTS_ENV>>,
  whatsAppKey: string | undefined,
): EventsConfig {
  const given = [env.WEBHOOK_ENCRYPTION_KEY, whatsAppKey].flatMap((keys) => (keys ? encryptionKeysOf(keys) : []));
  // The same key may be given as both, and a key that is not usable is the other room's to tell.
  const keys = given.filter((key, i) => encryptionKeyFaults([...given.slice(0, i), key].join(",")).length === 0);
  return {
    encryptionKeys: keys,
    timeoutMs: env.WEBHOOK_TIMEOUT_MS,
    backoffMs: env.WEBHOOK_BACKOFF_MS,
    concurrency: env.WEBHOOK_CONCURRENCY,
    allowLoopback: env.WEBHOOK_ALLOW_LOOPBACK,
    keepSeconds: env.EVENT_RETENTION_DAYS * 86_400,
  };
}
