import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { Telemetry } from "bullmq";
import type { Logger } from "pino";
import type { LaneHost, Provider, ProviderDefinition, ProviderDeps, WebhookDeps } from "./channels/channel.ts";
import { startAlerting } from "./alerts/alerting.ts";
import { createAlertLedger } from "./alerts/ledger.ts";
import { failover } from "./channels/failover.ts";
import { mediaRoutes } from "./channels/media.routes.ts";
import { messageJobSchema } from "./channels/message-job.ts";
import { singleRoute } from "./channels/single.routes.ts";
import { createIsStop, isStart } from "./channels/stop-words.ts";
import { createTermsOf } from "./channels/terms.ts";
import { counted } from "./channels/webhooks.ts";
import { accountRoutes } from "./compliance/accounts.routes.ts";
import { dayLimitsOf, tightestLimit } from "./compliance/limits.ts";
import { erasureRoutes } from "./compliance/erasure.routes.ts";
import { createRules, createStopNoticeOf } from "./compliance/rules.ts";
import { createRulings } from "./compliance/rulings.ts";
import { zonesOf } from "./compliance/zones.ts";
import { suppressionRoutes } from "./compliance/suppressions.routes.ts";
import { deliveryRoutes } from "./events/deliveries.routes.ts";
import { endpointRoutes } from "./events/endpoints.routes.ts";
import { createLive } from "./events/live.ts";
import { liveRoutes } from "./events/live.routes.ts";
import { createSecrets } from "./events/secrets.ts";
import type { ChannelConfig, Config, ConfiguredProvider } from "./config.ts";
import type { FetchPolicy } from "./core/addresses.ts";
import { systemClock, type Clock } from "./core/clock.ts";
import { UnavailableError } from "./core/errors.ts";
import type { Inbound } from "./core/inbound.ts";
import { createLogger, roomLogger } from "./core/logger.ts";
import { huntRoutes } from "./hunt/hunt.routes.ts";
import { carriesText } from "./hunt/content.ts";
import type { PlanChannels } from "./hunt/plan.ts";
import { previewRoutes } from "./hunt/preview.routes.ts";
import { recurrenceRoutes } from "./hunt/recurring.routes.ts";
import { huntsRoutes } from "./hunt/hunts.routes.ts";
import { steeringRoutes } from "./hunt/steering.routes.ts";
import { createMetrics, type Metrics } from "./core/metrics.ts";
import type { Route } from "./core/route.ts";
import { NO_TRACING, type Tracing } from "./core/tracing.ts";
import { QUEUE_NAMES } from "./modules.ts";
import { createQueues, jobOf } from "./queues/index.ts";
import { forgetInbound } from "./queues/forgetting.ts";
import { removeJobs } from "./queues/removal.ts";
import { connectRedis } from "./queues/redis.ts";
import { createThrottle } from "./queues/throttle.ts";
import { createApp } from "./routes/index.ts";
import { failedRoutes } from "./routes/failed.routes.ts";
import { jobRoutes } from "./routes/jobs.routes.ts";
import { messageRoutes } from "./routes/messages.routes.ts";
import { opsRoutes } from "./routes/ops.routes.ts";
import { senderRoutes } from "./routes/senders.routes.ts";
import type { Store } from "./store/store.ts";
import { createSupabaseStore } from "./store/supabase.ts";
import { templateRoutes } from "./templates/templates.routes.ts";
import { startEpoch } from "./workers/epoch.ts";
import { createCharges } from "./workers/charges.ts";
import { keepEvents } from "./workers/inbound.ts";
import { startWorkers } from "./workers/index.ts";
import type { ActiveChannel } from "./workers/run-job.ts";
import { startFeeder } from "./workers/feeder.ts";
import { IDLE } from "./workers/idle.ts";
import { startOutbox } from "./workers/outbox.ts";
import { stuckWorkers } from "./workers/progress.ts";
import { startSweeper } from "./workers/sweeper.ts";

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

/** A worker that moves nothing for so long while jobs wait is not ready, milliseconds. */
const STUCK_AFTER_MS = 30_000;

