import type { WASocket } from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import type { Inbound } from "../../../../core/inbound.ts";
import type { Session } from "../../../../store/sessions.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import type { Incoming } from "./inbound-events.ts";
import type { Numbers } from "./numbers.ts";

export interface RepliesPorts {
  session: Pick<Session, "accountId" | "phone">;
  numbers: Numbers;
  inbound: Inbound;
  env: BaileysEnv;
  log: Logger;
  /** Waits for a database that is away; undefined when the session ends first. */
  persist<T>(work: () => Promise<T>): Promise<T | undefined>;
}

/** Stores what a person wrote, and confirms a first stop. */
export async function takeReply(
  { id, pn, lid, text, quotes, at }: Incoming,
  sock: WASocket,
  { session, numbers, inbound, env, log, persist }: RepliesPorts,
): Promise<void> {
  if (text === "") log.warn({ whatsappId: id }, "a message could not be decrypted: its sender is asked again");
  try {
    const phones = (await persist(() => numbers.phonesOf({ pn, lid }, sock))) ?? [];
    const [phone = `lid:${lid ?? ""}`, ...aliases] = phones;
    const { firstStop } = await inbound.reply({
      provider: NAME,
      ...(quotes ? { providerMessageId: quotes } : {}),
      replyId: id,
      accountId: session.accountId,
      from: phone,
      aliases,
      to: session.phone,
      text,
      at,
    });
    const words = env.WHATSAPP_STOP_CONFIRMATION;
    const jid = pn ?? lid;
    if (firstStop && words !== "none" && jid) await sock.sendMessage(jid, { text: words, linkPreview: null });
  } catch (error) {
    log.error({ err: error, whatsappId: id }, "a reply was not handled to the end");
  }
}
