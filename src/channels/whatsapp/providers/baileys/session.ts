import { setTimeout as delay } from "node:timers/promises";
import {
  DisconnectReason,
  fetchLatestWaWebVersion,
  proto,
  type WASocket,
  type WAVersion,
} from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import type { LaneHost, OpenLane } from "../../../channel.ts";
import type { Clock } from "../../../../core/clock.ts";
import type { Inbound } from "../../../../core/inbound.ts";
import { messageOf } from "../../../../core/errors.ts";
import type { Lease, Session, SessionReport, SessionStore } from "../../../../store/sessions.ts";
import { openAuthState, type AuthState } from "./auth-state.ts";
import { backOffMs, Reactions, type Closing } from "./close-codes.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import { listenInbound, type Incoming } from "./inbound-events.ts";
import { KeyBuffer } from "./key-buffer.ts";
import { laneOfSession } from "./lanes.ts";
import { Numbers } from "./numbers.ts";
import { Pace } from "./pacing.ts";
import { SealError, type Sealer } from "./sealed.ts";
import { isUnpaced, paceSettings } from "./settings.ts";
import { endSocket, isThere, openSocket } from "./socket.ts";
import { startOfDay } from "./warm-up.ts";

export interface SessionPorts {
  store: SessionStore;
  sealer: Sealer;
  env: BaileysEnv;
  clock: Clock;
  log: Logger;
  inbound: Inbound;
  lanes: LaneHost;
}

/** Between two tries to read from a database that is away, milliseconds. */
const DATABASE_RETRY_MS = 1000;
const RESEAL_PAGE = 200;
/** Before a session whose keys cannot be opened is tried again, here or elsewhere, milliseconds. */
const WRONG_KEY_WAIT_MS = 15_000;
/** How long first contacts rest when WhatsApp does not say until when, milliseconds. */
const RESTRICTED_MS = 24 * 3_600_000;
/** How long the last keys of a session that ends may take to be written, milliseconds. */
const FLUSH_TIMEOUT_MS = 1000;
/** How long a session that is to be logged out may take to connect for it, milliseconds. */
const LOGOUT_TIMEOUT_MS = 15_000;

/**
 * One session in the process that owns it, from the claim to the end of the lease.
 *
 * pairing ─▶ connecting ─▶ open ─▶ backing-off ─▶ connecting …
 *                 └──────────┴──▶ logged-out, banned, stopped: over until it is paired again
 *
 * Its lane is worked from the first time it is open, also while it connects again: messages wait for it.
 */
export class BaileysSession {
  readonly lease: Lease;
  /** Resolves when it is over: the lease is to be given back, or is lost. */
  readonly ended: Promise<void>;
  pace: Pace | undefined;
  readonly numbers: Numbers;
  /** By the monotonic clock: from then on it may be another process', whether or not this one has noticed. */
  mineUntil = Infinity;
  #row: Session;
  readonly #ports: SessionPorts;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  readonly #reactions: Reactions;
  #auth: AuthState | undefined;
  #keys: KeyBuffer | undefined;
  #socket: WASocket | undefined;
  /** Resolves while the session is open. */
  #open = Promise.withResolvers<WASocket>();
  #isOpen = false;
  /** What needs the connection that there is now. */
  readonly #ongoing = new Set<(reason: Error) => void>();
  #doubt: Promise<boolean> | undefined;
  #lane: OpenLane | undefined;
  #version: WAVersion | undefined;
  #reporting: Promise<unknown> = Promise.resolve();

