import { randomUUID } from "node:crypto";
import { UnavailableError } from "../../../../core/errors.ts";
import type { Session } from "../../../../store/sessions.ts";
import { laneOfSession } from "./lanes.ts";
import { BaileysSession, type SessionPorts } from "./session.ts";

/** Sessions taken over in one go: what a dead process leaves is shared by those that are left. */
const CLAIM_LIMIT = 5;
/** Until the next go when there may be more, milliseconds: the others have theirs in between. */
const CLAIM_AGAIN_MS = 200;
/** How often sessions that nobody has are looked for, milliseconds. */
const LOOK_MS = 1000;
/** A lease is renewed so many times before it would run out. */
const RENEWALS = 3;
/** A session ends here so much of its lease before another process may have it: its socket has to be closed by then. */
const MARGIN = 1 / 6;

interface Held {
  session: BaileysSession;
  /** Ends the session should the lease not be renewed in time. */
  timer: NodeJS.Timeout | undefined;
}

/**
 * The sessions that this process has. Claims those that nobody has, renews its leases, and ends a session at once when
 * its lease is lost or could not be renewed in time: two sockets for one session would ruin its keys.
 */
export class SessionOwner {
  readonly #ports: SessionPorts;
  readonly #name = randomUUID();
  readonly #held = new Map<string, Held>();
  /** Sessions that are lost and whose sockets are still closing. */
  readonly #ends = new Map<string, Promise<void>>();
  readonly #leaseMs: number;
  #nudge = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;
  #renewAt = 0;
  #isRetired = false;
  #isClosing = false;

  constructor(ports: SessionPorts) {
    this.#ports = ports;
    this.#leaseMs = ports.env.WHATSAPP_LEASE_MS;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** Looks at once instead of at the next turn. */
  nudge(): void {
    this.#renewAt = 0;
    this.#nudge.resolve();
  }

  /** Takes no more sessions; keeps those that it has. */
  retire(): void {
    this.#isRetired = true;
  }

  /** The session whose lane this is, if it is here. */
  byLane(lane: string | undefined): BaileysSession | undefined {
    const held = [...this.#held.values()].find(({ session }) => laneOfSession(session.lease.id) === lane);
    return held?.session;
  }

  /** Ends all sessions and gives their leases back, so that another process can go on at once. */
  async close(): Promise<void> {
    this.#isClosing = true;
    this.#nudge.resolve();
    await this.#running;
    await Promise.all(
      [...this.#held.values()].map(async ({ session, timer }) => {
        clearTimeout(timer);
        await session.end();
        await this.#release(session);
      }),
    );
    this.#held.clear();
    await Promise.all(this.#ends.values());
  }

  async #run(): Promise<void> {
    while (!this.#isClosing) {
      this.#nudge = Promise.withResolvers();
      const isMore = await this.#turn();
      const waitMs = isMore ? CLAIM_AGAIN_MS : Math.min(LOOK_MS, this.#leaseMs / RENEWALS);
      const timer = setTimeout(this.#nudge.resolve, waitMs);
      await this.#nudge.promise;
      clearTimeout(timer);
    }
  }

  /** Answers whether there may be more to claim. */
  async #turn(): Promise<boolean> {
    const { store, log, clock } = this.#ports;
    try {
      if (clock.monotonic() >= this.#renewAt) await this.#renew();
      if (this.#isRetired) return false;
      const asked = clock.monotonic();
      const claimed = await store.claim(this.#name, this.#leaseMs, CLAIM_LIMIT);
      for (const row of claimed) this.#begin(row, asked);
      return claimed.length === CLAIM_LIMIT;
    } catch (error) {
      // Sessions whose leases cannot be renewed meanwhile end by their timers.
      if (!(error instanceof UnavailableError))
        log.error({ err: error }, "WhatsApp sessions could not be looked after");
      return false;
    }
  }

  async #renew(): Promise<void> {
    const { store, clock } = this.#ports;
    const asked = clock.monotonic();
    const held = [...this.#held];
    const rows = await store.renew(
      held.map(([, { session }]) => session.lease),
      this.#leaseMs,
    );
    this.#renewAt = asked + this.#leaseMs / RENEWALS;
    const kept = new Map(rows.map((row) => [row.id, row]));
    for (const [id, { session }] of held) {
      const row = kept.get(id);
      // It may have ended while the database was asked.
      if (this.#held.get(id)?.session !== session) continue;
      if (row) this.#renewed(session, row, asked);
      else this.#lost(session);
    }
  }

  #begin(row: Session, asked: number): void {
    const { log } = this.#ports;
    const before = this.#held.get(row.id)?.session;
    if (before) this.#lost(before);
    log.info({ sessionId: row.id, epoch: row.epoch, state: row.state }, "a WhatsApp session is connected from here");
    const session = new BaileysSession(row, this.#ports, this.#ends.get(row.id));
    this.#held.set(row.id, { session, timer: undefined });
    this.#hold(session, asked);
    if (row.wanted === "gone") return this.#dismiss(session);
    void session.ended.then(async () => {
      // Over by itself, or lost: unless a later claim has taken its place, or it is being forgotten, which takes longer.
      if (this.#held.get(row.id)?.session !== session || session.row.wanted === "gone") return;
      this.#forget(session);
      await this.#release(session);
    });
  }

  /** By the monotonic clock, from when the database was asked: what another process may do does not wait for its answer. */
  #hold(session: BaileysSession, asked: number): void {
    const held = this.#held.get(session.lease.id);
    if (!held) return;
    const until = asked + this.#leaseMs * (1 - MARGIN);
    session.mineUntil = until;
    clearTimeout(held.timer);
    held.timer = setTimeout(() => this.#lost(session), Math.max(0, until - this.#ports.clock.monotonic()));
  }

  #renewed(session: BaileysSession, row: Session, asked: number): void {
    this.#hold(session, asked);
    if (row.wanted === "gone" && session.row.wanted === "on") this.#dismiss(session);
    session.update(row);
    session.reportPace();
  }

  #dismiss(session: BaileysSession): void {
    const { log } = this.#ports;
    session
      .logout()
      .then(() => log.info({ sessionId: session.lease.id }, "a WhatsApp session was logged out and forgotten"))
      .catch((error: unknown) => log.error({ err: error, sessionId: session.lease.id }, "a session was not forgotten"))
      .finally(() => this.#forget(session));
  }

  #lost(session: BaileysSession): void {
    const { id } = session.lease;
    if (this.#held.get(id)?.session !== session) return;
    this.#ports.log.warn({ sessionId: id }, "the lease of a WhatsApp session is lost: it ends here");
    this.#forget(session);
    const end = session
      .end()
      .catch((error: unknown) => this.#ports.log.error({ err: error, sessionId: id }, "a session did not end well"))
      .finally(() => {
        if (this.#ends.get(id) === end) this.#ends.delete(id);
      });
    this.#ends.set(id, end);
  }

  #forget(session: BaileysSession): void {
    const held = this.#held.get(session.lease.id);
    if (held?.session !== session) return;
    clearTimeout(held.timer);
    this.#held.delete(session.lease.id);
  }

  async #release(session: BaileysSession): Promise<void> {
    const { store, log } = this.#ports;
    await store.report(session.lease, { release: true }).catch((error: unknown) => {
      log.debug({ err: error }, "a lease was not given back: it runs out by itself");
    });
  }
}
