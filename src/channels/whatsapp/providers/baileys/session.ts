import { setTimeout as delay } from "node:timers/promises";
import { DisconnectReason } from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import type { LaneHost } from "../../../lanes.ts";
import type { Lease, Session } from "../../../../store/sessions.ts";
import { Connections, type ProcessPorts } from "./connections.ts";
import { FRESH_MS, laneOfSession } from "./lanes.ts";
import { Line } from "./line.ts";
import { Numbers } from "./numbers.ts";
import { Pace } from "./pacing.ts";
import { Reports } from "./reports.ts";
import { Restriction, statusOf } from "./restriction.ts";
import { SentMessages } from "./sent-messages.ts";
import { SessionLane } from "./session-lane.ts";
import { isUnpaced, paceSettings } from "./settings.ts";
import { endSocket } from "./socket.ts";
import { untilAvailable } from "./until-available.ts";
import { startOfDay } from "./warm-up.ts";

export interface SessionPorts extends ProcessPorts {
  lanes: LaneHost;
}

/** How long the last keys of a session that ends may take to be written, milliseconds. */
const FLUSH_TIMEOUT_MS = 1000;
/** How long a session that is to be logged out may take to connect for it, milliseconds. */
const LOGOUT_TIMEOUT_MS = 15_000;
/** Within that everybody knows that a session is to go, and puts nothing into its lane any more, milliseconds. */
const UNKNOWN_AFTER_MS = FRESH_MS + 500;

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
  readonly restriction: Restriction;
  /** By the monotonic clock: from then on it may be another process', whether or not this one has noticed. */
  mineUntil = Infinity;
  #row: Session;
  readonly #ports: SessionPorts;
  readonly #log: Logger;
  readonly #ending = new AbortController();
  readonly #reports: Reports;
  readonly #lane: SessionLane;
  readonly #connections: Connections;

  /** @param before what has to be over before it connects. */
  constructor(row: Session, ports: SessionPorts, before?: Promise<void>) {
    const { store, sealer, clock } = ports;
    const { signal } = this.#ending;
    this.#row = row;
    this.#ports = ports;
    this.#log = ports.log.child({ sessionId: row.id });
    this.lease = { id: row.id, epoch: row.epoch };
    this.numbers = new Numbers(store, clock);
    this.line = new Line(() => clock.monotonic() < this.mineUntil);
    this.sent = new SentMessages(store, sealer, row.id);
    const onLost = (): void => void this.end();
    const shared = { ...ports, lease: this.lease, log: this.#log, signal, onLost };
    const reports = (this.#reports = new Reports(shared));
    const lane = (this.#lane = new SessionLane({ ...shared, host: ports.lanes, name: laneOfSession(row.id) }));
    this.restriction = new Restriction({ ...shared, pace: () => this.pace, reports, lane });
    this.#connections = new Connections({
      ...shared,
      row: () => this.#row,
      openPace: () => this.#openPace(),
      numbers: this.numbers,
      line: this.line,
      sent: this.sent,
      reports,
      restriction: this.restriction,
      onOpen: () => lane.open(this.#concurrency()),
    });
    this.ended = this.#run(before);
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
    if (otherMethod && current && !this.#connections.keys?.isPaired) {
      // As if WhatsApp had asked for a new connection: what it offers is for the other method.
      void endSocket(current, "Pairing begins anew", DisconnectReason.restartRequired);
    }
    if (!changed || !this.pace) return;
    const waited = this.pace.coldWait();
    this.pace.update(paceSettings(this.#ports.env, row.settings));
    this.#lane.setConcurrency(this.#concurrency());
    if (waited && !this.pace.coldWait()) this.#lane.wake();
  }

  /** Resolves when what the messages so far have made of the keys is in the database; rejects when it cannot be. */
  async keysWritten(): Promise<void> {
    await this.#connections.keys?.flushed();
  }

  reportPace(): void {
    if (this.pace) this.#reports.send(statusOf(this.pace));
  }

  /** Ends the connection; the lease may be given back afterwards. */
  async end(): Promise<void> {
    this.#ending.abort(new Error("The session ends here."));
    const { current } = this.line;
    this.line.closed();
    await current?.end(undefined);
    await this.ended;
    const { keys } = this.#connections;
    await Promise.race([keys?.flushed().catch(() => {}), delay(FLUSH_TIMEOUT_MS, undefined, { ref: false })]);
    await keys?.close();
    await this.#reports.settled();
  }

  /** Unlinks the device on the phone, and forgets everything. What it leaves undone is done by whoever claims it next. */
  async logout(): Promise<void> {
    const { store } = this.#ports;
    const { keys } = this.#connections;
    const unknown = delay(UNKNOWN_AFTER_MS, undefined, { ref: false });
    // Just claimed, its credentials are still to be read.
    if (keys ? keys.isPaired : this.#row.pairedAt !== null) {
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
    await store.wipe(this.lease, false);
    await unknown;
    await this.#lane.remove();
    await store.wipe(this.lease, true);
  }

  async #run(before: Promise<void> | undefined): Promise<void> {
    await before;
    await this.#connections.run();
    // Nobody has to wait for it any more.
    this.line.giveUp();
    this.#lane.close();
  }

  async #openPace(): Promise<Pace | undefined> {
    if (this.pace) return this.pace;
    // There may be many, and nobody waits for them.
    void this.#resealSent().catch((error: unknown) =>
      this.#log.error({ err: error }, "sent messages are still sealed with an earlier key"),
    );
    const { store, clock, env } = this.#ports;
    const { id, pairedAt, coldPausedUntil, settings } = this.#row;
    const today = startOfDay(clock.now());
    const newContactsToday = await untilAvailable(() => store.contactsSince(id, today), this.#ending.signal);
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
      after = await untilAvailable(() => this.sent.reseal(from), this.#ending.signal);
    }
  }

  #concurrency(): number {
    const { env } = this.#ports;
    return isUnpaced(paceSettings(env, this.#row.settings)) ? env.WHATSAPP_CONCURRENCY : 1;
  }
}
