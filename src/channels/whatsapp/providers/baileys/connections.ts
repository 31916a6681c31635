import { setTimeout as delay } from "node:timers/promises";
import type { WASocket, WAVersion } from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import type { Clock } from "../../../../core/clock.ts";
import { messageOf } from "../../../../core/errors.ts";
import type { Inbound } from "../../../../core/inbound.ts";
import type { Lease, Session, SessionStore } from "../../../../store/sessions.ts";
import type { AuthState } from "./auth-state.ts";
import { backOffMs, Reactions } from "./close-codes.ts";
import { connect } from "./connection.ts";
import type { BaileysEnv } from "./environment.ts";
import { openKeys, type Keys } from "./keys.ts";
import type { Line } from "./line.ts";
import type { Numbers } from "./numbers.ts";
import type { Pace } from "./pacing.ts";
import type { Reports } from "./reports.ts";
import type { Restriction } from "./restriction.ts";
import { SealError, type Sealer } from "../../../../core/sealed.ts";
import type { SentMessages } from "./sent-messages.ts";
import { untilAvailable } from "./until-available.ts";
import { latestVersion, versionOf } from "./version.ts";

/** What sessions have of their process. */
export interface ProcessPorts {
  store: SessionStore;
  sealer: Sealer;
  env: BaileysEnv;
  clock: Clock;
  log: Logger;
  inbound: Inbound;
}

export interface ConnectionsPorts extends ProcessPorts {
  lease: Lease;
  /** As the ledger has it now. */
  row(): Session;
  /** Its pace, made before the first connection; undefined when the session ends first. */
  openPace(): Promise<Pace | undefined>;
  numbers: Numbers;
  line: Line;
  sent: SentMessages;
  reports: Reports;
  restriction: Restriction;
  /** Of the session's end here. */
  signal: AbortSignal;
  onOpen(): void;
  /** The lease is another process' by now. */
  onLost(): void;
}

/** Before a session whose keys cannot be opened is tried again, here or elsewhere, milliseconds. */
const WRONG_KEY_WAIT_MS = 15_000;

/**
 * A session's connections, one after the other, until it ends here or a person has to look after it: how each ended says
 * how it goes on.
 */
export class Connections {
  readonly #ports: ConnectionsPorts;
  readonly #reactions: Reactions;
  #keys: Keys | undefined;
  #version: WAVersion | undefined;

  constructor(ports: ConnectionsPorts) {
    this.#ports = ports;
    this.#reactions = new Reactions(() => ports.clock.monotonic());
    this.#version = versionOf(ports.env.WHATSAPP_VERSION);
  }

  /** Those of the last connection; undefined before the first. */
  get keys(): Keys | undefined {
    return this.#keys;
  }

  /** Resolves at their end. Never rejects: a fault ends the session, and is reported. */
  async run(): Promise<void> {
    try {
      await this.#loop();
    } catch (error) {
      await this.#fail(error);
    }
  }

  async #loop(): Promise<void> {
    const { store, lease, log, reports, signal } = this.#ports;
    let tries = 0;
    while (!signal.aborted) {
      const keys = await this.#openKeys();
      const pace = keys && (await this.#ports.openPace());
      if (!keys || !pace) return;
      const { isPaired } = keys;
      reports.send({ state: isPaired ? "connecting" : "pairing" });
      const { closing, wasOpen } = await this.#connect(keys.auth, pace);
      if (signal.aborted) break;
      if (wasOpen) tries = 0;
      const reaction = this.#reactions.to(closing);
      const waitMs =
        reaction.do === "back-off" ? Math.round(Math.max(reaction.atLeastMs, backOffMs(tries + 1))) : undefined;
      log.info({ code: closing.code, reaction: reaction.do, waitMs }, "a WhatsApp connection ended");
      switch (reaction.do) {
        case "reconnect":
          continue;
        case "refresh-version":
          this.#version = (await latestVersion(log)) ?? this.#version;
          continue;
        case "back-off": {
          tries += 1;
          reports.send({
            state: isPaired ? "backing-off" : "pairing",
            lastError: `${closing.words} (${closing.code})`,
            qr: null,
            pairingCode: null,
          });
          await delay(waitMs, undefined, { signal }).catch(() => {});
          continue;
        }
        case "end":
          log.error({ code: closing.code, state: reaction.state }, "a WhatsApp session needs a person");
          // What the socket has not written yet would come after the wiping.
          await keys.close();
          if (reaction.wipe) await untilAvailable(() => store.wipe(lease, false), signal);
          reports.send({ state: reaction.state, lastError: reaction.words, qr: null, pairingCode: null });
          await reports.settled();
          return;
      }
    }
  }

  async #fail(fault: unknown): Promise<void> {
    const { log, reports, signal } = this.#ports;
    log.error({ err: fault }, "a WhatsApp session ended by a fault");
    if (fault instanceof SealError && fault.code === "unknown_key") {
      // Whoever set the variable can mend it, here or in another process: a pairing is not given up for that.
      reports.send({ state: "backing-off", lastError: messageOf(fault) });
      await delay(WRONG_KEY_WAIT_MS, undefined, { signal }).catch(() => {});
    } else {
      reports.send({ state: "stopped", lastError: `It ended by a fault: ${messageOf(fault)}` });
    }
    // Before the lease is given back: afterwards it would be refused.
    await reports.settled();
  }

  async #openKeys(): Promise<Keys | undefined> {
    const { store, sealer, lease, log, signal, onLost } = this.#ports;
    const known = this.#keys;
    if (known?.isPaired) {
      // The last connection may have ended because they could not be written.
      await untilAvailable(() => known.auth.saveCreds(), signal);
      return known;
    }
    await known?.close();
    const keys = await untilAvailable(() => openKeys({ store, sealer, lease, onLost, log }), signal);
    this.#keys = keys;
    await untilAvailable(async () => keys?.auth.reseal(), signal);
    return keys;
  }

  #connect(auth: AuthState, pace: Pace) {
    const { clock, reports, restriction, signal } = this.#ports;
    return connect({
      ...this.#ports,
      session: this.#ports.row(),
      auth,
      version: this.#version,
      persist: (work) => untilAvailable(work, signal),
      onQr: (sock, qr) => void this.#offer(sock, qr),
      onPaired: () => {
        const now = clock.now();
        pace.notePaired(now);
        reports.send({ pairedAt: new Date(now).toISOString(), qr: null, pairingCode: null });
      },
      onRestriction: ({ isActive, untilMs }) => (isActive ? restriction.imposed(untilMs) : restriction.lifted()),
      onOpen: (sock) => this.#opened(sock, auth),
    });
  }

  /** What a person needs for pairing: a code to type in, asked for anew on each connection, or a picture to scan. */
  async #offer(sock: WASocket, qr: string): Promise<void> {
    const { row, reports, log } = this.#ports;
    const { method, phone } = row();
    if (method === "qr") return reports.send({ qr });
    if (this.#keys?.auth.state.creds.pairingCode) return;
    try {
      reports.send({ pairingCode: await sock.requestPairingCode(phone.slice(1)) });
    } catch (error) {
      log.warn({ err: error }, "no pairing code");
    }
  }

  #opened(sock: WASocket, { state: { creds } }: AuthState): void {
    const { line, reports, onOpen } = this.#ports;
    this.#reactions.opened();
    line.opened(sock);
    const { id: jid, lid } = creds.me ?? {};
    reports.send({
      state: "open",
      lastError: null,
      qr: null,
      pairingCode: null,
      ...(jid ? { jid } : {}),
      ...(lid ? { lid } : {}),
    });
    onOpen();
  }
}
