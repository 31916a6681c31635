import { collectDefaultMetrics, Counter, Histogram, Registry } from "prom-client";
import { PermanentError, RateLimitedError, TransientError } from "./errors.ts";
import { createGauges, PREFIX, type MetricSources } from "./gauges.ts";

/**
 * What became of a vendor's call: taken, `forged` (not the vendor's), `malformed`, `unavailable` (the vendor is to call again)
 * or `failed` (a fault of ours).
 */
export type WebhookResult = "taken" | "forged" | "malformed" | "unavailable" | "failed";

/** What operators count. Labels are few and bounded: never an account, a number or an id. */
export interface Metrics {
  /** A provider's call came to an end; `error`: what it threw. */
  attemptEnded(labels: { channel: string; provider: string; result: string }, seconds: number, error?: unknown): void;
  /** A job of a queue or of one of its lanes came to an end: what its worker answered, or `failed`, also where it is tried again. */
  jobEnded(labels: { queue: string; result: string }): void;
  /** A provider refused for going too fast, or for a fault of the sender's own. */
  rateLimited(labels: { provider: string }): void;
  /** A vendor has called a webhook. */
  webhookEnded(labels: { provider: string; result: WebhookResult }): void;
  /** A webhook of ours has had an attempt: `delivered`, `failed` (it is tried again), `given_up` or `gone` (410). */
  deliveryEnded(labels: { result: string }, seconds: number): void;
  /** The service has turned an endpoint off: `gone` (410), or `failing` for days. */
  endpointTurnedOff(labels: { reason: string }): void;
  databaseAnswered(operation: string, seconds: number, ok: boolean): void;
  batchWritten(operation: string, items: number): void;
  /** Calls of providers so far, by this process, and how many of them failed otherwise than for going too fast or for the number. */
  calls(): Promise<{ channel: string; provider: string; failed: number; all: number }[]>;
  /** The page for Prometheus, and its content type. */
  page(): Promise<{ contentType: string; text: string }>;
}

/** Seconds. Providers answer in tenths of a second, and are given up after some fifteen. */
const CALL_BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20];
/** Seconds. Redis and the database answer in milliseconds, or something is wrong. */
const QUICK_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5];
const BATCH_BUCKETS = [1, 5, 10, 25, 50, 100, 250, 500];
/** Classes of codes that say that something is wrong with the provider, or on the way to it: not with the numbers. */
export const FAILURES = new Set(["unreachable", "ambiguous", "unexpected"]);
/** A page does not wait longer for a dependency that is away: it shows what it has, milliseconds. */
const LOOK_TIMEOUT_MS = 1000;

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name: PREFIX + name, help, labelNames, registers: [registry] });
  const histogram = <Label extends string = never>(
    name: string,
    help: string,
    buckets: number[],
    ...labelNames: Label[]
  ) => new Histogram({ name: PREFIX + name, help, labelNames, buckets, registers: [registry] });

  const attempts = counter(
    "attempts_total",
    "Calls of a provider, by what they came to.",
    ...(["channel", "provider", "result"] as const),
  );
  const outcomes = counter(
    "outcomes_total",
    "Calls of a provider, by the class of their code.",
    ...(["channel", "provider", "class"] as const),
  );
  const duration = histogram(
    "attempt_seconds",
    "How long calls of a provider take.",
    CALL_BUCKETS,
    "channel",
    "provider",
  );
  const ended = counter(
    "jobs_ended_total",
    "Jobs by what became of them; one that is tried again ends several times.",
    "queue",
    "result",
  );
  const limited = counter(
    "rate_limited_total",
    "Refusals of a provider for going too fast, or for a fault of the sender's own.",
    "provider",
  );
  const webhooks = counter(
    "webhooks_total",
    "Calls of vendors' webhooks, by what became of them.",
    "provider",
    "result",
  );
  const deliveries = histogram(
    "delivery_seconds",
    "How long attempts of webhooks out take, by what they came to.",
    CALL_BUCKETS,
    "result",
  );
  const turnedOff = counter("endpoints_turned_off_total", "Endpoints of webhooks out that were turned off.", "reason");
  const database = histogram("database_seconds", "How long requests to the database take.", QUICK_BUCKETS, "operation");
  const databaseErrors = counter("database_errors_total", "Requests to the database that failed.", "operation");
  const batches = histogram(
    "batch_size",
    "Items that one request to the database carries.",
    BATCH_BUCKETS,
    "operation",
  );
  const redis = histogram(
    "redis_seconds",
    "How long Redis takes to answer a PING, asked with each look here.",
    QUICK_BUCKETS,
  );
  const gauges = createGauges(registry, sources);

  let looking: Promise<void> | undefined;
  /** Whoever asks while one look is under way shares it. */
  const look = (): Promise<void> =>
    (looking ??= gauges
      .look()
      .then(({ redisSeconds }) => {
        if (redisSeconds !== undefined) redis.observe(redisSeconds);
      })
      .finally(() => (looking = undefined)));

  return {
    attemptEnded({ channel, provider, result }, seconds, error) {
      attempts.inc({ channel, provider, result });
      outcomes.inc({ channel, provider, class: error === undefined ? "accepted" : classOf(error) });
      duration.observe({ channel, provider }, seconds);
    },
    jobEnded: (labels) => ended.inc(labels),
    rateLimited: (labels) => limited.inc(labels),
    webhookEnded: (labels) => webhooks.inc(labels),
    deliveryEnded: (labels, seconds) => deliveries.observe(labels, seconds),
    endpointTurnedOff: (labels) => turnedOff.inc(labels),
    databaseAnswered(operation, seconds, ok) {
      database.observe({ operation }, seconds);
      if (!ok) databaseErrors.inc({ operation });
    },
    batchWritten: (operation, items) => batches.observe({ operation }, items),
    async calls() {
      const { values } = await outcomes.get();
      const byProvider = Map.groupBy(values, ({ labels }) => JSON.stringify([labels.channel, labels.provider]));
      return [...byProvider].map(([key, all]) => {
        const [channel = "", provider = ""] = JSON.parse(key) as string[];
        const sum = (counted: typeof values): number => counted.reduce((total, { value }) => total + value, 0);
        return {
          channel,
          provider,
          failed: sum(all.filter(({ labels }) => FAILURES.has(String(labels.class)))),
          all: sum(all),
        };
      });
    },
    async page() {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, LOOK_TIMEOUT_MS)));
      await Promise.race([look(), late]).finally(() => clearTimeout(timer));
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}

/** Vendors have hundreds of codes, of which these are the kinds. */
function classOf(error: unknown): string {
  if (error instanceof PermanentError) return error.suppress ? "stopped" : "refused";
  if (error instanceof RateLimitedError) return "rate_limited";
  if (error instanceof TransientError) return error.delivery === "not_sent" ? "unreachable" : "ambiguous";
  return "unexpected";
}
