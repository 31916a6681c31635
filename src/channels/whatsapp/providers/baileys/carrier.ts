import { setTimeout as delay } from "node:timers/promises";
import { type BinaryNode, generateWAMessage, proto, type WAMessage, type WASocket } from "@whiskeysockets/baileys";
import type {
  Admission,
  OpenAttempt,
  Provider,
  ProviderDeps,
  Reconciliation,
  SendRequest,
  SendResult,
} from "../../../channel.ts";
import { messageOf, PermanentError, ProviderError, RateLimitedError, TransientError } from "../../../../core/errors.ts";
import { createOpenMedia, type OpenMedia } from "../../open-media.ts";
import type { WhatsAppMessage } from "../../content.ts";
import { RESTRICTED, refusalOf } from "./acks.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import { SessionLanes } from "./lanes.ts";
import { whatsappIdOf } from "./message-id.ts";
import { SessionOwner } from "./owner.ts";
import { quietLibsignal } from "./quiet.ts";
import { createSealer, encryptionKeysOf } from "./sealed.ts";
import type { BaileysSession } from "./session.ts";
import { toBaileys } from "./to-baileys.ts";

/** How long first contacts rest after WhatsApp has restricted a number without saying until when, milliseconds. */
const RESTRICTED_MS = 24 * 3_600_000;
/** A job that has to wait looks again after this time at the latest: limits may have been changed by then. */
const LOOK_AGAIN_MS = 15 * 60_000;
/** A session that has just lost its connection is back soon, milliseconds. */
const RECONNECT_MS = 1000;
const REMEMBERED_CONTACTS = 10_000;

