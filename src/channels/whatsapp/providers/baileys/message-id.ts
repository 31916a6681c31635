import { createHash } from "node:crypto";

/**
 * WhatsApp's id of one of our messages. It follows from ours, so it is known before the send and the same on every try:
 * what WhatsApp or a phone has seen before it recognises. In the form of WhatsApp Web's own: `3EB0` and 18 hex digits.
 */
export function whatsappIdOf(messageId: string): string {
  return `3EB0${createHash("sha256").update(messageId).digest("hex").slice(0, 18).toUpperCase()}`;
}
