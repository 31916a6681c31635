import type { Logger } from "pino";
import type { Clock } from "../../../../core/clock.ts";
import type { Pace } from "./pacing.ts";
import type { Reports } from "./reports.ts";
import type { SessionLane } from "./session-lane.ts";

/** How long first contacts rest when WhatsApp does not say until when, milliseconds. */
const RESTRICTED_MS = 24 * 3_600_000;

export interface RestrictionPorts {
  pace(): Pace | undefined;
  reports: Reports;
  lane: SessionLane;
  clock: Clock;
  log: Logger;
}

/** WhatsApp keeps a number from writing to people who have not written first, and lifts that again. */
export class Restriction {
  readonly #ports: RestrictionPorts;

  constructor(ports: RestrictionPorts) {
    this.#ports = ports;
  }

  /** No first contacts before then, milliseconds since the epoch, or for a day. */
  imposed(untilMs?: number): void {
    const { pace, reports, clock, log } = this.#ports;
    const now = clock.now();
    const ends = untilMs !== undefined && untilMs > now ? untilMs : now + RESTRICTED_MS;
    const until = new Date(ends).toISOString();
    pace()?.pauseCold(ends);
    log.error({ until }, "WhatsApp restricts a number: no first contacts for now");
    reports.send({
      coldPausedUntil: until,
      lastError: "WhatsApp restricts first contacts from this number for now.",
      ...statusOf(pace()),
    });
  }

  lifted(): void {
    const { pace, reports, lane, log } = this.#ports;
    pace()?.pauseCold(null);
    lane.wake();
    log.info("WhatsApp restricts a number no longer");
    reports.send({ coldPausedUntil: null, lastError: null, ...statusOf(pace()) });
  }
}

/** What to report of a pace; nothing before there is one. */
export const statusOf = (pace: Pace | undefined): { pace?: Record<string, unknown> } =>
  pace ? { pace: pace.status() } : {};
