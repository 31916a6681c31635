import { mediaRoutes } from "../channels/media.routes.ts";
import { messageJobSchema } from "../channels/message-job.ts";
import { singleRoute } from "../channels/single.routes.ts";
import { createTermsOf } from "../channels/terms.ts";
import { accountRoutes } from "../compliance/accounts.routes.ts";
import { erasureRoutes } from "../compliance/erasure.routes.ts";
import { dayLimitsOf, tightestLimit } from "../compliance/limits.ts";
import { suppressionRoutes } from "../compliance/suppressions.routes.ts";
import type { Config } from "../config.ts";
import type { Route } from "../core/route.ts";
import { deliveryRoutes } from "../events/deliveries.routes.ts";
import { endpointRoutes } from "../events/endpoints.routes.ts";
import { liveRoutes } from "../events/live.routes.ts";
import { carriesText } from "../hunt/content.ts";
import { huntRoutes } from "../hunt/hunt.routes.ts";
import { huntsRoutes } from "../hunt/hunts.routes.ts";
import { previewRoutes } from "../hunt/preview.routes.ts";
import { recurrenceRoutes } from "../hunt/recurring.routes.ts";
import { rescheduleRoutes } from "../hunt/reschedule.routes.ts";
import { steeringRoutes } from "../hunt/steering.routes.ts";
import { forgetInbound } from "../queues/forgetting.ts";
import { gathered } from "../queues/gathering.ts";
import { jobOf } from "../queues/index.ts";
import { removeJobs } from "../queues/removal.ts";
import { failedRoutes } from "../routes/failed.routes.ts";
import { jobRoutes } from "../routes/jobs.routes.ts";
import { messageRoutes } from "../routes/messages.routes.ts";
import { opsRoutes } from "../routes/ops.routes.ts";
import { senderRoutes } from "../routes/senders.routes.ts";
import { templateRoutes } from "../templates/templates.routes.ts";
import { keepBothWays, keepEvents } from "../workers/inbound.ts";
import type { Parts } from "./parts.ts";
import { vendorRoutes } from "./webhooks.ts";
import type { Work } from "./work.ts";

/** A worker that moves nothing for so long while jobs wait is not ready, nor is a loop that does not get on, milliseconds. */
const STUCK_AFTER_MS = 30_000;

/** All that the service answers, of its role, in the order in which it is documented: what is used most first. */
export async function createRoutes(
  parts: Parts,
  { workers, feeder, outbox, loops }: Pick<Work, "workers" | "feeder" | "outbox" | "loops">,
): Promise<Route[]> {
  const { config, version, clock, logOf, webhookPolicy, metrics, store, redis, pingRedis, queues, isStopping } = parts;
  const { channels, definitions, planChannels, taking, afterwards, rules, stopNoticeOf, secrets, live, throttle } =
    parts;
  const { events } = store;
  const termsOf = createTermsOf({ store, stopNoticeOf });
  // A job carries the trace of its own request: where there are traces, each is added by itself.
  const addingOf = <Job>(add: (jobs: readonly Job[]) => Promise<void>): ((job: Job) => Promise<void>) =>
    config.tracing ? (job) => add([job]) : gathered(add);
  const enqueue = addingOf(queues.addMessages);
  return ofRole(config.role, [
    ...huntRoutes({ store, enqueueHunt: addingOf(queues.addHunts), channels: definitions, clock, log: logOf("hunt") }),
    ...huntsRoutes({ hunts: store.hunts }),
    ...config.channels.map(({ channel, offBecause }) =>
      singleRoute(channel, {
        store,
        enqueue: (message) => enqueue(jobOf(message)),
        offBecause: () => (channels.get(channel.name)?.provider ? undefined : offBecause),
        lanes: (name) => channels.get(name)?.provider?.lanes,
        rules,
        oneWay: (name) => channels.get(name)?.provider?.oneWay === true,
        log: logOf("routes"),
      }),
    ),
    ...steeringRoutes({ flows: store.flows, wake: () => feeder.wake() }),
    ...rescheduleRoutes({
      flows: store.flows,
      removeJobs: (messages) => removeJobs(queues, messages),
      wake: () => feeder.wake(),
      clock,
      log: logOf("hunt"),
    }),
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
    ...(await vendorRoutes(config, metrics, {
      clock,
      contentOf: (messageId) => store.contentOf(messageId),
      jobContentOf: async (queue, messageId) =>
        messageJobSchema.safeParse(await queues.dataOf(queue, messageId)).data?.content,
      take: (events, id) => keepEvents(events, taking, id),
      takeAfterwards: (events, id) => afterwards.keep(() => keepBothWays(events, taking, id)),
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
    ...endpointRoutes({ events, secrets, fetchPolicy: webhookPolicy, wake: () => outbox.wake() }),
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
      loops,
      metrics,
      metricsTokens: config.http.metricsTokens,
      isStopping,
      version,
      clock,
      stuckAfterMs: STUCK_AFTER_MS,
    }),
  ]);
}

/** What a process of that role serves: a worker only what those ask who look after it. */
function ofRole(role: Config["role"], routes: Route[]): Route[] {
  return role === "worker" ? routes.filter(({ path }) => /^\/(health|ready|metrics)$/.test(path)) : routes;
}
