import {
  type proto,
  WAMessageStubType,
  type WAMessage,
  type WAMessageKey,
  type WASocket,
} from "@whiskeysockets/baileys";
import type { Receipt } from "../../../../core/inbound.ts";

/** What a person wrote to a session. */
export interface Incoming {
  /** WhatsApp's id. */
  id: string;
  /** Their addresses, by number and by LID, as far as they are known. */
  pn: string | undefined;
  lid: string | undefined;
  /** Empty while it could not be decrypted: it comes again. */
  text: string;
  /** The message that they quoted. */
  quotes: string | undefined;
  /** Milliseconds since the epoch. */
  at: number;
}

export interface InboundEvents {
  onIncoming(incoming: Incoming): void;
  onStatus(id: string, status: Receipt["status"]): void;
}

/** WhatsApp's statuses (proto.WebMessageInfo.Status); 2, taken by the server, is learned from its answer to the send. */
const STATUS: Record<number, Receipt["status"]> = { 0: "failed", 3: "delivered", 4: "read", 5: "read" };

/** Listens to what comes in over a socket. A status may come by itself or folded into a message. */
export function listenInbound(sock: WASocket, { onIncoming, onStatus }: InboundEvents): void {
  const status = (key: WAMessageKey, value: number | null | undefined): void => {
    const known = value === null || value === undefined ? undefined : STATUS[value];
    if (key.fromMe && key.id && known) onStatus(key.id, known);
  };
  sock.ev.on("messages.update", (updates) => {
    for (const { key, update } of updates) status(key, update.status);
  });
  sock.ev.on("messages.upsert", ({ messages }) => {
    for (const message of messages) {
      if (message.key.fromMe) status(message.key, message.status);
      else {
        const incoming = incomingOf(message);
        if (incoming) onIncoming(incoming);
      }
    }
  });
}

/** undefined for what is no private message: groups, channels, stories, and the protocol's own. */
function incomingOf({ key, message, messageStubType, messageTimestamp }: WAMessage): Incoming | undefined {
  const addresses = [key.remoteJid, key.remoteJidAlt].filter((jid) => typeof jid === "string");
  const pn = addresses.find((jid) => jid.endsWith("@s.whatsapp.net"));
  const lid = addresses.find((jid) => jid.endsWith("@lid"));
  if (!key.id || (!pn && !lid)) return undefined;
  const isLocked = messageStubType === WAMessageStubType.CIPHERTEXT;
  const text = isLocked ? "" : textOf(message);
  if (text === undefined) return undefined;
  return {
    id: key.id,
    pn,
    lid,
    text,
    quotes: quotedBy(message),
    at: Number(messageTimestamp ?? 0) * 1000 || Date.now(),
  };
}

/** Words that a person meant as an answer; undefined for what only phones tell each other. */
function textOf(message: proto.IMessage | null | undefined): string | undefined {
  const content = innerOf(message);
  if (!content || content.protocolMessage || content.senderKeyDistributionMessage) return undefined;
  const words =
    content.conversation ??
    content.extendedTextMessage?.text ??
    content.imageMessage?.caption ??
    content.videoMessage?.caption ??
    content.documentMessage?.caption ??
    content.buttonsResponseMessage?.selectedDisplayText ??
    content.listResponseMessage?.title ??
    content.templateButtonReplyMessage?.selectedDisplayText ??
    content.reactionMessage?.text;
  if (words) return words;
  const kind = Object.entries(content).find(([name, value]) => name.endsWith("Message") && value)?.[0];
  return kind === undefined ? undefined : `[${kind.replace(/Message$/, "")}]`;
}

/** Disappearing and view-once messages are wrapped. */
function innerOf(message: proto.IMessage | null | undefined): proto.IMessage | null | undefined {
  const wrapped =
    message?.ephemeralMessage ??
    message?.viewOnceMessage ??
    message?.viewOnceMessageV2 ??
    message?.documentWithCaptionMessage ??
    message?.editedMessage;
  return wrapped?.message ? innerOf(wrapped.message) : message;
}

function quotedBy(message: proto.IMessage | null | undefined): string | undefined {
  for (const part of Object.values(innerOf(message) ?? {})) {
    const quoted = (part as { contextInfo?: proto.IContextInfo } | null)?.contextInfo?.stanzaId;
    if (quoted) return quoted;
  }
  return undefined;
}