  /** @param before what has to be over before it connects. */
  constructor(row: Session, ports: SessionPorts, before?: Promise<void>) {
    this.#row = row;
    this.#ports = ports;
    this.lease = { id: row.id, epoch: row.epoch };
    this.#log = ports.log.child({ sessionId: row.id });
    this.#reactions = new Reactions(() => ports.clock.monotonic());
    this.#version = versionOf(ports.env.WHATSAPP_VERSION);
    this.numbers = new Numbers(ports.store, () => ports.clock.now());
    // Nobody may be waiting for it when it is given up.
    this.#open.promise.catch(() => {});
    this.ended = this.#run(before)
      .catch((error: unknown) => this.#fail(error))
      .finally(() => this.#giveUpWaiting());
  }

  get row(): Session {
    return this.#row;
  }

  /** What the ledger says now: other settings, or that it is to go. */
  update(row: Session): void {
    const settings = JSON.stringify(row.settings);
    const changed = settings !== JSON.stringify(this.#row.settings);
    const otherMethod = row.method !== this.#row.method;
    this.#row = row;
    if (otherMethod && this.#socket && !this.#auth?.state.creds.account) {
      // As if WhatsApp had asked for a new connection: what it offers is for the other method.
      void endSocket(this.#socket, "Pairing begins anew", DisconnectReason.restartRequired);
    }
    if (!changed || !this.pace) return;
    const pace = paceSettings(this.#ports.env, row.settings);
    this.pace.update(pace);
    this.#lane?.setConcurrency(this.#concurrency());
  }

  /** The socket, once it is open; rejects by the signal, or when the session is over. */
  async whenOpen(signal: AbortSignal): Promise<WASocket> {
    if (this.socket) return this.socket;
    const { promise, reject } = Promise.withResolvers<never>();
    const onAbort = (): void => reject(signal.reason);
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    try {
      return await Promise.race([this.#open.promise, promise]);
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  /** The socket if it is open now, and this process' for certain. */
  get socket(): WASocket | undefined {
    return this.#isOpen && this.#ports.clock.monotonic() < this.mineUntil ? this.#socket : undefined;
  }

  /**
   * Settles as `work` does, or rejects as soon as the connection ends or `signal` aborts; the work's own signal tells it.
   * Baileys would leave it waiting for a minute for what can never be answered.
   */
  async whileOpen<T>(work: (signal: AbortSignal) => Promise<T>, signal?: AbortSignal): Promise<T> {
    signal?.throwIfAborted();
    const controller = new AbortController();
    const { promise: cut, reject } = Promise.withResolvers<never>();
    const stop = (reason: unknown): void => {
      controller.abort(reason);
      reject(reason);
    };
    const onAbort = (): void => stop(signal?.reason);
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#ongoing.add(stop);
    try {
      return await Promise.race([work(controller.signal), cut]);
    } finally {
      this.#ongoing.delete(stop);
      signal?.removeEventListener("abort", onAbort);
    }
  }

  /**
   * Something that WhatsApp's server answers was not answered: asks whether it is there at all, and ends the connection
   * when it is not. Baileys would notice within a minute, and every message until then be in doubt. Answers whether it is.
   */
  doubt(sock: WASocket): Promise<boolean> {
    if (sock !== this.#socket) return Promise.resolve(false);
    this.#doubt ??= isThere(sock)
      .then(async (there) => {
        if (!there && sock === this.#socket) await endSocket(sock, "WhatsApp's server does not answer any more");
        return there;
      })
      .finally(() => (this.#doubt = undefined));
    return this.#doubt;
  }

  /** Resolves when what the messages so far have made of the keys is in the database; rejects when it cannot be. */
  async keysWritten(): Promise<void> {
    await this.#keys?.flushed();
  }

  seal(plain: Buffer, id: string): string {
    return this.#ports.sealer.seal(plain, sentAad(this.#row.id, id));
  }

  /** What was sent under WhatsApp's id; undefined when it was not, or is too long ago. */
  async sentMessage(id: string): Promise<{ jid: string; message: proto.IMessage } | undefined> {
    const { store, sealer } = this.#ports;
    const sent = await store.sent(id);
    if (!sent || sent.sessionId !== this.#row.id) return undefined;
    return { jid: sent.jid, message: proto.Message.decode(sealer.open(sent.sealed, sentAad(this.#row.id, id))) };
  }

  /** No first contacts before then, or for a day: WhatsApp has restricted the number. */
  pauseCold(untilMs?: number): void {
    const now = this.#ports.clock.now();
    const ends = untilMs !== undefined && untilMs > now ? untilMs : now + RESTRICTED_MS;
    const until = new Date(ends).toISOString();
    this.pace?.pauseCold(ends);
    this.#log.error({ until }, "WhatsApp restricts a number: no first contacts for now");
    this.#report({
      coldPausedUntil: until,
      lastError: "WhatsApp restricts first contacts from this number for now.",
      ...(this.pace ? { pace: this.pace.status() } : {}),
    });
  }

  #resumeCold(): void {
    this.pace?.pauseCold(null);
    this.#log.info("WhatsApp restricts a number no longer");
    this.#report({ coldPausedUntil: null, lastError: null, ...(this.pace ? { pace: this.pace.status() } : {}) });
  }

  reportPace(): void {
    if (this.pace) this.#report({ pace: this.pace.status() });
  }

  /** Ends the connection; the lease may be given back afterwards. */
  async end(): Promise<void> {
    this.#ending.abort(new Error("The session ends here."));
    const socket = this.#socket;
    this.#closed();
    await socket?.end(undefined);
    await this.ended;
    const keys = this.#keys;
    await Promise.race([keys?.flushed().catch(() => {}), delay(FLUSH_TIMEOUT_MS, undefined, { ref: false })]);
    await keys?.close();
    await this.#reporting;
  }

  /** Unlinks the device on the phone, and forgets everything. */
  async logout(): Promise<void> {
    // Just claimed, its credentials are still to be read.
    if (this.#auth ? this.#auth.state.creds.account : this.#row.pairedAt !== null) {
      try {
        const sock = await this.whenOpen(AbortSignal.timeout(LOGOUT_TIMEOUT_MS));
        await sock.logout();
      } catch (error) {
        this.#log.warn(
          { err: error },
          "a session is forgotten without telling the phone: it may still list the device",
        );
      }
    }
    await this.end();
    await this.#ports.store.wipe(this.lease, true);
  }

  async #run(before: Promise<void> | undefined): Promise<void> {
    const { signal } = this.#ending;
    let tries = 0;
    await before;
    while (!signal.aborted) {
      const auth = await this.#loadAuth();
      if (!auth) return;
      const isPaired = Boolean(auth.state.creds.account);
      this.#state(isPaired ? "connecting" : "pairing");
      const { closing, wasOpen } = await this.#connect(auth);
      if (signal.aborted) break;
      if (wasOpen) tries = 0;
      const reaction = this.#reactions.to(closing);
      const waitMs =
        reaction.do === "back-off" ? Math.round(Math.max(reaction.atLeastMs, backOffMs(tries + 1))) : undefined;
      this.#log.info({ code: closing.code, reaction: reaction.do, waitMs }, "a WhatsApp connection ended");
      switch (reaction.do) {
        case "reconnect":
          continue;
        case "refresh-version":
          await this.#refreshVersion();
          continue;
        case "back-off": {
          tries += 1;
          this.#state(isPaired ? "backing-off" : "pairing", {
            lastError: `${closing.words} (${closing.code})`,
            qr: null,
            pairingCode: null,
          });
          await delay(waitMs, undefined, { signal }).catch(() => {});
          continue;
        }
        case "end":
          this.#log.error({ code: closing.code, state: reaction.state }, "a WhatsApp session needs a person");
          // What the socket has not written yet would come after the wiping.
          await auth.close();
          await this.#keys?.close();
          if (reaction.wipe) await this.#untilDone(() => this.#ports.store.wipe(this.lease, false));
          this.#state(reaction.state, { lastError: reaction.words, qr: null, pairingCode: null });
          await this.#reporting;
          return;
      }
    }
  }

  async #fail(fault: unknown): Promise<void> {
    this.#log.error({ err: fault }, "a WhatsApp session ended by a fault");
    if (fault instanceof SealError && fault.code === "unknown_key") {
      // Whoever set the variable can mend it, here or in another process: a pairing is not given up for that.
      this.#state("backing-off", { lastError: messageOf(fault) });
      await delay(WRONG_KEY_WAIT_MS, undefined, { signal: this.#ending.signal }).catch(() => {});
    } else {
      this.#state("stopped", { lastError: `It ended by a fault: ${messageOf(fault)}` });
    }
    // Before the lease is given back: afterwards it would be refused.
    await this.#reporting;
  }

  #giveUpWaiting(): void {
    this.#open.reject(new Error("The session is not connected here any more."));
    const lane = this.#lane;
    this.#lane = undefined;
    lane?.close().catch((error: unknown) => {
      this.#log.warn({ err: error }, "a lane was not closed well");
    });
  }

  /** A pairing that was not completed leaves keys that the next one cannot go on with. */
  async #loadAuth(): Promise<AuthState | undefined> {
    const known = this.#auth;
    if (known?.state.creds.account) {
      // The last connection may have ended because they could not be written.
      await this.#untilDone(() => known.saveCreds());
      return known;
    }
    await known?.close();
    await this.#keys?.close();
    const { store, sealer } = this.#ports;
    const ours = { lease: this.lease, onLost: () => void this.end() };
    const open = async (): Promise<AuthState> => {
      const keys = await KeyBuffer.open({ ...ours, store });
      this.#keys = keys;
      return openAuthState({ ...ours, store: keys, sealer, log: this.#log });
    };
    let auth = await this.#untilDone(open);
    if (auth && !auth.state.creds.account) {
      await this.#untilDone(() => store.wipe(this.lease, false));
      auth = await this.#untilDone(open);
    }
    if (!auth) return undefined;
    this.#auth = auth;
    await this.#untilDone(() => auth.reseal());
    if (this.pace) return auth;
    // There may be many, and nobody waits for them.
    void this.#resealSent().catch((error: unknown) =>
      this.#log.error({ err: error }, "sent messages are still sealed with an earlier key"),
    );
    const newContactsToday = await this.#untilDone(() =>
      store.contactsSince(this.#row.id, startOfDay(this.#ports.clock.now())),
    );
    const { pairedAt, coldPausedUntil, settings } = this.#row;
    this.pace = new Pace({
      settings: paceSettings(this.#ports.env, settings),
      clock: this.#ports.clock,
      pairedAt: pairedAt === null ? null : Date.parse(pairedAt),
      newContactsToday: newContactsToday ?? 0,
      coldPausedUntil: coldPausedUntil === null ? null : Date.parse(coldPausedUntil),
    });
    return auth;
  }

  async #resealSent(): Promise<void> {
    const { store, sealer } = this.#ports;
    const { id } = this.#row;
    for (let after = ""; !this.#ending.signal.aborted;) {
      const stale = await this.#untilDone(() => store.staleSent(id, sealer.mark, after, RESEAL_PAGE));
      const last = stale?.at(-1);
      if (!stale || !last) return;
      after = last.id;
      const rows = stale.map((row) => {
        const aad = sentAad(id, row.id);
        return { id: row.id, sealed: sealer.seal(sealer.open(row.sealed, aad), aad) };
      });
      await this.#untilDone(() => store.resealSent(id, rows));
    }
  }

  /** Waits for the database; undefined when the session ends first. */
  async #untilDone<T>(work: () => Promise<T>): Promise<T | undefined> {
    const { signal } = this.#ending;
    while (!signal.aborted) {
      try {
        return await work();
      } catch (error) {
        if ((error as Error).name !== "UnavailableError") throw error;
        await delay(DATABASE_RETRY_MS, undefined, { signal }).catch(() => {});
      }
    }
    return undefined;
  }

  #connect(auth: AuthState): Promise<{ closing: Closing; wasOpen: boolean }> {
    return new Promise((resolve) => {
      let wasOpen = false;
      const { env } = this.#ports;
      const sock = openSocket({
        url: env.WHATSAPP_WS_URL,
        version: this.#version,
        auth,
        log: this.#log,
        getMessage: async (id) => (await this.sentMessage(id))?.message,
        onQr: (qr) => void this.#offer(sock, qr),
        onPaired: () => {
          const now = this.#ports.clock.now();
          this.pace?.notePaired(now);
          this.#report({ pairedAt: new Date(now).toISOString(), qr: null, pairingCode: null });
        },
        onRestriction: ({ isActive, timeEnforcementEnds }) =>
          isActive ? this.pauseCold(timeEnforcementEnds?.getTime()) : this.#resumeCold(),
        onOpen: () => {
          wasOpen = true;
          this.#opened(sock, auth);
        },
        onClosing: () => this.#closed(),
        onClose: (closing) => {
          this.#closed();
          resolve({ closing, wasOpen });
        },
      });
      this.#socket = sock;
      listenInbound(sock, {
        onIncoming: (incoming) => void this.#take(incoming, sock),
        onStatus: (id, status) => {
          // An error is the answer to a send that is under way, which learns of it by itself.
          if (status === "failed") return;
          this.#ports.inbound.receipt({ provider: NAME, providerMessageId: id, status, at: this.#ports.clock.now() });
        },
      });
      if (this.#ending.signal.aborted) void sock.end(undefined);
    });
  }

  /** What a person needs for pairing: a code to type in, asked for anew on each connection, or a picture to scan. */
  async #offer(sock: WASocket, qr: string): Promise<void> {
    if (this.#row.method === "qr") return this.#report({ qr });
    if (this.#auth?.state.creds.pairingCode) return;
    try {
      this.#report({ pairingCode: await sock.requestPairingCode(this.#row.phone.slice(1)) });
    } catch (error) {
      this.#log.warn({ err: error }, "no pairing code");
    }
  }

  #opened(sock: WASocket, { state: { creds } }: AuthState): void {
    this.#reactions.opened();
    this.#isOpen = true;
    this.#open.resolve(sock);
    const { id: jid, lid } = creds.me ?? {};
    this.#state("open", {
      lastError: null,
      qr: null,
      pairingCode: null,
      ...(jid ? { jid } : {}),
      ...(lid ? { lid } : {}),
    });
    this.#lane ??= this.#ports.lanes.open(laneOfSession(this.#row.id), this.#concurrency());
  }

  #closed(): void {
    if (this.#isOpen) {
      this.#open = Promise.withResolvers();
      this.#open.promise.catch(() => {});
    }
    this.#isOpen = false;
    this.#socket = undefined;
    for (const stop of this.#ongoing) stop(new Error("The connection to WhatsApp has ended."));
    this.#ongoing.clear();
  }

  #concurrency(): number {
    const { env } = this.#ports;
    return isUnpaced(paceSettings(env, this.#row.settings)) ? env.WHATSAPP_CONCURRENCY : 1;
  }

  /** Stores what a person wrote, and confirms a first stop. */
  async #take({ id, pn, lid, text, quotes, at }: Incoming, sock: WASocket): Promise<void> {
    const { inbound, env } = this.#ports;
    if (text === "") this.#log.warn({ whatsappId: id }, "a message could not be decrypted: its sender is asked again");
    try {
      const phones = (await this.#untilDone(() => this.numbers.phonesOf({ pn, lid }, sock))) ?? [];
      const [phone = `lid:${lid ?? ""}`, ...aliases] = phones;
      const { firstStop } = await inbound.reply({
        provider: NAME,
        ...(quotes ? { providerMessageId: quotes } : {}),
        replyId: id,
        accountId: this.#row.accountId,
        from: phone,
        aliases,
        to: this.#row.phone,
        text,
        at,
      });
      const words = env.WHATSAPP_STOP_CONFIRMATION;
      const jid = pn ?? lid;
      if (firstStop && words !== "none" && jid) await sock.sendMessage(jid, { text: words, linkPreview: null });
    } catch (error) {
      this.#log.error({ err: error, whatsappId: id }, "a reply was not handled to the end");
    }
  }

  async #refreshVersion(): Promise<void> {
    const { version, error } = await fetchLatestWaWebVersion();
    if (error) this.#log.warn({ err: error }, "the current WhatsApp version could not be found out");
    else this.#version = version;
  }

  #state(state: Session["state"], further: SessionReport = {}): void {
    this.#row = { ...this.#row, state };
    this.#report({ state, ...further });
  }

  /** In the order of the calls; waits for the database as long as the session lasts here. */
  #report(report: SessionReport): void {
    this.#reporting = this.#reporting
      .then(() => this.#untilDone(() => this.#ports.store.report(this.lease, report)))
      .then((kept) => {
        if (kept === false) void this.end();
      })
      .catch((error: unknown) => this.#log.error({ err: error }, "a session's state could not be written"));
  }
}

const sentAad = (sessionId: string, id: string): string => JSON.stringify([sessionId, "sent", id]);

function versionOf(text: string | undefined): WAVersion | undefined {
  return text === undefined ? undefined : (text.split(".").map(Number) as unknown as WAVersion);
}
