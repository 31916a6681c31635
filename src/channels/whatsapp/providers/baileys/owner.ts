import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../../../../core/errors.ts";
import type { Session } from "../../../../store/sessions.ts";
import { laneOfSession } from "./lanes.ts";
import { BaileysSession, type SessionPorts } from "./session.ts";

/** Sessions taken over in one go: what a dead process leaves is shared by those that are left. */
const CLAIM_LIMIT = 5;
/** A lease is renewed so many times before it would run out. */
const RENEWALS = 3;

interface Held {
  session: BaileysSession;
  /** By the monotonic clock: from then on another process may have it, whether or not the database can be asked. */
  leasedUntil: number;
}

/**
 * The sessions that this process has. Claims those that nobody has, renews its leases, and ends a session at once when
 * its lease is lost or could not be renewed in time: two sockets for one session would ruin its keys.
 */
export class SessionOwner {
  readonly #ports: SessionPorts;
  readonly #name = randomUUID();
  readonly #held = new Map<string, Held>();
  readonly #closing = new AbortController();
  readonly #leaseMs: number;
  #nudge = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  constructor(ports: SessionPorts) {
    this.#ports = ports;
    this.#leaseMs = ports.env.WHATSAPP_LEASE_MS;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Looks at once instead of at the next turn. */
  nudge(): void {
    this.#nudge.resolve();
  }

  /** The session whose lane this is, if it is here. */
  byLane(lane: string | undefined): BaileysSession | undefined {
    const held = [...this.#held.values()].find(({ session }) => laneOfSession(session.lease.id) === lane);
    return held?.session;
  }

  /** Ends all sessions and gives their leases back, so that another process can go on at once. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#running;
    await Promise.all(
      [...this.#held.values()].map(async ({ session }) => {
        await session.end();
        await this.#release(session);
      }),
    );
    this.#held.clear();
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing;
    while (!signal.aborted) {
      await this.#turn();
      this.#nudge = Promise.withResolvers();
      const pause = delay(this.#leaseMs / RENEWALS, undefined, { signal }).catch(() => {});
      await Promise.race([pause, this.#nudge.promise]);
    }
  }

  async #turn(): Promise<void> {
    const { store, log, clock } = this.#ports;
    const asked = clock.monotonic();
    try {
      const kept = new Map(
        (
          await store.renew(
            [...this.#held.values()].map(({ session }) => session.lease),
            this.#leaseMs,
          )
        ).map((row) => [row.id, row]),
      );
      for (const [id, held] of this.#held) {
        const row = kept.get(id);
        if (row) this.#renewed(held, row, asked);
        else this.#lost(held.session);
      }
      for (const row of await store.claim(this.#name, this.#leaseMs, CLAIM_LIMIT)) this.#begin(row, asked);
    } catch (error) {
      if (!(error instanceof UnavailableError))
        log.error({ err: error }, "WhatsApp sessions could not be looked after");
      for (const { session, leasedUntil } of this.#held.values()) {
        if (clock.monotonic() >= leasedUntil - this.#leaseMs / RENEWALS) this.#lost(session);
      }
    }
  }

  #begin(row: Session, asked: number): void {
    const { log } = this.#ports;
    log.info({ sessionId: row.id, epoch: row.epoch, state: row.state }, "a WhatsApp session is connected from here");
    const session = new BaileysSession(row, this.#ports);
    this.#held.set(row.id, { session, leasedUntil: asked + this.#leaseMs });
    if (row.wanted === "gone") return this.#dismiss(session);
    void session.ended.then(async () => {
      // Over by itself, or lost: unless a later claim has taken its place.
      if (this.#held.get(row.id)?.session !== session) return;
      this.#held.delete(row.id);
      await this.#release(session);
    });
  }

  #renewed(held: Held, row: Session, asked: number): void {
    held.leasedUntil = asked + this.#leaseMs;
    if (row.wanted === "gone" && held.session.row.wanted === "on") this.#dismiss(held.session);
    held.session.update(row);
    held.session.reportPace();
  }

  #dismiss(session: BaileysSession): void {
    const { log } = this.#ports;
    session
      .logout()
      .then(() => log.info({ sessionId: session.lease.id }, "a WhatsApp session was logged out and forgotten"))
      .catch((error: unknown) => log.error({ err: error, sessionId: session.lease.id }, "a session was not forgotten"))
      .finally(() => this.#held.delete(session.lease.id));
  }

  #lost(session: BaileysSession): void {
    this.#ports.log.warn({ sessionId: session.lease.id }, "the lease of a WhatsApp session is lost: it ends here");
    this.#held.delete(session.lease.id);
    void session.end();
  }

  async #release(session: BaileysSession): Promise<void> {
    const { store, log } = this.#ports;
    await store.report(session.lease, { release: true }).catch((error: unknown) => {
      log.debug({ err: error }, "a lease was not given back: it runs out by itself");
    });
  }
}
