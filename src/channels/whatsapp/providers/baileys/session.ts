import { setTimeout as delay } from "node:timers/promises";
import { DisconnectReason, fetchLatestWaWebVersion, type WASocket, type WAVersion } from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import type { LaneHost, OpenLane } from "../../../channel.ts";
import type { Clock } from "../../../../core/clock.ts";
import type { Inbound } from "../../../../core/inbound.ts";
import { messageOf } from "../../../../core/errors.ts";
import type { Lease, Session, SessionReport, SessionStore } from "../../../../store/sessions.ts";
import type { AuthState } from "./auth-state.ts";
import { backOffMs, Reactions, type Closing } from "./close-codes.ts";
import { NAME, type BaileysEnv } from "./environment.ts";
import { listenIncoming } from "./inbound-events.ts";
import { openKeys, type Keys } from "./keys.ts";
import { laneOfSession } from "./lanes.ts";
import { Line } from "./line.ts";
import { Numbers } from "./numbers.ts";
import { Pace } from "./pacing.ts";
import { storeReceiptsFirst } from "./receipts.ts";
import { takeReply } from "./replies.ts";
import { SealError, type Sealer } from "./sealed.ts";
import { SentMessages } from "./sent-messages.ts";
import { isUnpaced, paceSettings } from "./settings.ts";
import { endSocket, openSocket } from "./socket.ts";
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
  readonly line: Line;
  readonly sent: SentMessages;
  /** By the monotonic clock: from then on it may be another process', whether or not this one has noticed. */
  mineUntil = Infinity;
  #row: Session;
  readonly #ports: SessionPorts;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  readonly #reactions: Reactions;
  #keys: Keys | undefined;
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
    this.line = new Line(() => ports.clock.monotonic() < this.mineUntil);
    this.sent = new SentMessages(ports.store, ports.sealer, row.id);
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
    const { current } = this.line;
    if (otherMethod && current && !this.#keys?.isPaired) {
      // As if WhatsApp had asked for a new connection: what it offers is for the other method.
      void endSocket(current, "Pairing begins anew", DisconnectReason.restartRequired);
    }
    if (!changed || !this.pace) return;
    const pace = paceSettings(this.#ports.env, row.settings);
    this.pace.update(pace);
    this.#lane?.setConcurrency(this.#concurrency());
  }

  /** Resolves when what the messages so far have made of the keys is in the database; rejects when it cannot be. */
  async keysWritten(): Promise<void> {
    await this.#keys?.flushed();
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
    const { current } = this.line;
    this.line.closed();
    await current?.end(undefined);
    await this.ended;
    const keys = this.#keys;
    await Promise.race([keys?.flushed().catch(() => {}), delay(FLUSH_TIMEOUT_MS, undefined, { ref: false })]);
    await keys?.close();
    await this.#reporting;
  }

  /** Unlinks the device on the phone, and forgets everything. */
  async logout(): Promise<void> {
    // Just claimed, its credentials are still to be read.
    if (this.#keys ? this.#keys.isPaired : this.#row.pairedAt !== null) {
      try {
        const sock = await this.line.whenOpen(AbortSignal.timeout(LOGOUT_TIMEOUT_MS));
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
      const keys = await this.#openKeys();
      if (!keys || !(await this.#openPace())) return;
      const { auth, isPaired } = keys;
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
          await keys.close();
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
    this.line.giveUp();
    const lane = this.#lane;
    this.#lane = undefined;
    lane?.close().catch((error: unknown) => {
      this.#log.warn({ err: error }, "a lane was not closed well");
    });
  }

  async #openKeys(): Promise<Keys | undefined> {
    const known = this.#keys;
    if (known?.isPaired) {
      // The last connection may have ended because they could not be written.
      await this.#untilDone(() => known.auth.saveCreds());
      return known;
    }
    await known?.close();
    const { store, sealer } = this.#ports;
    const options = { store, sealer, lease: this.lease, onLost: () => void this.end(), log: this.#log };
    const keys = await this.#untilDone(() => openKeys(options));
    this.#keys = keys;
    await this.#untilDone(async () => keys?.auth.reseal());
    return keys;
  }

  async #openPace(): Promise<Pace | undefined> {
    if (this.pace) return this.pace;
    // There may be many, and nobody waits for them.
    void this.#resealSent().catch((error: unknown) =>
      this.#log.error({ err: error }, "sent messages are still sealed with an earlier key"),
    );
    const { store, clock, env } = this.#ports;
    const { id, pairedAt, coldPausedUntil, settings } = this.#row;
    const newContactsToday = await this.#untilDone(() => store.contactsSince(id, startOfDay(clock.now())));
    this.pace = new Pace({
      settings: paceSettings(env, settings),
      clock,
      pairedAt: pairedAt === null ? null : Date.parse(pairedAt),
      newContactsToday: newContactsToday ?? 0,
      coldPausedUntil: coldPausedUntil === null ? null : Date.parse(coldPausedUntil),
    });
    return this.pace;
  }

  async #resealSent(): Promise<void> {
    for (let after: string | undefined = ""; after !== undefined;) {
      const from: string = after;
      after = await this.#untilDone(() => this.sent.reseal(from));
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
        getMessage: async (id) => (await this.sent.find(id))?.message,
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
        onClosing: () => this.line.closed(),
        onClose: (closing) => {
          this.line.closed();
          resolve({ closing, wasOpen });
        },
      });
      this.line.connecting(sock);
      const { inbound } = this.#ports;
      const replies = {
        session: this.#row,
        numbers: this.numbers,
        inbound,
        env,
        log: this.#log,
        persist: <T>(work: () => Promise<T>) => this.#untilDone(work),
      };
      listenIncoming(sock, (incoming) => void takeReply(incoming, sock, replies));
      storeReceiptsFirst(sock, async (statuses) => {
        const at = this.#ports.clock.now();
        const stored = statuses.map(({ id, status }) =>
          inbound.receipt({ provider: NAME, providerMessageId: id, status, at }),
        );
        return (await Promise.all(stored)).every(Boolean);
      });
      if (this.#ending.signal.aborted) void sock.end(undefined);
    });
  }

  /** What a person needs for pairing: a code to type in, asked for anew on each connection, or a picture to scan. */
  async #offer(sock: WASocket, qr: string): Promise<void> {
    if (this.#row.method === "qr") return this.#report({ qr });
    if (this.#keys?.auth.state.creds.pairingCode) return;
    try {
      this.#report({ pairingCode: await sock.requestPairingCode(this.#row.phone.slice(1)) });
    } catch (error) {
      this.#log.warn({ err: error }, "no pairing code");
    }
  }

  #opened(sock: WASocket, { state: { creds } }: AuthState): void {
    this.#reactions.opened();
    this.line.opened(sock);
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

  #concurrency(): number {
    const { env } = this.#ports;
    return isUnpaced(paceSettings(env, this.#row.settings)) ? env.WHATSAPP_CONCURRENCY : 1;
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

function versionOf(text: string | undefined): WAVersion | undefined {
  return text === undefined ? undefined : (text.split(".").map(Number) as unknown as WAVersion);
}
