import { setTimeout as delay } from "node:timers/promises";
import { type BinaryNode, generateWAMessage, proto, type WAMessage, type WASocket } from "@whiskeysockets/baileys";
import type { Admission, OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "../../../provider.ts";
import type { ProviderDeps } from "../../../provider-definition.ts";
import {
  type Delivery,
  messageOf,
  PermanentError,
  ProviderError,
  RateLimitedError,
  TransientError,
} from "../../../../core/errors.ts";
import { createOpenMedia, type OpenMedia } from "../../open-media.ts";
import type { WhatsAppMessage } from "../../content.ts";
import { RESTRICTED, refusalOf } from "./acks.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import { SessionLanes } from "./lanes.ts";
import { whatsappIdOf } from "./message-id.ts";
import { SessionOwner } from "./owner.ts";
import { TooSoonError } from "./patience.ts";
import { quietLibsignal } from "./quiet.ts";
import { RecipientKeys } from "./recipient-keys.ts";
import { createSealer, encryptionKeysOf } from "../../../../core/sealed.ts";
import type { BaileysSession } from "./session.ts";
import { toBaileys } from "./to-baileys.ts";

/** A job that has to wait looks again after this time at the latest: limits may have been changed by then. */
const LOOK_AGAIN_MS = 15 * 60_000;
/** A session that has just lost its connection is back soon, milliseconds. */
const RECONNECT_MS = 1000;
const REMEMBERED_CONTACTS = 10_000;
/** How long a message that is confirmed waits for its keys to be written, milliseconds: its own time must not run out. */
const KEYS_WAIT_MS = 2000;

type Content = WhatsAppMessage["content"];
type Destination = Pick<SendRequest, "lane" | "accountId" | "from" | "to">;

/** WhatsApp over Baileys: every session is a sender, connected from one process. */
export class BaileysCarrier implements Provider<Content> {
  readonly name = NAME;
  readonly timeoutMs: number;
  readonly reconcileAfterMs = 0;
  readonly lanes: SessionLanes;
  readonly #env: BaileysEnv;
  readonly #deps: ProviderDeps;
  readonly #owner: SessionOwner;
  readonly #openMedia: OpenMedia;
  readonly #recipientKeys = new RecipientKeys();
  /** `contactOf`: to whom a session has written before, as far as this process knows. */
  readonly #contacted = new Set<string>();

  constructor(env: BaileysEnv, deps: ProviderDeps) {
    quietLibsignal(globalThis.console);
    this.#env = env;
    this.#deps = deps;
    this.timeoutMs = env.WHATSAPP_TIMEOUT_MS;
    this.lanes = new SessionLanes(deps.sessions, () => deps.clock.monotonic());
    this.#openMedia = createOpenMedia({
      provider: NAME,
      uploads: deps.sessions,
      maxBytes: env.WHATSAPP_MAX_MEDIA_BYTES,
      policy: deps.fetchPolicy,
      // The rest is for giving it to WhatsApp.
      timeouts: { totalMs: env.WHATSAPP_TIMEOUT_MS / 2 },
    });
    const sealer = createSealer(encryptionKeysOf(env.WHATSAPP_ENCRYPTION_KEY ?? ""));
    this.#owner = new SessionOwner({ ...deps, store: deps.sessions, env, sealer });
  }

  start(): void {
    this.#owner.start();
  }

  nudge(): void {
    this.#owner.nudge();
  }

  retire(): void {
    this.#owner.retire();
  }

  close(): Promise<void> {
    return this.#owner.close();
  }

  /** Waits for the session, looks whether the number is there, keeps to the pace, and types. */
  async admit(
    message: Omit<SendRequest<Content>, "attemptId" | "attemptNumber">,
    signal: AbortSignal,
  ): Promise<Admission> {
    const session = await this.#sessionOf(message);
    // `send` says why not.
    if (!session?.pace) return { verdict: "go" };
    const sock = await session.line.whenOpen(signal).catch(() => undefined);
    signal.throwIfAborted();
    if (!sock) return { verdict: "later", delayMs: RECONNECT_MS };
    const contacted = this.#hasContacted(session, message.to);
    // It does not matter for a number that is not there.
    contacted.catch(() => {});
    const found = await session.line
      .whileOpen(() => session.numbers.find(message.to, sock), signal)
      .catch((error: unknown) => {
        if (error instanceof TooSoonError) return;
        this.#deps.log.warn(
          { err: error, messageId: message.messageId },
          "WhatsApp did not say whether a number is there",
        );
      });
    signal.throwIfAborted();
    if (!found) return { verdict: "later", delayMs: Math.max(RECONNECT_MS, session.numbers.waitMs) };
    if (found.jid === undefined) {
      return { verdict: "skip", code: "not_on_whatsapp", detail: "This number is not on WhatsApp." };
    }
    // Meanwhile another message to the same person may have been let go.
    if (!(await contacted) && !this.#contacted.has(contactOf(session, message.to))) {
      const cold = session.pace.coldWait();
      if (cold) return { verdict: "later", delayMs: Math.min(LOOK_AGAIN_MS, cold.waitMs) };
      session.pace.noteNewContact();
      this.#remember(session, message.to);
    }
    try {
      await session.line.whileOpen((open) => takeTurn(session, sock, found.jid ?? "", message.content, open), signal);
    } catch (error) {
      signal.throwIfAborted();
      this.#deps.log.debug({ err: error, messageId: message.messageId }, "a message has to wait for its session");
      return { verdict: "later", delayMs: RECONNECT_MS };
    }
    return { verdict: "go" };
  }

  async send(request: SendRequest<Content>, signal: AbortSignal): Promise<SendResult> {
    const session = await this.#sessionOf(request);
    if (!session) throw await this.#noSession(request);
    const sock = session.line.socket;
    if (!sock) throw closed();
    const id = whatsappIdOf(request.messageId);
    const message = await session.line
      .whileOpen((open) => this.#prepare(request, session, sock, id, open), signal)
      .catch((error: unknown) => {
        if (signal.aborted) throw aborted("not_sent", error);
        // Nothing has left yet, and nothing is wrong with the message.
        if (session.line.socket !== sock) throw closed();
        throw error instanceof ProviderError ? error : notPrepared(error);
      });
    if (session.line.socket !== sock) throw closed();
    return this.#relay(session, sock, { ...message, id, phone: request.to }, signal);
  }

  /** A message whose id was not kept was never given to WhatsApp: it is kept first, and for longer than its session. */
  async reconcile(attempt: OpenAttempt<Content>): Promise<Reconciliation> {
    const id = whatsappIdOf(attempt.messageId);
    const session = await this.#sessionOf(attempt);
    const kept = await this.#deps.sessions.sent(id);
    if (!kept) return { result: "not_accepted" };
    if (await this.#deps.sessions.hasReceipt(NAME, id)) return { result: "accepted", providerMessageId: id };
    if (this.#env.WHATSAPP_RELAY_AGAIN === "false") return { result: "inconclusive", providerMessageId: id };
    // Only who gave it to WhatsApp may do so again: under the same id from another number it would be another message.
    const isElsewhere = !session || session.row.id !== kept.sessionId;
    if (isElsewhere && !(await this.#isWanted(kept.sessionId)))
      return { result: "inconclusive", providerMessageId: id };
    const sent = await session?.sent.find(id);
    const sock = session?.line.socket;
    if (!session || !sock || !sent) throw notAsked("The session is not connected here now.");
    try {
      return { result: "accepted", ...(await this.#relay(session, sock, { ...sent, id, phone: attempt.to })) };
    } catch (error) {
      const isSilent = error instanceof TransientError && error.code === NOT_CONFIRMED;
      if (isSilent && !(await session.line.doubt(sock)))
        throw notAsked("The connection was lost before there was an answer.");
      if (error instanceof RateLimitedError) throw notAsked(error.message);
      // A refusal of the second is no proof about the first.
      this.#deps.log.warn(
        { err: error, messageId: attempt.messageId },
        "a message was given to WhatsApp again, in vain",
      );
      return { result: "inconclusive", providerMessageId: id };
    }
  }

  /** The session in whose lane the message waited; outside lanes the one that it belongs to. */
  async #sessionOf({ lane, accountId, from, to }: Destination): Promise<BaileysSession | undefined> {
    if (lane !== undefined) return this.#owner.byLane(lane);
    return this.#owner.byLane(await this.lanes.laneOf({ accountId, sender: from, recipient: to }, undefined));
  }

  async #isWanted(sessionId: string | undefined): Promise<boolean> {
    return sessionId !== undefined && (await this.#deps.sessions.session(sessionId))?.wanted === "on";
  }

  async #noSession({ accountId, from }: SendRequest): Promise<ProviderError> {
    const fault = await this.lanes.senderFault({ accountId, sender: from });
    if (!fault) return closed();
    return new PermanentError(fault.detail, { code: "no_session", provider: NAME });
  }

  /** Everything before the message leaves: whatever fails here, nothing was sent. */
  async #prepare(
    { channel, content, to, accountId }: SendRequest<Content>,
    session: BaileysSession,
    sock: WASocket,
    id: string,
    signal: AbortSignal,
  ): Promise<{ jid: string; message: proto.IMessage }> {
    try {
      const { jid } = await session.numbers.find(to, sock);
      if (jid === undefined)
        throw new PermanentError("This number is not on WhatsApp.", { code: "not_on_whatsapp", provider: NAME });
      const quoted = content.replyTo === undefined ? undefined : await this.#quoted(content.replyTo, session, jid);
      const { content: words } = await toBaileys({ channel, content } as WhatsAppMessage, {
        openMedia: this.#openMedia,
        accountId,
        signal,
      });
      const { message } = await generateWAMessage(jid, words, {
        userJid: sock.user?.id ?? "",
        upload: sock.waUploadToServer,
        messageId: id,
        ...(quoted ? { quoted } : {}),
      });
      const encoded = proto.Message.fromObject(message ?? {});
      const kept = session.sent.keep({ id, jid, phone: to, message: encoded });
      await Promise.all([kept, this.#recipientKeys.ready(jid, sock)]);
      return { jid, message: encoded };
    } catch (error) {
      throw error instanceof ProviderError ? error : notPrepared(error);
    }
  }

  /** Gives the message to WhatsApp and waits until its server has confirmed or refused it. */
  async #relay(
    session: BaileysSession,
    sock: WASocket,
    { jid, id, phone, message }: { jid: string; id: string; phone: string; message: proto.IMessage },
    signal?: AbortSignal,
  ): Promise<SendResult> {
    const relayed = async (): Promise<BinaryNode | undefined> => {
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
        timer = setTimeout(resolve, this.#env.WHATSAPP_ACK_TIMEOUT_MS, undefined);
        return await answer;
      } finally {
        clearTimeout(timer);
        sock.ws.off(onAnswer, resolve);
      }
    };
    try {
      const ack = await session.line.whileOpen(relayed, signal);
      if (!ack) {
        void session.line.doubt(sock);
        throw new Error("WhatsApp's server did not confirm it in time.");
      }
      const refusal = ack.tag === "ack" ? refusalOf(ack) : undefined;
      if (!refusal) {
        // A crash from now on is to find the keys as this message has left them; it is accepted whatever becomes of them.
        await inTime(session.keysWritten(), KEYS_WAIT_MS).catch(() => {});
        return { providerMessageId: id };
      }
      if (ack.attrs["error"] === RESTRICTED) await this.#restricted(session, sock, phone);
      throw refusal;
    } catch (error) {
      if (error instanceof ProviderError) throw error;
      if (error === signal?.reason) throw aborted("unknown", error);
      const words = `It is not known whether WhatsApp has it: ${messageOf(error)}`;
      throw new TransientError(words, { code: NOT_CONFIRMED, provider: NAME, delivery: "unknown", cause: error });
    }
  }

  async #restricted(session: BaileysSession, sock: WASocket, phone: string): Promise<void> {
    // A person who tries again must not pass for somebody who knows the number.
    this.#contacted.delete(contactOf(session, phone));
    await this.#deps.sessions.forgetContact(session.row.id, phone).catch((error: unknown) => {
      this.#deps.log.warn({ err: error }, "a refused first contact still counts as made");
    });
    const lock = await sock.fetchAccountReachoutTimelock().catch(() => undefined);
    // Of one that is in force the session has heard by the same answer.
    if (!lock?.isActive) session.restriction.imposed();
  }

  /** What is quoted: one of our messages by its id, or one of theirs by WhatsApp's. */
  async #quoted(replyTo: string, session: BaileysSession, jid: string): Promise<WAMessage> {
    const own = await session.sent.find(whatsappIdOf(replyTo));
    const key = own
      ? { remoteJid: jid, fromMe: true, id: whatsappIdOf(replyTo) }
      : { remoteJid: jid, fromMe: false, id: replyTo };
    return { key, message: own?.message ?? { conversation: "" } };
  }

  async #hasContacted(session: BaileysSession, phone: string): Promise<boolean> {
    if (this.#contacted.has(contactOf(session, phone))) return true;
    const known = await this.#deps.sessions.hasContacted(session.row.id, phone);
    if (known) this.#remember(session, phone);
    return known;
  }

  #remember(session: BaileysSession, phone: string): void {
    if (this.#contacted.size >= REMEMBERED_CONTACTS) this.#contacted.clear();
    this.#contacted.add(contactOf(session, phone));
  }
}