type Content = WhatsAppMessage["content"];

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
  /** `session phone`: to whom a session has written before, as far as this process knows. */
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
    const sock = await session.whenOpen(signal).catch(() => undefined);
    signal.throwIfAborted();
    if (!sock) return { verdict: "later", delayMs: RECONNECT_MS };
    const found = await session.numbers.find(message.to, sock).catch((error: unknown) => {
      this.#deps.log.warn(
        { err: error, messageId: message.messageId },
        "WhatsApp did not say whether a number is there",
      );
    });
    if (!found) return { verdict: "later", delayMs: RECONNECT_MS };
    if (found.jid === undefined) {
      return { verdict: "skip", code: "not_on_whatsapp", detail: "This number is not on WhatsApp." };
    }
    if (!(await this.#hasContacted(session, message.to))) {
      const cold = session.pace.coldWait();
      if (cold) return { verdict: "later", delayMs: Math.min(LOOK_AGAIN_MS, cold.waitMs) };
      session.pace.noteNewContact();
      this.#remember(session, message.to);
    }
    const typingMs = session.pace.typingMs(lengthOf(message.content));
    await session.pace.turn(signal, typingMs);
    if (typingMs > 0) {
      // Without it the message still goes.
      await sock.sendPresenceUpdate("composing", found.jid).catch(() => {});
      await delay(typingMs, undefined, { signal });
    }
    return { verdict: "go" };
  }

  async send(request: SendRequest<Content>, signal: AbortSignal): Promise<SendResult> {
    const session = await this.#sessionOf(request);
    if (!session) throw await this.#noSession(request);
    const sock = session.socket;
    if (!sock) throw closed();
    const id = whatsappIdOf(request.messageId);
    const message = await this.#prepare(request, session, sock, id, signal);
    return this.#relay(session, sock, { ...message, id });
  }

  /** A message of which nothing was kept was never given to WhatsApp: it is kept first. */
  async reconcile(attempt: OpenAttempt<Content>): Promise<Reconciliation> {
    const id = whatsappIdOf(attempt.messageId);
    const session = await this.#sessionOf(attempt);
    const kept = await this.#deps.sessions.sent(id);
    if (!kept) return { result: "not_accepted" };
    if (await this.#deps.sessions.hasReceipt(NAME, id)) return { result: "accepted", providerMessageId: id };
    if (this.#env.WHATSAPP_RELAY_AGAIN === "false") return { result: "inconclusive" };
    const sent = await session?.sentMessage(id);
    if (!session?.socket || !sent) throw notAsked("The session is not connected here now.");
    try {
      return { result: "accepted", ...(await this.#relay(session, session.socket, { ...sent, id })) };
    } catch (error) {
      // A refusal of the second is no proof about the first.
      this.#deps.log.warn(
        { err: error, messageId: attempt.messageId },
        "a message was given to WhatsApp again, in vain",
      );
      return { result: "inconclusive" };
    }
  }

  async #sessionOf({
    accountId,
    from,
    to,
  }: Pick<SendRequest, "accountId" | "from" | "to">): Promise<BaileysSession | undefined> {
    return this.#owner.byLane(await this.lanes.laneOf({ accountId, sender: from, recipient: to }, undefined));
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
      const { content: words } = await toBaileys({ channel, content } as WhatsAppMessage, {
        openMedia: this.#openMedia,
        accountId,
        signal,
      });
      const quoted = content.replyTo === undefined ? undefined : await this.#quoted(content.replyTo, session, jid);
      const { message } = await generateWAMessage(jid, words, {
        userJid: sock.user?.id ?? "",
        upload: sock.waUploadToServer,
        messageId: id,
        ...(quoted ? { quoted } : {}),
      });
      const encoded = proto.Message.fromObject(message ?? {});
      await this.#deps.sessions.keepSent({
        id,
        sessionId: session.row.id,
        jid,
        phone: to,
        sealed: session.seal(Buffer.from(proto.Message.encode(encoded).finish()), id),
      });
      return { jid, message: encoded };
    } catch (error) {
      if (error instanceof ProviderError) throw error;
      const words = `The message could not be prepared: ${messageOf(error)}`;
      throw new TransientError(words, { code: "not_prepared", provider: NAME, delivery: "not_sent", cause: error });
    }
  }

  /** Gives the message to WhatsApp and waits until its server has confirmed or refused it. */
  async #relay(
    session: BaileysSession,
    sock: WASocket,
    { jid, id, message }: { jid: string; id: string; message: proto.IMessage },
  ): Promise<SendResult> {
    const answer: Promise<BinaryNode | undefined> = sock.waitForMessage(id, this.#env.WHATSAPP_ACK_TIMEOUT_MS);
    const settled = answer.catch(() => undefined);
    try {
      await sock.relayMessage(jid, message, {
        messageId: id,
        additionalNodes: message.pollCreationMessage || message.pollCreationMessageV3 ? POLL : [],
      });
      const ack = await answer;
      if (!ack) throw new Error("WhatsApp's server did not confirm it in time.");
      const refusal = ack.tag === "ack" ? refusalOf(ack) : undefined;
      if (!refusal) return { providerMessageId: id };
      if (ack.attrs["error"] === RESTRICTED) await this.#restricted(session, sock, refusal.message);
      throw refusal;
    } catch (error) {
      if (error instanceof ProviderError) throw error;
      await settled;
      const words = `It is not known whether WhatsApp has it: ${messageOf(error)}`;
      throw new TransientError(words, { code: "not_confirmed", provider: NAME, delivery: "unknown", cause: error });
    }
  }

  async #restricted(session: BaileysSession, sock: WASocket, words: string): Promise<void> {
    const now = this.#deps.clock.now();
    const lock = await sock.fetchAccountReachoutTimelock().catch(() => undefined);
    const until = lock?.timeEnforcementEnds?.getTime() ?? 0;
    session.pauseCold(until > now ? until : now + RESTRICTED_MS, words);
  }

  /** What is quoted: one of our messages by its id, or one of theirs by WhatsApp's. */
  async #quoted(replyTo: string, session: BaileysSession, jid: string): Promise<WAMessage> {
    const own = await session.sentMessage(whatsappIdOf(replyTo));
    const key = own
      ? { remoteJid: jid, fromMe: true, id: whatsappIdOf(replyTo) }
      : { remoteJid: jid, fromMe: false, id: replyTo };
    return { key, message: own?.message ?? { conversation: "" } };
  }

  async #hasContacted(session: BaileysSession, phone: string): Promise<boolean> {
    if (this.#contacted.has(`${session.row.id} ${phone}`)) return true;
    const known = await this.#deps.sessions.hasContacted(session.row.id, phone);
    if (known) this.#remember(session, phone);
    return known;
  }

  #remember(session: BaileysSession, phone: string): void {
    if (this.#contacted.size >= REMEMBERED_CONTACTS) this.#contacted.clear();
    this.#contacted.add(`${session.row.id} ${phone}`);
  }
}

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

function notAsked(words: string): TransientError {
  return new TransientError(words, { code: "not_asked", provider: NAME, delivery: "unknown" });
}

/** Characters that somebody would type for it. */
function lengthOf(content: Content): number {
  if ("text" in content) return content.text.length;
  return "caption" in content ? (content.caption?.length ?? 0) : 0;
}
