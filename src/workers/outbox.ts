import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import type { Queues } from "../queues/index.ts";
import type { EventStore } from "../store/events.ts";
import type { Loops } from "./loops.ts";

export interface OutboxOptions {
  events: Pick<EventStore, "run" | "tidy">;
  queues: Pick<Queues, "addDeliveries">;
  /** Seals the secrets of endpoints with the first key. */
  sealAnew(): Promise<void>;
  /** For how long events are kept, seconds. */
  keepSeconds: number;
  /** Webhooks that a process attempts at once. */
  slots: number;
  clock: Clock;
  log: Logger;
  loops: Loops;
}

export interface Outbox {
  /** Something may be due: look at once. */
  wake(): void;
  stop(): Promise<void>;
}

/** Events, and deliveries, that one look takes. */
const LIMIT = 500;
/** Between two looks while somebody listens, milliseconds. */
const BUSY_MS = 250;
/** After each of them, whoever wakes it: many deliveries that end at once make one. */
const LEAST_MS = 50;
/** Where nobody does. Whoever begins to listen through this process wakes it. */
const IDLE_MS = 2000;
/**
 * For how long a delivery belongs to its job in the queue, milliseconds. One that Redis loses, or that never came there because its
 * process died, is made again after that; one that only waits there is not made twice, by its id.
 */
const QUEUED_MS = 3000;
const TIDY_MS = 60_000;
/** What is under way is not waited for longer: all that it may still do is safe to do. */
const STOP_TIMEOUT_MS = 1000;

/**
 * Takes what has happened out of the outbox, and puts the deliveries that are due into their queue. Any number of processes may:
 * the database lets one at a time do it, and gives each delivery to one.
 */
export function startOutbox({
  events,
  queues,
  sealAnew,
  keepSeconds,
  slots,
  clock,
  log,
  loops,
}: OutboxOptions): Outbox {
  const stopping = new AbortController();
  const loop = loops.watch("outbox", IDLE_MS);
  let woken = new AbortController();
  let tidyAt = clock.monotonic();
  /** Not at once: while this version is put in place of another one, processes run that do not know a new key. */
  let sealAt = clock.monotonic() + TIDY_MS;

  /** Answers after how long it is to be looked again, milliseconds. */
  async function round(goesOn: () => void): Promise<number> {
    const { moved, due, listened } = await events.run(LIMIT, QUEUED_MS, slots);
    if (due.length > 0) await queues.addDeliveries(due);
    if (clock.monotonic() >= tidyAt) {
      tidyAt = clock.monotonic() + TIDY_MS;
      while ((await events.tidy(keepSeconds, LIMIT * 10)) === LIMIT * 10 && !stopping.signal.aborted) goesOn();
    }
    if (clock.monotonic() >= sealAt) {
      sealAt = clock.monotonic() + TIDY_MS;
      await sealAnew();
    }
    if (moved === LIMIT || due.length === LIMIT) return 0;
    return listened ? BUSY_MS : IDLE_MS;
  }

  const running = (async () => {
    while (!stopping.signal.aborted) {
      woken = new AbortController();
      const waitMs = await loop.step("take", round).catch((error: unknown) => {
        if (error instanceof UnavailableError) log.debug({ err: error }, "the outbox has to wait");
        else log.error({ err: error }, "taking events out of the outbox failed");
        return IDLE_MS;
      });
      const { signal } = stopping;
      if (waitMs > 0) await delay(LEAST_MS, undefined, { signal }).catch(() => {});
      await delay(waitMs, undefined, { signal: AbortSignal.any([signal, woken.signal]) }).catch(() => {});
    }
  })();

  return {
    wake: () => woken.abort(),
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}
