import { Gauge, type Registry } from "prom-client";

/** Whether a provider is given messages: all, none, or one that tries it out. */
const BREAKER_STATES = ["in", "out", "probed"] as const;
export type BreakerState = (typeof BREAKER_STATES)[number];

/** Where numbers that change now and then are read when somebody looks. */
export interface MetricSources {
  /** Of queues, their lanes included. */
  queues(): Promise<{ queue: string; counts: Record<string, number>; oldestSeconds: number }[]>;
  /** From the database. `troubled`: sessions that do not send as they should. */
  ledger(): Promise<{
    unknown: number;
    flows: Record<string, number>;
    sessions: Partial<Record<string, number>>;
    troubled: readonly { held: boolean }[];
  }>;
  /** Providers that stand in for one another on a channel. */
  breakers(): { channel: string; provider: string; state: BreakerState }[];
  /** Messages a second that each sender may send now; `held`: its provider wants to hear nothing from it. */
  senders(): Promise<{ provider: string; rate: number; held: boolean; waitMs: number }[]>;
  pingRedis(): Promise<unknown>;
  /** Readers of live events that this process has. */
  readers(): number;
}

export const PREFIX = "auto_prospect_";

/** What is shown as it is now. `look` reads all of it anew; what cannot be read is left out. Never rejects. */
export function createGauges(
  registry: Registry,
  sources: MetricSources,
): { look(): Promise<{ redisSeconds: number | undefined }> } {
  const gauge = <Label extends string = never>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: PREFIX + name, help, labelNames, registers: [registry] });
  const jobs = gauge("jobs", "Jobs by queue and state, lanes included.", "queue", "state");
  const oldest = gauge(
    "oldest_waiting_seconds",
    "How long the job has waited that is next in its queue or lane, since it was made or last taken: the longest of them.",
    "queue",
  );
  const unknown = gauge(
    "messages_unknown",
    "Messages of which nobody can tell whether they were sent: a person has to look at them.",
  );
  const flows = gauge(
    "flows_waiting",
    "Hunts, by queue, of which messages wait in the database for their turn.",
    "queue",
  );
  const sessions = gauge("whatsapp_sessions", "Paired WhatsApp numbers by state.", "state");
  const restricted = gauge(
    "whatsapp_sessions_held",
    "WhatsApp numbers that WhatsApp keeps from writing to people first, for now.",
  );
  const senders = gauge("senders", "Senders that have sent within a day, of providers that limit them.", "provider");
  const held = gauge("senders_held", "Senders that their provider wants to hear nothing from for now.", "provider");
  const rate = gauge(
    "sender_rate",
    "Messages a second that the slowest sender of a provider may send now.",
    "provider",
  );
  const wait = gauge("sender_wait_seconds", "How long a message waits that comes now: the longest queue.", "provider");
  const breakers = gauge(
    "provider_state",
    "1 for the state of a provider among several of a channel: in, out (it has failed too often) or probed.",
    ...(["channel", "provider", "state"] as const),
  );
  const up = gauge("dependency_up", "1: it has answered when these figures were read.", "dependency");

  const readers = gauge("event_readers", "Readers of live events that this process has.");

  const lookAtRedis = async (): Promise<number | undefined> => {
    const began = performance.now();
    const [ping, queues, paced] = await Promise.allSettled([
      sources.pingRedis().then(() => (performance.now() - began) / 1000),
      sources.queues(),
      sources.senders(),
    ]);
    for (const each of [jobs, oldest, senders, held, rate, wait]) each.reset();
    up.set({ dependency: "redis" }, ping.status === "fulfilled" ? 1 : 0);
    for (const { queue, counts, oldestSeconds } of valueOf(queues) ?? []) {
      for (const [state, count] of Object.entries(counts)) jobs.set({ queue, state }, count);
      oldest.set({ queue }, oldestSeconds);
    }
    for (const [provider, all] of Map.groupBy(valueOf(paced) ?? [], (sender) => sender.provider)) {
      senders.set({ provider }, all.length);
      held.set({ provider }, all.filter((sender) => sender.held).length);
      rate.set({ provider }, Math.min(...all.map((sender) => sender.rate)));
      wait.set({ provider }, Math.max(...all.map(({ waitMs }) => waitMs)) / 1000);
    }
    return valueOf(ping);
  };
  const lookAtLedger = async (): Promise<void> => {
    const [answer] = await Promise.allSettled([sources.ledger()]);
    const figures = valueOf(answer);
    for (const each of [flows, sessions]) each.reset();
    up.set({ dependency: "database" }, figures ? 1 : 0);
    unknown.set(figures?.unknown ?? Number.NaN);
    restricted.set(figures ? figures.troubled.filter((session) => session.held).length : Number.NaN);
    for (const [queue, n] of Object.entries(figures?.flows ?? {})) flows.set({ queue }, n);
    for (const [state, n] of Object.entries(figures?.sessions ?? {})) sessions.set({ state }, n ?? 0);
  };
  const lookAtProviders = (): void => {
    breakers.reset();
    for (const { channel, provider, state } of sources.breakers()) {
      for (const each of BREAKER_STATES) breakers.set({ channel, provider, state: each }, each === state ? 1 : 0);
    }
  };

  return {
    async look() {
      lookAtProviders();
      readers.set(sources.readers());
      const [redisSeconds] = await Promise.all([lookAtRedis(), lookAtLedger()]);
      return { redisSeconds };
    },
  };
}

const valueOf = <T>(result: PromiseSettledResult<T>): T | undefined =>
  result.status === "fulfilled" ? result.value : undefined;
