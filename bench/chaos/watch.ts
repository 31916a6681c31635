import { setTimeout as delay } from "node:timers/promises";
import pg from "pg";
import type { Channel } from "../../src/client.ts";

const POLL_MS = 200;
const RECOVERY_POLL_MS = 50;
/** After a kill or a cut, for how long attempts still become visible that it has hit, milliseconds. */
const TAIL_MS = 500;

/** An attempt that its first worker has not brought to an end: no outcome, not even an ambiguous one, and no claim. */
const IN_FLIGHT = `select attempt_id from messages
  where status = 'sending' and claim is null and updated_at = attempt_started_at`;
const PROGRESS = `select 1 from message_events e join messages m on m.id = e.message_id
  where e.id > $1 and e.kind = 'sent' and m.channel = any ($2) limit 1`;

/** Looks at the ledger from outside, past every proxy. */
export class Watch implements AsyncDisposable {
  readonly sql: pg.Pool;
  /** Every attempt that was seen in flight at a kill or during a fault: as many may end unknown. */
  readonly exposed = new Set<string>();
  /** When there was a fault, milliseconds since the epoch: an attempt whose call met it may be over before it is seen. */
  readonly #faultTimes: { from: number; to: number }[] = [];
  /** Messages that are not settled, when it was last looked. */
  open = 0;
  #disturbedUntil = 0;
  #faults = 0;
  readonly #stopping = new AbortController();
  readonly #running: Promise<void>;

  constructor(databaseUrl: string) {
    this.sql = new pg.Pool({ connectionString: databaseUrl, max: 6, connectionTimeoutMillis: 2000 });
    // Postgres is one of those that die here.
    this.sql.on("error", () => {});
    this.#running = this.#run();
  }

  /** From now until the answer is called, whatever is in flight may become unknown. */
  disturbed(): () => void {
    const from = Date.now();
    this.#faults += 1;
    return () => {
      this.#faults -= 1;
      this.#disturbedUntil = performance.now() + TAIL_MS;
      this.#faultTimes.push({ from, to: Date.now() });
    };
  }

  /** Whether a kill or a fault met this attempt, whose call was open from one moment to another. */
  isExposed(attemptId: string, call: { from: number; to: number }): boolean {
    return this.exposed.has(attemptId) || this.#faultTimes.some(({ from, to }) => call.to >= from && call.from <= to);
  }

  /** The kills and faults nearest to a moment, in seconds from it. */
  around(at: number): string {
    const near = this.#faultTimes.filter(({ from, to }) => to > at - 5000 && from < at + 5000);
    return near
      .map(({ from, to }) => `${((from - at) / 1000).toFixed(2)} to ${((to - at) / 1000).toFixed(2)}`)
      .join(", ");
  }

  /** Remembers the attempts that are in flight now; answers how many. */
  async snapshot(): Promise<number> {
    const { rows } = await this.sql.query<{ attempt_id: string }>(IN_FLIGHT);
    for (const { attempt_id: id } of rows) this.exposed.add(id);
    return rows.length;
  }

  /**
   * Milliseconds from when nothing is away any more until the next message on one of these channels is sent; undefined when
   * there was nothing to send, or when the run was stopped. Not above `limitMs`.
   */
  async recovery(channels: readonly Channel[], limitMs: number, signal: AbortSignal): Promise<number | undefined> {
    let since = performance.now();
    let last: string | undefined;
    while (!signal.aborted) {
      // It counts from the return of what it needs: something else may be away.
      if (this.#faults > 0) since = performance.now();
      const elapsed = performance.now() - since;
      if (elapsed > limitMs) return elapsed;
      try {
        last ??= (await this.#one<{ id: string }>("select coalesce(max(id), 0)::text as id from message_events")).id;
        if ((await this.sql.query(PROGRESS, [last, channels])).rowCount) return performance.now() - since;
        const open =
          "select count(*)::int as n from messages where status in ('queued', 'sending') and channel = any ($1)";
        if ((await this.#one<{ n: number }>(open, [channels])).n === 0) return undefined;
      } catch {
        // Postgres itself is on its way back.
      }
      await delay(RECOVERY_POLL_MS);
    }
    return undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping.abort();
    await this.#running;
    await this.sql.end();
  }

  async #one<Row extends pg.QueryResultRow>(text: string, values: unknown[] = []): Promise<Row> {
    return (await this.sql.query<Row>(text, values)).rows[0] as Row;
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        const open = "select count(*)::int as n from messages where status in ('queued', 'sending')";
        this.open = (await this.#one<{ n: number }>(open)).n;
        if (this.#faults > 0 || performance.now() < this.#disturbedUntil) await this.snapshot();
      } catch {
        // Without the database no attempt begins.
      }
      await delay(POLL_MS, undefined, { signal }).catch(() => {});
    }
  }
}
