import { createRulings } from "../compliance/rulings.ts";
import { zonesOf } from "../compliance/zones.ts";
import { createCharges } from "../workers/charges.ts";
import { createCannotOpen, sealAnew } from "../events/sealing.ts";
import { startEpoch, type Epoch } from "../workers/epoch.ts";
import { startFeeder, type Feeder } from "../workers/feeder.ts";
import { IDLE } from "../workers/idle.ts";
import { startWorkers, type Workers } from "../workers/index.ts";
import { createLoops, type Loops } from "../workers/loops.ts";
import { startOutbox, type Outbox } from "../workers/outbox.ts";
import { sparingly } from "../workers/sparing.ts";
import { startSweeper, type Sweeper } from "../workers/sweeper.ts";
import { pacedSendersOf, providersOf } from "./channels.ts";
import type { Parts } from "./parts.ts";
import { providerNamed } from "./providers.ts";

/** All that works; in a process that only takes requests, nothing does. */
export interface Work {
  epoch: Epoch;
  workers: Workers;
  outbox: Outbox;
  feeder: Feeder;
  sweeper: Sweeper;
  loops: Loops;
}

/** Chunks of a hunt that is being planned wake the feeder no more often, milliseconds: each look asks the ledger about every queue. */
const WAKE_MS = 100;

export function startWork(parts: Parts): Work {
  const { config, clock, logOf, webhookPolicy, tracing, metrics, store, workerRedis, queues, throttle } = parts;
  const { channels, definitions, planChannels, taking, rules, secrets } = parts;
  const { events } = store;
  const carriers = [...providersOf(channels)];
  const ruling = createRulings({ store, rules, clock });
  const start = config.role === "api" ? IDLE : { startEpoch, startWorkers, startOutbox, startFeeder, startSweeper };
  const loops = createLoops(clock);
  const cannotOpen = createCannotOpen(logOf("events"));
  const epoch = start.startEpoch({
    redis: workerRedis,
    store,
    prefix: config.redis.prefix,
    intervalMs: config.workers.sweepMs,
    log: logOf("workers"),
    loops,
  });
  const workers = start.startWorkers({
    redis: workerRedis,
    prefix: config.redis.prefix,
    ...config.workers,
    store,
    channels,
    mayStart: epoch.known,
    enqueue: (job) => queues.addMessages([job]),
    enqueueAll: queues.addMessages,
    register: queues.bundles,
    ...config.jobs,
    throttle,
    ruling: (message) => ruling({ ...message, kind: definitions.get(message.channel)?.queue ?? "sms" }),
    hunt: {
      store,
      rules,
      zoneOf: (e164) => zonesOf(e164)[0],
      enqueueHunt: queues.addHunt,
      wake: sparingly(WAKE_MS, () => feeder.wake()),
      channels: planChannels,
    },
    inbound: {
      ...taking,
      charges: createCharges({
        store,
        clock,
        providerNamed: (name) => providerNamed(carriers, name),
        addCharge: queues.addCharge,
        concurrency: config.workers.concurrency,
      }),
    },
    webhooks: {
      ...config.events,
      events,
      secrets,
      cannotOpen,
      fetchPolicy: webhookPolicy,
      wake: () => outbox.wake(),
      clock,
      log: logOf("events"),
      metrics,
    },
    clock,
    log: logOf("workers"),
    logOf,
    metrics,
    tracing,
  });
  const outbox = start.startOutbox({
    events,
    queues,
    sealAnew: () => sealAnew({ events, secrets, cannotOpen }),
    keepSeconds: config.events.keepSeconds,
    slots: config.events.concurrency,
    clock,
    log: logOf("events"),
    loops,
  });
  const feeder = start.startFeeder({
    store,
    queues,
    names: [...new Set(config.channels.map(({ channel }) => channel.queue))],
    concurrencyOf: (queue) => config.workers.concurrencies[queue] ?? config.workers.concurrency,
    sendersOf: (queue) => pacedSendersOf(channels, queue),
    window: config.workers.window,
    taken: workers.taken,
    held: workers.held,
    clock,
    log: logOf("workers"),
    loops,
  });
  const sweeper = start.startSweeper({
    store,
    queues,
    clock,
    log: logOf("workers"),
    intervalMs: config.workers.sweepMs,
    loops,
  });
  return { epoch, workers, outbox, feeder, sweeper, loops };
}
