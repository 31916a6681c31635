import type { Admission, OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "../../../provider.ts";
import type { ProviderDeps } from "../../../provider-definition.ts";
import { PermanentError, ProviderError, RateLimitedError, TransientError } from "../../../../core/errors.ts";
import { createSealer, encryptionKeysOf } from "../../../../core/sealed.ts";
import type { WhatsAppMessage } from "../../content.ts";
import { createOpenMedia } from "../../open-media.ts";
import { aborted, closed, notAsked, notPrepared, RECONNECT_MS } from "./carrier-errors.ts";
import { Contacted } from "./contacted.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import { SessionLanes } from "./lanes.ts";
import { whatsappIdOf } from "./message-id.ts";
import { SessionOwner } from "./owner.ts";
import { TooSoonError } from "./patience.ts";
import { createPrepare } from "./prepare.ts";
import { quietLibsignal } from "./quiet.ts";
import { createRelay, NOT_CONFIRMED } from "./relay.ts";
import type { BaileysSession } from "./session.ts";
import { takeTurn } from "./turn.ts";

/** A job that has to wait looks again after this time at the latest: limits may have been changed by then. */
const LOOK_AGAIN_MS = 15 * 60_000;

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
  readonly #contacted: Contacted;
  readonly #prepare: ReturnType<typeof createPrepare>;
  readonly #relay: ReturnType<typeof createRelay>;

  constructor(env: BaileysEnv, deps: ProviderDeps) {
    quietLibsignal(globalThis.console);
    this.#env = env;
    this.#deps = deps;
    this.timeoutMs = env.WHATSAPP_TIMEOUT_MS;
    this.lanes = new SessionLanes(deps.sessions, () => deps.clock.monotonic());
    const openMedia = createOpenMedia({
      provider: NAME,
      uploads: deps.sessions,
      maxBytes: env.WHATSAPP_MAX_MEDIA_BYTES,
      policy: deps.fetchPolicy,
      // The rest is for giving it to WhatsApp.
      timeouts: { totalMs: env.WHATSAPP_TIMEOUT_MS / 2 },
    });
    this.#contacted = new Contacted(deps.sessions);
    this.#prepare = createPrepare(openMedia);
    this.#relay = createRelay({ ackTimeoutMs: env.WHATSAPP_ACK_TIMEOUT_MS, contacted: this.#contacted, log: deps.log });
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
    const contacted = this.#contacted.has(session.row.id, message.to);
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
    if (!(await contacted) && !this.#contacted.isKnown(session.row.id, message.to)) {
      const cold = session.pace.coldWait();
      if (cold) return { verdict: "later", delayMs: Math.min(LOOK_AGAIN_MS, cold.waitMs) };
      session.pace.noteNewContact();
      this.#contacted.note(session.row.id, message.to);
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
    const prepared = await session.line
      .whileOpen((open) => this.#prepare(request, session, sock, open), signal)
      .catch((error: unknown) => {
        if (signal.aborted) throw aborted("not_sent", error);
        // Nothing has left yet, and nothing is wrong with the message.
        if (session.line.socket !== sock) throw closed();
        throw error instanceof ProviderError ? error : notPrepared(error);
      });
    if (session.line.socket !== sock) throw closed();
    return this.#relay(session, sock, prepared, signal);
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
}
