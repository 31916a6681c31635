import { type proto, WAMessageStubType, type WAMessage, type WASocket } from "@whiskeysockets/baileys";

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

/** Calls `take` with each thing that people write over a socket. What becomes of our own messages: `receipts.ts`. */
export function listenIncoming(sock: WASocket, take: (incoming: Incoming) => void): void {
  sock.ev.on("messages.upsert", ({ messages }) => {
    for (const message of messages) {
      const incoming = message.key.fromMe ? undefined : incomingOf(message);
      if (incoming) take(incoming);
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
