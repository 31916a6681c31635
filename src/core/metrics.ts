import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** Whether a provider is given messages: all, none, or one that tries it out. */
export const BREAKER_STATES = ["in", "out", "probed"] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];

/**
 * What became of a vendor's call: taken, `forged` (not the vendor's), `malformed`, `unavailable` (the vendor is to call again)
 * or `failed` (a fault of ours).
 */
export type WebhookResult = "taken" | "forged" | "malformed" | "unavailable" | "failed";

/** Where numbers that change now and then are read when somebody looks. */
export interface MetricSources {
  unknownMessages(): Promise<number>;
  jobs(): Promise<{ queue: string; state: string; count: number }[]>;
  /** Providers that stand in for one another on a channel. */
  breakers(): { channel: string; provider: string; state: BreakerState }[];
  /** Messages a second that each sender may send now; `held`: its provider wants to hear nothing from it. */
  senders(): Promise<{ provider: string; rate: number; held: boolean }[]>;
  /** Readers of live events. */
  readers(): number;
}

/** What operators count. Labels are few and bounded: never an account, a number or an id. */
export interface Metrics {
  /** A provider's call came to an end. */
  attemptEnded(labels: { channel: string; provider: string; result: string }, seconds: number): void;
  /** A provider refused for going too fast, or for a fault of the sender's own. */
  rateLimited(labels: { provider: string }): void;
  /** A vendor has called a webhook. */
  webhookEnded(labels: { provider: string; result: WebhookResult }): void;
  /** A webhook of ours has had an attempt: `delivered`, `failed` (it is tried again), `given_up` or `gone` (410). */
  deliveryEnded(labels: { result: string }, seconds: number): void;
  /** The page for Prometheus, and its content type. */
  page(): Promise<{ contentType: string; text: string }>;
}

const PREFIX = "auto_prospect_";
/** Seconds. Providers answer in tenths of a second, and are given up after some fifteen. */
const CALL_BUCKETS = [0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20];

export function createMetrics(sources: MetricSources): Metrics {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const attempts = new Counter({
    name: `${PREFIX}attempts_total`,
    help: "Calls of a provider, by what they came to.",
    labelNames: ["channel", "provider", "result"] as const,
    registers: [registry],
  });
  const duration = new Histogram({
    name: `${PREFIX}attempt_seconds`,
    help: "How long calls of a provider take.",
    labelNames: ["channel", "provider"] as const,
    buckets: CALL_BUCKETS,
    registers: [registry],
  });
  const unknown = new Gauge({
    name: `${PREFIX}messages_unknown`,
    help: "Messages of which nobody can tell whether they were sent: a person has to look at them.",
    registers: [],
    async collect() {
      this.set(await sources.unknownMessages().catch(() => Number.NaN));
    },
  });
  const jobs = new Gauge({
    name: `${PREFIX}jobs`,
    help: "Jobs by queue and state.",
    labelNames: ["queue", "state"] as const,
    registers: [],
    async collect() {
      this.reset();
      for (const { queue, state, count } of await sources.jobs().catch(() => [])) this.set({ queue, state }, count);
    },
  });
  const limited = new Counter({
    name: `${PREFIX}rate_limited_total`,
    help: "Refusals of a provider for going too fast, or for a fault of the sender's own.",
    labelNames: ["provider"] as const,
    registers: [registry],
  });
  const held = new Gauge({
    name: `${PREFIX}senders_held`,
    help: "Senders that their provider wants to hear nothing from for now.",
    labelNames: ["provider"] as const,
    registers: [registry],
  });
  const rate = new Gauge({
    name: `${PREFIX}sender_rate`,
    help: "Messages a second that the slowest sender of a provider may send now.",
    labelNames: ["provider"] as const,
    registers: [registry],
  });
  /** Two figures of one answer, so no gauge can collect them for itself. */
  const lookAtSenders = async (): Promise<void> => {
    const byProvider = Map.groupBy(await sources.senders().catch(() => []), ({ provider }) => provider);
    rate.reset();
    held.reset();
    for (const [provider, senders] of byProvider) {
      rate.set({ provider }, Math.min(...senders.map((sender) => sender.rate)));
      held.set({ provider }, senders.filter((sender) => sender.held).length);
    }
  };
  const webhooks = new Counter({
    name: `${PREFIX}webhooks_total`,
    help: "Calls of vendors' webhooks, by what became of them.",
    labelNames: ["provider", "result"] as const,
    registers: [registry],
  });
  const breakers = new Gauge({
    name: `${PREFIX}provider_state`,
    help: "1 for the state of a provider among several of a channel: in, out (it has failed too often) or probed.",
    labelNames: ["channel", "provider", "state"] as const,
    registers: [],
    collect() {
      this.reset();
      for (const { channel, provider, state } of sources.breakers()) {
        for (const each of BREAKER_STATES) this.set({ channel, provider, state: each }, each === state ? 1 : 0);
      }
    },
  });
  const deliveries = new Histogram({
    name: `${PREFIX}delivery_seconds`,
    help: "How long attempts of webhooks out take, by what they came to.",
    labelNames: ["result"] as const,
    buckets: CALL_BUCKETS,
    registers: [registry],
  });
  const readers = new Gauge({
    name: `${PREFIX}event_readers`,
    help: "Readers of live events that this process has.",
    registers: [],
    collect() {
      this.set(sources.readers());
    },
  });
  registry.registerMetric(readers);
  registry.registerMetric(breakers);
  registry.registerMetric(unknown);
  registry.registerMetric(jobs);

  return {
    attemptEnded({ channel, provider, result }, seconds) {
      attempts.inc({ channel, provider, result });
      duration.observe({ channel, provider }, seconds);
    },
    rateLimited: (labels) => limited.inc(labels),
    webhookEnded: (labels) => webhooks.inc(labels),
    deliveryEnded: (labels, seconds) => deliveries.observe(labels, seconds),
    async page() {
      await lookAtSenders();
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}
