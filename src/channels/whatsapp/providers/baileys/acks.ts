import type { BinaryNode } from "@whiskeysockets/baileys";
import { PermanentError, type ProviderError, RateLimitedError, TransientError } from "../../../../core/errors.ts";
import { NAME } from "./environment.ts";

/** A restriction on writing to people who have not written first; trying again makes it worse. */
export const RESTRICTED = "463";

/** Too many in too short a time. */
const LIMITED = "429";
/** WhatsApp does not say for how long, milliseconds. */
const LIMITED_MS = 60_000;

const WORDS: Record<string, string> = {
  [RESTRICTED]: "WhatsApp restricts first contacts from this number for now.",
  [LIMITED]: "WhatsApp asks this number to send more slowly.",
  "479": "WhatsApp does not accept this message from this device.",
};

/**
 * What the server's answer to a message means; undefined: it has taken it. An error is a refusal, so nothing was sent;
 * 5xx says that of the server, and not of the message.
 */
export function refusalOf(ack: BinaryNode): ProviderError | undefined {
  const error = ack.attrs["error"];
  if (error === undefined) return undefined;
  const code = `whatsapp_${error}`;
  const words = WORDS[error] ?? `WhatsApp refused the message (${error}).`;
  if (error === LIMITED) {
    return new RateLimitedError(words, { code, provider: NAME, retryAfterMs: LIMITED_MS, scope: "sender" });
  }
  if (/^5\d\d$/.test(error)) return new TransientError(words, { code, provider: NAME, delivery: "unknown" });
  return new PermanentError(words, { code, provider: NAME });
}
