import { setTimeout as delay } from "node:timers/promises";
import type { Telemetry } from "bullmq";
import type { Logger } from "pino";
import { startAlerting } from "./alerts/alerting.ts";
import { createAlertLedger } from "./alerts/ledger.ts";
import type { Provider } from "./channels/provider.ts";
import { createIsStop } from "./channels/stop-words.ts";
import { createRules, createStopNoticeOf } from "./compliance/rules.ts";
import type { Config } from "./config.ts";
import type { FetchPolicy } from "./core/addresses.ts";
import { systemClock, type Clock } from "./core/clock.ts";
import { aborted } from "./core/deadline.ts";
import { createLogger, roomLogger } from "./core/logger.ts";
import { createMetrics } from "./core/metrics.ts";
import { NO_TRACING, type Tracing } from "./core/tracing.ts";
import { createLive } from "./events/live.ts";
import { createSecrets } from "./events/secrets.ts";
import { QUEUE_NAMES } from "./modules.ts";
import { createQueues } from "./queues/index.ts";
import { connectRedis } from "./queues/redis.ts";
import { createThrottle } from "./queues/throttle.ts";
import { createApp } from "./routes/index.ts";
import { mayBundle, openChannels, planChannelsOf, providersOf, warnOfClosedCountries } from "./service/channels.ts";
import { listen } from "./service/http-server.ts";
import type { Parts } from "./service/parts.ts";
import { createRoutes } from "./service/routes.ts";
import { startWork } from "./service/work.ts";
import { createSupabaseStore } from "./store/supabase.ts";
import { createAfterwards } from "./workers/afterwards.ts";
import { watchLoops } from "./workers/loops.ts";
import { stuckQueues } from "./workers/progress.ts";
import type { ActiveChannel } from "./workers/run-job.ts";

/** What may be put in place of the real thing, by whoever composes the service otherwise. */
export interface Overrides {
  clock?: Clock;
  log?: Logger;
  version?: string;
  /** By channel, instead of the configured provider. */
  providers?: Record<string, Provider>;
  /** What addresses of callers may be fetched; default: public ones. */
  fetchPolicy?: FetchPolicy;
}

export interface Service {
  /** Where it listens, e.g. `http://127.0.0.1:3000`. */
  readonly url: string;
  /**
   * Drains: no new work in, running work finished and recorded, connections closed. Resolves true; or false when
   * `deadline` aborted first and running work was handed back. Calling it again gives the same promise.
   */
  stop(deadline?: AbortSignal): Promise<boolean>;
}

/** For so long after the deadline providers may give back what they have, milliseconds: what is not given back runs out by itself. */
const GIVE_BACK_MS = 1000;

