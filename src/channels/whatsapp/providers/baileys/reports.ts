import type { Logger } from "pino";
import type { Lease, SessionReport, SessionStore } from "../../../../store/sessions.ts";
import { untilAvailable } from "./until-available.ts";

export interface ReportsPorts {
  store: SessionStore;
  lease: Lease;
  /** Of the session's end here: what is not in the ledger by then does not come into it. */
  signal: AbortSignal;
  log: Logger;
  /** The lease is another process' by now. */
  onLost(): void;
}

/** What the ledger is told of a session, in the order of the calls. */
export class Reports {
  readonly #ports: ReportsPorts;
  #last: Promise<unknown> = Promise.resolve();

  constructor(ports: ReportsPorts) {
    this.#ports = ports;
  }

  /** Waits for the database as long as the session lasts here. */
  send(report: SessionReport): void {
    const { store, lease, signal, log, onLost } = this.#ports;
    this.#last = this.#last
      .then(() => untilAvailable(() => store.report(lease, report), signal))
      .then((kept) => {
        if (kept === false) onLost();
      })
      .catch((error: unknown) => log.error({ err: error }, "a session's state could not be written"));
  }

  /** Resolves when all so far are in the ledger, or too late for it. */
  async settled(): Promise<void> {
    await this.#last;
  }
}
