import { setTimeout as delay } from "node:timers/promises";
import type { WASocket } from "@whiskeysockets/baileys";
import type { WhatsAppMessage } from "../../content.ts";
import type { BaileysSession } from "./session.ts";

type Content = WhatsAppMessage["content"];

/** Waits until the pace lets a message go, and types it. */
export async function takeTurn(
  session: BaileysSession,
  sock: WASocket,
  jid: string,
  content: Content,
  signal: AbortSignal,
): Promise<void> {
  const typingMs = session.pace?.typingMs(lengthOf(content)) ?? 0;
  await session.pace?.turn(signal, typingMs);
  if (typingMs === 0) return;
  // Without it the message still goes.
  await sock.sendPresenceUpdate("composing", jid).catch(() => {});
  await delay(typingMs, undefined, { signal });
}

/** Characters that somebody would type for it. */
function lengthOf(content: Content): number {
  if ("text" in content) return content.text.length;
  return "caption" in content ? (content.caption?.length ?? 0) : 0;
}
