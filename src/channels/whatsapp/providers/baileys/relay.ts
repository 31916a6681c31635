import type { BinaryNode, WASocket } from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import { within } from "../../../../core/deadline.ts";
import { messageOf, ProviderError, TransientError } from "../../../../core/errors.ts";
import type { SendResult } from "../../../provider.ts";
import { RESTRICTED, refusalOf } from "./acks.ts";
import { aborted } from "./carrier-errors.ts";
import type { Contacted } from "./contacted.ts";
import { NAME } from "./environment.ts";
import type { Prepared } from "./prepare.ts";
import type { BaileysSession } from "./session.ts";

export interface RelayPorts {
  /** How long WhatsApp's server may take to confirm a message, milliseconds. */
  ackTimeoutMs: number;
  contacted: Contacted;
  log: Logger;
}

/** How long a message that is confirmed waits for its keys to be written, milliseconds: its own time must not run out. */
const KEYS_WAIT_MS = 2000;

/** Says to WhatsApp that the message begins a poll. */
const POLL = [{ tag: "meta", attrs: { polltype: "creation" } }];

/** The code of a message that left, and was neither confirmed nor refused. */
export const NOT_CONFIRMED = "not_confirmed";

/** Gives messages to WhatsApp; each waits until its server has confirmed or refused it. */
export function createRelay({ ackTimeoutMs, contacted, log }: RelayPorts) {
  /** Resolves with WhatsApp's answer; undefined: none in time. */
  async function relayed({ id, jid, message }: Prepared, sock: WASocket): Promise<BinaryNode | undefined> {
    const { promise: answer, resolve } = Promise.withResolvers<BinaryNode | undefined>();
    const onAnswer = `TAG:${id}`;
    sock.ws.once(onAnswer, resolve);
    let timer: NodeJS.Timeout | undefined;
    try {
      await sock.relayMessage(jid, message, {
        messageId: id,
        additionalNodes: message.pollCreationMessage || message.pollCreationMessageV3 ? POLL : [],
      });
      // Only now has it left: Baileys makes one message of a session ready after the other.
      timer = setTimeout(resolve, ackTimeoutMs, undefined);
      return await answer;
    } finally {
      clearTimeout(timer);
      sock.ws.off(onAnswer, resolve);
    }
  }

  async function restricted(session: BaileysSession, sock: WASocket, phone: string): Promise<void> {
    // A person who tries again must not pass for somebody who knows the number.
    await contacted.forget(session.row.id, phone).catch((error: unknown) => {
      log.warn({ err: error }, "a refused first contact still counts as made");
    });
    const lock = await sock.fetchAccountReachoutTimelock().catch(() => undefined);
    // Of one that is in force the session has heard by the same answer.
    if (!lock?.isActive) session.restriction.imposed();
  }

  /** Rejects with `ProviderError`. */
  return async (
    session: BaileysSession,
    sock: WASocket,
    prepared: Prepared,
    signal?: AbortSignal,
  ): Promise<SendResult> => {
    try {
      const ack = await session.line
        .whileOpen(() => relayed(prepared, sock), signal)
        .finally(() => session.pace?.noteTaken());
      if (!ack) {
        void session.line.doubt(sock);
        throw new Error("WhatsApp's server did not confirm it in time.");
      }
      const refusal = ack.tag === "ack" ? refusalOf(ack) : undefined;
      if (!refusal) {
        // A crash from now on is to find the keys as this message has left them; it is accepted whatever becomes of them.
        await within(KEYS_WAIT_MS, session.keysWritten(), () => new Error("not written in time")).catch(() => {});
        return { providerMessageId: prepared.id };
      }
      if (ack.attrs["error"] === RESTRICTED) await restricted(session, sock, prepared.phone);
      throw refusal;
    } catch (error) {
      if (error instanceof ProviderError) throw error;
      if (error === signal?.reason) throw aborted("unknown", error);
      const words = `It is not known whether WhatsApp has it: ${messageOf(error)}`;
      throw new TransientError(words, { code: NOT_CONFIRMED, provider: NAME, delivery: "unknown", cause: error });
    }
  };
}