/** Puts the service together and starts it. Resolves when it listens; Redis and the database may come later. */
export async function startService(config: Config, overrides: Overrides = {}): Promise<Service> {
  const clock = overrides.clock ?? systemClock;
  const log = overrides.log ?? createLogger({ level: config.logLevel });
  const logOf = (room: string): Logger => roomLogger(log, room, config.logLevels);
  const version = overrides.version ?? "0.0.0";

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
    lanesOf: (queue) => [...channels.values()].find(({ channel }) => channel.queue === queue)?.provider?.lanes,
  });

  const isStop = createIsStop(config.stopWords);
  const takeDeps = { store, isStop, addInbound: queues.addInbound, idle: queues.idle };
  const inbound = createInbound(store, logOf("inbound"), isStop);
  const lanes: LaneHost = {
    open: (lane, concurrency) => workers.lanes.open(lane, concurrency),
    wake: (lane) => queues.wakeLane(lane),
    remove: (lane) => queues.removeLane(lane),
  };
  const deps: ProviderDeps = {
    clock,
    log,
    inbound,
    sessions: store.sessions,
    lanes,
    fetchPolicy: overrides.fetchPolicy,
    publicUrl: config.http.publicUrl,
  };
  const createProvider = providers(deps, config.providerProbeMs, logOf);
  for (const chosen of config.channels) {
    const provider = overrides.providers?.[chosen.channel.name] ?? (await createProvider(chosen));
    channels.set(chosen.channel.name, { channel: chosen.channel, provider });
  }
  const running = new Set([...channels.values()].flatMap(({ provider }) => provider ?? []));
  const definitions = new Map(config.channels.map(({ channel }) => [channel.name, channel]));

  const { events } = store;
  const secrets = createSecrets(config.events.encryptionKeys);
  const live = createLive({ events, log: logOf("events") });
  const throttle = createThrottle(redis, config.redis.prefix);
  const rules = createRules({ defaultPolicy: config.compliance.defaultPolicy, clock });
  const ruling = createRulings({ store, rules, clock });
  const stopNoticeOf = createStopNoticeOf(config.compliance);
  const termsOf = createTermsOf({ store, stopNoticeOf });
  for (const { channel, provider } of channels.values()) {
    const countries = channel.closedTo?.({
      oneWay: provider?.oneWay === true,
      stopNoticeOf: (country) => stopNoticeOf(undefined, country),
    });
    if (countries?.length) {
      log.warn(
        { channel: channel.name, countries },
        "the sender is a name, which nobody can answer, and SMS_STOP_NOTICE has no short code: the default policy refuses marketing there",
      );
    }
  }
  const planChannels: PlanChannels = new Map(
    [...channels].map(([name, { channel, provider }]) => [
      name,
      { channel, on: Boolean(provider), oneWay: provider?.oneWay === true },
    ]),
  );
  const work = config.role === "api" ? IDLE : { startEpoch, startWorkers, startOutbox, startFeeder, startSweeper };
  const epoch = work.startEpoch({
    redis: workerRedis,
    store,
    prefix: config.redis.prefix,
    intervalMs: config.workers.sweepMs,
    log: logOf("workers"),
  });
  const workers = work.startWorkers({
    redis: workerRedis,
    prefix: config.redis.prefix,
    ...config.workers,
    store,
    channels,
    mayStart: epoch.known,
    enqueue: (job) => queues.addMessages([job]),
    throttle,
    ruling: (message) => ruling({ ...message, kind: definitions.get(message.channel)?.queue ?? "sms" }),
    hunt: {
      store,
      rules,
      zoneOf: (e164) => zonesOf(e164)[0],
      enqueueHunt: queues.addHunt,
      wake: () => feeder.wake(),
      channels: planChannels,
    },
    inbound: {
      ...takeDeps,
      charges: createCharges({
        store,
        clock,
        providerNamed: (name) => providerNamed([...running], name),
        addCharge: queues.addCharge,
        concurrency: config.workers.concurrency,
      }),
    },
    webhooks: {
      ...config.events,
      events,
      secrets,
      fetchPolicy: overrides.fetchPolicy,
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
  const outbox = work.startOutbox({
    events,
    queues,
    keepSeconds: config.events.keepSeconds,
    clock,
    log: logOf("events"),
  });
  const feeder = work.startFeeder({
    store,
    queues,
    names: [...new Set(config.channels.map(({ channel }) => channel.queue))],
    concurrencyOf: (queue) => config.workers.concurrencies[queue] ?? config.workers.concurrency,
    window: config.workers.window,
    taken: workers.taken,
    clock,
    log: logOf("workers"),
  });
  const sweeper = work.startSweeper({
    store,
    queues,
    clock,
    log: logOf("workers"),
    intervalMs: config.workers.sweepMs,
  });
  redis.on("ready", () => sweeper.hurry());

  const alerting = startAlerting({
    settings: config.alerts,
    ledger: createAlertLedger(redis, config.redis.prefix, config.alerts.intervalMs * 2.5),
    figures: (creditsBelow) => store.operations.figures(creditsBelow),
    stuck: () => stuckWorkers(workers.progress, queues),
    calls: () => metrics.calls(),
    fetchPolicy: overrides.fetchPolicy,
    clock,
    log: logOf("alerts"),
  });

  let stopping: Promise<boolean> | undefined;
  const isStopping = (): boolean => stopping !== undefined;
  const app = createApp({
    routes: routesOf(config.role, [
      // In the order in which they are documented: what is used most first.
      ...huntRoutes({ store, enqueueHunt: queues.addHunt, channels: definitions, clock, log: logOf("hunt") }),
      ...huntsRoutes({ hunts: store.hunts }),
      ...config.channels.map(({ channel, provider, offBecause }) =>
        singleRoute(channel, {
          store,
          enqueue: (message) => queues.addMessages([jobOf(message)]),
          offBecause: () => (provider || overrides.providers?.[channel.name] ? undefined : offBecause),
          lanes: (name) => channels.get(name)?.provider?.lanes,
          rules,
          oneWay: (name) => channels.get(name)?.provider?.oneWay === true,
          log: logOf("routes"),
        }),
      ),
      ...steeringRoutes({ flows: store.flows, wake: () => feeder.wake() }),
      ...templateRoutes({
        templates: store.templates,
        channels: [...definitions.values()].filter(carriesText).map(({ name }) => name),
      }),
      ...previewRoutes({
        store,
        definitions,
        channels: planChannels,
        rules,
        clock,
        paceOf(channel, sender, limits) {
          const { pace } = channels.get(channel)?.provider ?? {};
          const own = pace && { sender: pace.senderOf(sender), perSecond: pace.max };
          const limit = tightestLimit(limits ?? config.limits, definitions.get(channel)?.queue, sender);
          return limit && !(own && own.perSecond <= limit.perSecond) ? limit : own;
        },
        dayLimitsOf: (channel, sender, limits) =>
          dayLimitsOf(limits ?? config.limits, definitions.get(channel)?.queue, sender),
      }),
      ...recurrenceRoutes({ store, recurrences: queues.recurrences, channels: definitions, clock, log: logOf("hunt") }),
      ...mediaRoutes({ store, clock }),
      ...accountRoutes({ accounts: store.accounts, channels: config.channels.map(({ channel }) => channel.name) }),
      ...suppressionRoutes({ store }),
      ...erasureRoutes({
        store,
        removeJobs: (messages) => removeJobs(queues, messages),
        forgetInbound: (phone) => forgetInbound(queues, phone),
      }),
      ...(await webhooks(config, metrics, {
        clock,
        contentOf: (messageId) => store.contentOf(messageId),
        jobContentOf: async (queue, messageId) =>
          messageJobSchema.safeParse(await queues.dataOf(queue, messageId)).data?.content,
        take: (events, id) => keepEvents(events, takeDeps, id),
      })),
      ...[...channels.values()].flatMap(
        ({ channel, provider }) =>
          channel.routes?.({
            sessions: store.sessions,
            provider,
            clock,
            termsOf: (message) => termsOf(message, provider?.oneWay === true),
          }) ?? [],
      ),
      ...endpointRoutes({ events, secrets, fetchPolicy: overrides.fetchPolicy }),
      ...deliveryRoutes({ events, wake: () => outbox.wake() }),
      ...liveRoutes({ events, accounts: store.accounts, live }),
      ...messageRoutes({ queues, store }),
      ...jobRoutes({ queues, store }),
      ...failedRoutes({ queues, store, redis }),
      ...senderRoutes({ throttle }),
      ...opsRoutes({
        store,
        queues,
        pingRedis,
        progress: workers.progress,
        metrics,
        metricsTokens: config.http.metricsTokens,
        isStopping,
        version,
        clock,
        stuckAfterMs: STUCK_AFTER_MS,
      }),
    ]),
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
  const server = createServer(app);
  await listen(server, config.http);
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
    const closed = await closeServer(server, deadline);
    for (const provider of running) await provider.close?.();
    await store.close(deadline);
    await queues.close().catch((error: unknown) => queuesLog.warn({ err: error }, "closing the queues failed"));
    for (const connection of [redis, workerRedis]) connection.disconnect();
    await tracing.stop();
    log.info({ drained }, drained ? "stopped" : "stopped at the deadline: running work was handed back");
    return drained && closed;
  };

  return {
    url: urlOf(server, config.http.host),
    stop: (deadline = new AbortController().signal) => (stopping ??= stop(deadline)),
  };
}

/** What a process of that role serves: a worker only what those ask who look after it. */
function routesOf(role: Config["role"], routes: Route[]): Route[] {
  return role === "worker" ? routes.filter(({ path }) => /^\/(health|ready|metrics)$/.test(path)) : routes;
}

/** OpenTelemetry takes a tenth of a second to load: only for those who want it. */
async function openTracing(config: Config["tracing"], version: string): Promise<Tracing<Telemetry>> {
  if (!config) return NO_TRACING;
  const { startOpenTelemetry } = await import("./core/open-telemetry.ts");
  return startOpenTelemetry({ ...config, version });
}

/** Makes each provider once, however many channels it carries. */
function providers(
  deps: ProviderDeps,
  probeAfterMs: number,
  logOf: (room: string) => Logger,
): (chosen: ChannelConfig) => Promise<Provider | undefined> {
  const made = new Map<ProviderDefinition, Promise<Provider>>();
  const create = ({ definition, env }: ConfiguredProvider, log: Logger): Promise<Provider> => {
    const known = made.get(definition);
    const creating = known ?? definition.create(env, { ...deps, log: log.child({ provider: definition.name }) });
    made.set(definition, creating);
    return creating;
  };
  const all = (chosen: readonly ConfiguredProvider[], log: Logger): Promise<Provider[]> =>
    Promise.all(chosen.map((each) => create(each, log)));

  return async ({ channel, provider, failover: several, offBecause }) => {
    const { name } = channel;
    const log = logOf(channel.queue);
    if (!provider) {
      log.warn({ channel: name }, `channel off: ${offBecause}`);
      return undefined;
    }
    if (!several) {
      log.info({ channel: name, provider: provider.definition.name }, "channel on");
      return create(provider, log);
    }
    const carrier = failover({
      order: await all(several.order, log),
      byCountry: new Map(
        await Promise.all([...several.byCountry].map(async ([to, own]) => [to, await all(own, log)] as const)),
      ),
      probeAfterMs,
      onChange: (member, state) =>
        log.warn({ channel: name, provider: member }, state === "out" ? "provider taken out" : "provider back"),
    });
    log.info({ channel: name, provider: carrier.name }, "channel on");
    return carrier;
  };
}

/** Of those that are running, also one of several in order. */
function providerNamed(running: readonly Provider[], name: string): Provider | undefined {
  const one = running.find((provider) => provider.name === name);
  return one ?? running.map(({ choice }) => choice?.named(name)).find((member) => member !== undefined);
}

/** What vendors call. Without an address that they can reach there is none of it. */
async function webhooks(
  { channels, http }: Config,
  metrics: Metrics,
  deps: Omit<WebhookDeps, "publicUrl">,
): Promise<Route[]> {
  const { publicUrl } = http;
  if (publicUrl === undefined) return [];
  const available = new Map(channels.flatMap((each) => each.available).map((each) => [each.definition, each]));
  const routes = [...available.values()].map(async ({ definition, env }) =>
    counted((await definition.webhooks?.(env, { ...deps, publicUrl })) ?? [], (result) =>
      metrics.webhookEnded({ provider: definition.name, result }),
    ),
  );
  return (await Promise.all(routes)).flat();
}

/** Takes what providers deliver later into the ledger. The store waits for the database by itself. */
function createInbound(store: Store, log: Logger, isStop: (text: string) => boolean): Inbound {
  return {
    async receipt(receipt) {
      try {
        await store.recordReceipt(receipt);
        return true;
      } catch (error) {
        log.error({ err: error }, "could not record a receipt");
        return !(error instanceof UnavailableError);
      }
    },
    async reply(reply) {
      try {
        const stop = reply.stop === true || isStop(reply.text);
        return { firstStop: await store.recordReply({ ...reply, stop, start: isStart(reply.text) }) };
      } catch (error) {
        log.error({ err: error }, "could not record a reply");
        return { firstStop: false };
      }
    },
  };
}

function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Idle connections close at once, busy ones when they have been answered; at the deadline all of them. */
async function closeServer(server: Server, deadline: AbortSignal): Promise<boolean> {
  let closed = true;
  const force = (): void => {
    closed = false;
    server.closeAllConnections();
  };
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
    if (deadline.aborted) force();
    else deadline.addEventListener("abort", force, { once: true });
  });
  deadline.removeEventListener("abort", force);
  return closed;
}

function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
