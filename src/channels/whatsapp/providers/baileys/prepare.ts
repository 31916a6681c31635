import { generateWAMessage, proto, type WAMessage, type WASocket } from "@whiskeysockets/baileys";
import { PermanentError, ProviderError } from "../../../../core/errors.ts";
import type { SendRequest } from "../../../provider.ts";
import type { WhatsAppMessage } from "../../content.ts";
import type { OpenMedia } from "../../open-media.ts";
import { notPrepared } from "./carrier-errors.ts";
import { NAME } from "./environment.ts";
import { whatsappIdOf } from "./message-id.ts";
import { RecipientKeys } from "./recipient-keys.ts";
import type { BaileysSession } from "./session.ts";
import { toBaileys } from "./to-baileys.ts";

type Content = WhatsAppMessage["content"];

/** A message as WhatsApp takes it, kept in the ledger under its id. */
export interface Prepared {
  id: string;
  jid: string;
  phone: string;
  message: proto.IMessage;
}

/** Everything before a message leaves: whatever fails there, nothing was sent. */
export function createPrepare(openMedia: OpenMedia) {
  const recipientKeys = new RecipientKeys();

  /** Rejects with `ProviderError{delivery: "not_sent"}`. */
  return async (
    { messageId, channel, content, to: phone, accountId }: SendRequest<Content>,
    session: BaileysSession,
    sock: WASocket,
    signal: AbortSignal,
  ): Promise<Prepared> => {
    try {
      const id = whatsappIdOf(messageId);
      const { jid } = await session.numbers.find(phone, sock);
      if (jid === undefined)
        throw new PermanentError("This number is not on WhatsApp.", { code: "not_on_whatsapp", provider: NAME });
      const quoted = content.replyTo === undefined ? undefined : await quotedOf(content.replyTo, session, jid);
      const { content: words } = await toBaileys({ channel, content } as WhatsAppMessage, {
        openMedia,
        accountId,
        signal,
      });
      const generated = await generateWAMessage(jid, words, {
        userJid: sock.user?.id ?? "",
        upload: sock.waUploadToServer,
        messageId: id,
        ...(quoted ? { quoted } : {}),
      });
      const message = proto.Message.fromObject(generated.message ?? {});
      const prepared = { id, jid, phone, message };
      await Promise.all([session.sent.keep(prepared), recipientKeys.ready(jid, sock)]);
      return prepared;
    } catch (error) {
      throw error instanceof ProviderError ? error : notPrepared(error);
    }
  };
}

/** What is quoted: one of our messages by its id, or one of theirs by WhatsApp's. */
async function quotedOf(replyTo: string, session: BaileysSession, jid: string): Promise<WAMessage> {
  const own = await session.sent.find(whatsappIdOf(replyTo));
  const key = own
    ? { remoteJid: jid, fromMe: true, id: whatsappIdOf(replyTo) }
    : { remoteJid: jid, fromMe: false, id: replyTo };
  return { key, message: own?.message ?? { conversation: "" } };
}