/** Puts the service together and starts it. Resolves when it listens; Redis and the database may come later. */
export async function startService(config: Config, overrides: Overrides = {}): Promise<Service> {
  const clock = overrides.clock ?? systemClock;
  const log = overrides.log ?? createLogger({ level: config.logLevel });
  const logOf = (room: string): Logger => roomLogger(log, room, config.logLevels);
  const version = overrides.version ?? "0.0.0";
  const { fetchPolicy } = overrides;

  const tracing = await openTracing(config.tracing, version);
  const pingRedis = (): Promise<unknown> =>
    // What ioredis says of a connection that is away is not for people.
    redis.status === "ready" ? redis.ping() : Promise.reject(new Error(`the connection is ${redis.status}`));
  const metrics = createMetrics({
    ledger: () => store.operations.figures(),
    breakers: () =>
      [...channels].flatMap(
        ([channel, { provider }]) => provider?.choice?.states().map((each) => ({ channel, ...each })) ?? [],
      ),
    queues: () => queues.figures(clock.now()),
    senders: async () =>
      (await throttle.senders()).map(({ heldUntil, ...sender }) => ({ ...sender, held: heldUntil !== undefined })),
    pingRedis,
    readers: () => live.readers,
  });
  const storeLog = logOf("store");
  const store = createSupabaseStore({
    ...config.database,
    salt: config.compliance.salt,
    limits: config.limits,
    onRequest: (operation, seconds, ok) => metrics.databaseAnswered(operation, seconds, ok),
    onBatch: (operation, items) => metrics.batchWritten(operation, items),
    onRetry: (operation, error, items) => storeLog.warn({ err: error, operation, items }, "waiting for the database"),
    onRestored: (messages) =>
      storeLog.error({ messages }, "the database was restored from a backup: what it had open is unknown now"),
  });
  const redis = connectRedis(config.redis.url, "api");
  const workerRedis = connectRedis(config.redis.url, "worker");
  const queuesLog = logOf("queues");
  for (const connection of [redis, workerRedis]) {
    connection.on("error", (error) => queuesLog.debug({ err: error }, "redis connection error"));
  }
  const channels = new Map<string, ActiveChannel>();
  const queues = createQueues({
    redis,
    prefix: config.redis.prefix,
    names: QUEUE_NAMES,
    ...config.jobs,
    telemetry: tracing.telemetry,
    traces: tracing.telemetry && { store: store.traces, tracing, clock, log: queuesLog },
    lanesOf: (queue) => [...channels.values()].find(({ channel }) => channel.queue === queue)?.provider?.lanes,
    mayBundle: (queue) => mayBundle(channels, queue),
  });

  const isStop = createIsStop(config.stopWords);
  await openChannels(channels, {
    config,
    store,
    isStop,
    lanes: {
      open: (lane, concurrency) => workers.lanes.open(lane, concurrency),
      wake: (lane) => queues.wakeLane(lane),
      remove: (lane) => queues.removeLane(lane),
    },
    clock,
    log,
    logOf,
    fetchPolicy,
    instead: overrides.providers,
  });
  const afterwards = createAfterwards();
  const live = createLive({ events: store.events, log: logOf("events") });
  const throttle = createThrottle(redis, config.redis.prefix);
  const stopNoticeOf = createStopNoticeOf(config.compliance);
  warnOfClosedCountries(channels, stopNoticeOf, log);

  let stopping: Promise<boolean> | undefined;
  const isStopping = (): boolean => stopping !== undefined;
  const parts: Parts = {
    config,
    version,
    clock,
    logOf,
    webhookPolicy: config.events.allowLoopback ? { ...fetchPolicy, allowLoopback: true } : fetchPolicy,
    tracing,
    metrics,
    store,
    redis,
    workerRedis,
    pingRedis,
    queues,
    throttle,
    channels,
    definitions: new Map(config.channels.map(({ channel }) => [channel.name, channel])),
    planChannels: planChannelsOf(channels),
    taking: { store, isStop, addInbound: queues.addInbound, idle: queues.idle },
    afterwards,
    rules: createRules({ defaultPolicy: config.compliance.defaultPolicy, clock }),
    stopNoticeOf,
    secrets: createSecrets(config.events.encryptionKeys),
    live,
    isStopping,
  };
  const work = startWork(parts);
  const { workers, feeder, sweeper, outbox, epoch, loops } = work;
  redis.on("ready", () => sweeper.hurry());

  const alerting = startAlerting({
    settings: config.alerts,
    ledger: createAlertLedger(redis, config.redis.prefix, config.alerts.intervalMs * 2.5),
    figures: (creditsBelow) => store.operations.figures(creditsBelow),
    stuck: () => stuckQueues(workers.progress, queues, clock.now()),
    loops: watchLoops(loops, { database: () => store.ping(), redis: pingRedis }, clock),
    calls: () => metrics.calls(),
    fetchPolicy,
    clock,
    log: logOf("alerts"),
  });

  const app = createApp({
    routes: await createRoutes(parts, work),
    bare: config.role === "worker",
    apiSecrets: config.http.apiSecrets,
    maxBodyBytes: config.http.maxBodyBytes,
    trustProxy: config.http.trustProxy || false,
    log: logOf("routes"),
    tracing,
    clock,
    queues,
    limiterStore: { client: redis, keyPrefix: `${config.redis.prefix}:login` },
    isStopping,
    info: { title: "Auto-Prospect worker", version },
  });
  const server = await listen(app, config.http);
  const running = providersOf(channels);
  if (config.role !== "api") for (const provider of running) provider.start?.();

  const stop = async (deadline: AbortSignal): Promise<boolean> => {
    log.info("stopping: no new work is taken");
    for (const provider of running) provider.retire?.();
    live.close();
    const [drained] = await Promise.all([
      workers.drain(deadline),
      feeder.stop(),
      sweeper.stop(),
      outbox.stop(),
      epoch.stop(),
      alerting.stop(),
    ]);
    // Before the store: a request whose body is still arriving is to be accepted, not refused.
    const closed = await server.close(deadline);
    await afterwards.settled(deadline);
    const left = await Promise.race([
      closeAll(running).then(() => true),
      aborted(deadline).then(() => delay(GIVE_BACK_MS, false)),
    ]);
    await store.close(deadline);
    await queues.close().catch((error: unknown) => queuesLog.warn({ err: error }, "closing the queues failed"));
    for (const connection of [redis, workerRedis]) connection.disconnect();
    await tracing.stop();
    log.info({ drained }, drained ? "stopped" : "stopped at the deadline: running work was handed back");
    return drained && closed && left;
  };

  return {
    url: server.url,
    stop: (deadline = new AbortController().signal) => (stopping ??= stop(deadline)),
  };
}

async function closeAll(providers: Iterable<Provider>): Promise<void> {
  for (const provider of providers) await provider.close?.();
}

/** OpenTelemetry takes a tenth of a second to load: only for those who want it. */
async function openTracing(config: Config["tracing"], version: string): Promise<Tracing<Telemetry>> {
  if (!config) return NO_TRACING;
  const { startOpenTelemetry } = await import("./core/open-telemetry.ts");
  return startOpenTelemetry({ ...config, version });
}
