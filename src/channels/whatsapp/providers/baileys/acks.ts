import type { BinaryNode } from "@whiskeysockets/baileys";
import { PermanentError, type ProviderError, TransientError } from "../../../../core/errors.ts";
import { NAME } from "./environment.ts";

/** A restriction on writing to people who have not written first; trying again makes it worse. */
export const RESTRICTED = "463";

const WORDS: Record<string, string> = {
  [RESTRICTED]: "WhatsApp restricts first contacts from this number for now.",
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
  if (/^5\d\d$/.test(error)) return new TransientError(words, { code, provider: NAME, delivery: "unknown" });
  return new PermanentError(words, { code, provider: NAME });
}
