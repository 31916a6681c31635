import { setTimeout as delay } from "node:timers/promises";
import type { Logger } from "pino";
import type { Clock } from "../core/clock.ts";
import { UnavailableError } from "../core/errors.ts";
import { bundleSize } from "../queues/bundles.ts";
import type { Queues } from "../queues/index.ts";
import type { PacedSenders } from "../store/flows.ts";
import type { Store } from "../store/store.ts";
import type { Loops } from "./loops.ts";
import { jobOfOpen, requeueOrphans } from "./requeue.ts";

export interface FeederOptions {
  store: Pick<Store, "flows" | "recordOutcome">;
  queues: Queues;
  /** The channels' queues. */
  names: readonly string[];
  /** Messages under way at once in a queue, of this process. */
  concurrencyOf(queue: string): number;
  /** Whose senders a queue has; undefined where nothing paces them. */
  sendersOf(queue: string): PacedSenders | undefined;
  /** Messages of one flow that may be in the queues at once, however fast it is. */
  window: number;
  /** Messages of a queue that this process has begun with so far. */
  taken(queue: string): number;
  /** Messages of a queue that this process has in hand and has not begun with. */
  held(queue: string): number;
  clock: Clock;
  log: Logger;
  loops: Loops;
}

export interface Feeder {
  /** Something was planned: look at once. */
  wake(): void;
  stop(): Promise<void>;
}

/** What waits in a queue is so many seconds of its work: that long a small hunt waits behind a big one. */
const HORIZON_SECONDS = 0.5;
/** Messages a call; a hosted project answers no more rows. */
const MAX_BATCH = 1000;
/** Messages of one flow that may wait in a queue before it is known how fast they begin. */
const LEAST = 10;
/** Between two looks at a queue while its flows have something to give, milliseconds; twice as long after each in vain. */
const BUSY_MS = 25;
const IDLE_MS = 1000;
/** For how long after messages were fed it is looked out for them being taken, milliseconds. */
const WATCHED_MS = 10_000;
/** Of the last measured pace, the rest is what it was before. */
const SMOOTHING = 0.5;
/** What is under way is not waited for longer: all that it may still do is safe to do. */
const STOP_TIMEOUT_MS = 1000;

/**
 * Keeps each queue as full as it needs to be, and no fuller, with the waiting messages of hunts: whose turn it is is decided
 * here, while they wait in Postgres, and not by their order in Redis. Any number of processes may feed the same queues.
 */
export function startFeeder(options: FeederOptions): Feeder {
  const stopping = new AbortController();
  const wakers = new Map<string, () => void>();
  const running = Promise.all(options.names.map((name) => feedQueue(name, options, stopping.signal, wakers)));
  return {
    wake: () => wakers.forEach((wake) => wake()),
    async stop() {
      stopping.abort();
      await Promise.race([running, delay(STOP_TIMEOUT_MS, undefined, { ref: false })]);
    },
  };
}

async function feedQueue(
  name: string,
  { store, queues, concurrencyOf, sendersOf, window, taken, held, clock, log, loops }: FeederOptions,
  stopping: AbortSignal,
  wakers: Map<string, () => void>,
): Promise<void> {
  const concurrency = concurrencyOf(name);
  const loop = loops.watch(`feeder:${name}`, IDLE_MS);
  /** Messages a second that this process has taken from the queue lately. */
  let pace = 0;
  let looked = { at: clock.monotonic(), taken: taken(name) };
  let askedAt = -Infinity;
  let fedAt = -Infinity;
  let pauseMs = BUSY_MS;

  /** Answers after how long it is to be looked again, milliseconds; undefined: there was nothing to be fed. */
  async function round(): Promise<number | undefined> {
    const now = clock.monotonic();
    const seconds = Math.max(0.001, (now - looked.at) / 1000);
    pace += SMOOTHING * ((taken(name) - looked.taken) / seconds - pace);
    looked = { at: now, taken: taken(name) };
    const wanted = Math.min(MAX_BATCH, Math.max(2 * concurrency, Math.ceil(pace * HORIZON_SECONDS)));
    const waiting = held(name) + (await queues.waitingMessages(name, wanted));
    let missing = wanted - waiting;
    if (waiting > wanted / 2) {
      // Hunts have half of a queue that single messages fill faster than it is worked.
      missing = now - askedAt < HORIZON_SECONDS * 1000 ? 0 : Math.ceil((pace * HORIZON_SECONDS) / 2);
      if (missing === 0) return Math.min(IDLE_MS / 2, ((waiting - wanted / 2) / pace) * 1000);
    }
    const queued = { least: Math.min(LEAST, window), most: window, senders: sendersOf(name) };
    const messages = await store.flows.feed(name, missing, queued);
    askedAt = now;
    if (messages.length > 0) fedAt = now;
    const ids = messages.map(({ id }) => id);
    // A ledger that has lost its last seconds feeds what is on its way, or was sent.
    const known = await queues.bundles.known(name, ids);
    const again = messages.filter((message) => message.again || known.has(message.id));
    const fresh = messages.filter((message) => !message.again && !known.has(message.id));
    await queues.addBundles(fresh.filter(({ retryInMs }) => retryInMs === 0).map(jobOfOpen), bundleSize(concurrency));
    await queues.addMessages(fresh.filter(({ retryInMs }) => retryInMs > 0).map(jobOfOpen));
    await requeueOrphans(again, queues, store);
    return messages.length > 0 ? BUSY_MS : undefined;
  }

  while (!stopping.aborted) {
    const woken = new AbortController();
    wakers.set(name, () => woken.abort());
    const next = await loop.step("feed", round).catch((error: unknown) => {
      if (error instanceof UnavailableError) log.debug({ err: error, queue: name }, "feeding put off");
      else log.error({ err: error, queue: name }, "feeding failed");
      return undefined;
    });
    pauseMs = next ?? Math.min(IDLE_MS, Math.max(BUSY_MS, pauseMs) * 2);
    const watched = next === undefined && clock.monotonic() - fedAt < WATCHED_MS;
    const signal = AbortSignal.any([stopping, woken.signal]);
    // Looking in between is for what was fed alone: one that idles sleeps. In less time a pace cannot be measured.
    const stepMs = watched ? BUSY_MS : Math.max(BUSY_MS, pauseMs);
    for (let slept = 0; slept < pauseMs && !signal.aborted; slept += stepMs) {
      await delay(stepMs, undefined, { signal }).catch(() => {});
      // Some of what was fed is under way: there may be room again.
      if (watched && taken(name) !== looked.taken) {
        pauseMs = BUSY_MS;
        break;
      }
    }
  }
}
