import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { LaneHost, OpenLane } from "../../../lanes.ts";
import { untilAvailable } from "./until-available.ts";

/** A message that has looked whether it may go has been put off within that, milliseconds. */
const PUT_OFF_MS = 500;

export interface SessionLanePorts {
  host: LaneHost;
  name: string;
  /** Of the session's end here. */
  signal: AbortSignal;
  log: Logger;
}

/** The lane of a session in the process that owns it: not worked yet ─ open() ─▶ worked ─ close() ─▶ closed. */
export class SessionLane {
  readonly #ports: SessionLanePorts;
  #open: OpenLane | undefined;
  #closed: Promise<void> | undefined;

  constructor(ports: SessionLanePorts) {
    this.#ports = ports;
  }

  /** Has it worked from now on, if it is not yet. */
  open(concurrency: number): void {
    const { host, name } = this.#ports;
    this.#open ??= host.open(name, concurrency);
  }

  setConcurrency(concurrency: number): void {
    this.#open?.setConcurrency(concurrency);
  }

  /** Messages that were put off may go after all: once whoever is just looking has been put off, all of them look again. */
  wake(): void {
    const { host, name, signal, log } = this.#ports;
    delay(PUT_OFF_MS, undefined, { signal })
      .then(() => untilAvailable(() => host.wake(name), signal))
      .catch((error: unknown) => {
        if (!signal.aborted) log.warn({ err: error }, "a lane was not woken");
      });
  }

  close(): void {
    this.#closed ??= this.#open?.close().catch((error: unknown) => {
      this.#ports.log.warn({ err: error }, "a lane was not closed well");
    });
  }

  /** Forgets it, once it is not worked here any more. Rejects with `UnavailableError`. */
  async remove(): Promise<void> {
    this.close();
    await this.#closed;
    await this.#ports.host.remove(this.#ports.name);
  }
}