const contactOf = (session: BaileysSession, phone: string): string => `${session.row.id} ${phone}`;

/** Waits until the pace lets a message go, and types it. */
async function takeTurn(
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

const NOT_CONFIRMED = "not_confirmed";

/** Says to WhatsApp that the message begins a poll. */
const POLL = [{ tag: "meta", attrs: { polltype: "creation" } }];

function closed(): RateLimitedError {
  return new RateLimitedError("The session is not connected now.", {
    code: "session_closed",
    provider: NAME,
    retryAfterMs: RECONNECT_MS,
    scope: "sender",
  });
}

function notPrepared(error: unknown): TransientError {
  const words = `The message could not be prepared: ${messageOf(error)}`;
  return new TransientError(words, { code: "not_prepared", provider: NAME, delivery: "not_sent", cause: error });
}

function aborted(delivery: Delivery, cause: unknown): TransientError {
  const words = "The service gave the message up before WhatsApp had confirmed it.";
  return new TransientError(words, { code: "send_aborted", provider: NAME, delivery, cause });
}

function notAsked(words: string): TransientError {
  return new TransientError(words, { code: "not_asked", provider: NAME, delivery: "unknown" });
}

/** Settles as `work` does, or resolves after that time. */
async function inTime(work: Promise<void>, ms: number): Promise<void> {
  const { promise: overdue, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  await Promise.race([work, overdue]).finally(() => clearTimeout(timer));
}

/** Characters that somebody would type for it. */
function lengthOf(content: Content): number {
  if ("text" in content) return content.text.length;
  return "caption" in content ? (content.caption?.length ?? 0) : 0;
}
