import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** Where numbers that change now and then are read when somebody looks. */
export interface MetricSources {
  unknownMessages(): Promise<number>;
  jobs(): Promise<{ queue: string; state: string; count: number }[]>;
}

/** What operators count. Labels are few and bounded: never an account, a number or an id. */
export interface Metrics {
  /** A provider's call came to an end. */
  attemptEnded(labels: { channel: string; provider: string; result: string }, seconds: number): void;
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
  registry.registerMetric(unknown);
  registry.registerMetric(jobs);

  return {
    attemptEnded({ channel, provider, result }, seconds) {
      attempts.inc({ channel, provider, result });
      duration.observe({ channel, provider }, seconds);
    },
    async page() {
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}
