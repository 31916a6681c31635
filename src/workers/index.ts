import { Worker, type Job, type Telemetry, type WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { LaneHost } from "../channels/channel.ts";
import { INBOUND_QUEUE } from "../channels/inbound-job.ts";
import type { Clock } from "../core/clock.ts";
import { messageOf } from "../core/errors.ts";
import { WEBHOOKS_QUEUE } from "../events/events.jobs.ts";
import { runHuntJob, type HuntWorkerDeps } from "../hunt/hunt.worker.ts";
import { HUNT_QUEUE } from "../hunt/hunt.jobs.ts";
import { repeatStrategy } from "../hunt/recurring.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Tracing } from "../core/tracing.ts";
import { queueOfLane } from "../queues/index.ts";
import type { Store } from "../store/store.ts";
import { outcomeOf } from "./attempt.ts";
import { runInboundJob, type InboundWorkerDeps } from "./inbound.ts";
import { HandBack } from "./hand-back.ts";
import { watchProgress, type Progress } from "./progress.ts";
import { runJob, type RunJobDeps } from "./run-job.ts";
import { runWebhookJob, type WebhooksWorkerDeps } from "./webhooks.ts";

export interface WorkersOptions {
  redis: Redis;
  prefix: string;
  concurrency: number;
  /** By queue, where it differs. */
  concurrencies: Partial<Record<string, number>>;
  huntConcurrency: number;
  lockMs: number;
  stalledCheckMs: number;
  store: Store;
  channels: RunJobDeps["channels"];
  hunt: HuntWorkerDeps;
  inbound: InboundWorkerDeps;
  webhooks: WebhooksWorkerDeps & { concurrency: number };
  /** No job is taken before it resolves. */
  mayStart: Promise<void>;
  enqueue: RunJobDeps["enqueue"];
  throttle: RunJobDeps["throttle"];
  ruling: RunJobDeps["ruling"];
  clock: Clock;
  log: Logger;
  /** Of a queue's jobs. */
  logOf(queue: string): Logger;
  metrics: Metrics;
  tracing: Tracing<Telemetry>;
}

export interface Workers {
  readonly progress: readonly Progress[];
  readonly lanes: Pick<LaneHost, "open">;
  /** Jobs of a queue and its lanes that this process has taken so far. */
  taken(queue: string): number;
  /**
   * Takes no new jobs and resolves when the running ones are done and recorded: true. When `deadline` aborts first,
   * they are handed back: false.
   */
  drain(deadline: AbortSignal): Promise<boolean>;
}

/**
 * Times that a job may lose its worker before BullMQ gives it up. High, because the ledger makes taking over safe, and
 * a deploy that goes wrong a few times must not cost a message.
 */
const MAX_STALLED = 50;
/** After a command that Redis did not answer; BullMQ's own 15 s would idle on long after Redis is back. */
const REDIS_RETRY_MS = 1000;
/**
 * How long one blocking wait for jobs lasts, seconds. A worker that is closed in the moment before such a wait sits it
 * out, so it bounds how long an idle service may take to stop.
 */
const WAIT_SECONDS = 1;
/** How long handed-back jobs may take to find their way into Redis, milliseconds. */
const HAND_BACK_TIMEOUT_MS = 2000;

/** One worker a channel queue, and the hunt worker. */
export function startWorkers(options: WorkersOptions): Workers {
  const { store, clock, redis, prefix } = options;
  const logOf = (queue: string): Logger => options.logOf(roomOf(queue)).child({ queue });
  const handBack = new HandBack();
  const leaving = new HandBack();
  const shared: WorkerOptions = {
    connection: redis,
    prefix,
    lockDuration: options.lockMs,
    stalledInterval: options.stalledCheckMs,
    maxStalledCount: MAX_STALLED,
    drainDelay: WAIT_SECONDS,
    runRetryDelay: REDIS_RETRY_MS,
    settings: { repeatStrategy },
    ...(options.tracing.telemetry && { telemetry: options.tracing.telemetry }),
  };

  const workers = new Set<Worker>();
  const taken = new Map<string, number>();
  const start = (
    queue: string,
    concurrency: number,
    run: (job: Job<unknown>, token?: string) => Promise<unknown>,
  ): Worker => {
    const log = logOf(queue);
    const worker = new Worker(queue, run, { ...shared, concurrency, autorun: false });
    const base = queueOfLane(queue);
    worker.on("active", () => taken.set(base, (taken.get(base) ?? 0) + 1));
    worker.on("completed", (_job, result) => options.metrics.jobEnded({ queue: base, result: statusOf(result) }));
    worker.on("failed", () => options.metrics.jobEnded({ queue: base, result: "failed" }));
    worker.on("error", (error) => log.warn({ err: error }, "worker error"));
    worker.on("failed", (job, error) => log.info({ jobId: job?.id, reason: messageOf(error) }, "job failed"));
    workers.add(worker);
    return worker;
  };

  const startChannel = (queue: string, concurrency: number): Worker => {
    const deps: RunJobDeps = { ...options, log: logOf(queue), handBack, leaving };
    const worker = start(queue, concurrency, (job, token) => runJob(job, token, deps));
    worker.on("failed", (job, error) => {
      // BullMQ gives up a job whose worker died too often without asking us: its message has to say so.
      if (!job?.id || !error.message.includes("stalled")) return;
      const detail = "The process died each time that it took this job.";
      store.recordOutcome({ ...outcomeOf(job.id), code: "worker_crashed", detail }).catch((cause: unknown) => {
        options.log.error({ err: cause, jobId: job.id }, "could not record a job that stalled too often");
      });
    });
    return worker;
  };
  for (const queue of new Set([...options.channels.values()].map(({ channel }) => channel.queue))) {
    startChannel(queue, options.concurrencies[queue] ?? options.concurrency);
  }
  start(HUNT_QUEUE, options.huntConcurrency, (job) => runHuntJob(job, options.hunt));
  start(INBOUND_QUEUE, options.concurrencies[INBOUND_QUEUE] ?? options.concurrency, (job, token) =>
    runInboundJob(job, token, options.inbound),
  );
  start(WEBHOOKS_QUEUE, options.concurrencies[WEBHOOKS_QUEUE] ?? options.webhooks.concurrency, (job) =>
    runWebhookJob(job, options.webhooks),
  );

  let draining = false;
  let started = false;
  const run = (worker: Worker): void => {
    worker.run().catch((error: unknown) => options.log.error({ err: error, queue: worker.name }, "worker ended"));
  };
  void options.mayStart.then(() => {
    started = true;
    if (!draining) workers.forEach(run);
  });

  const lanes: Workers["lanes"] = {
    open(lane, concurrency) {
      if (draining) return { setConcurrency: () => {}, close: async () => {} };
      const worker = startChannel(lane, concurrency);
      if (started) run(worker);
      return {
        setConcurrency: (n) => void (worker.concurrency = n),
        async close() {
          // Until then it is one of those that a drain waits for.
          await worker.close().finally(() => workers.delete(worker));
        },
      };
    },
  };

  return {
    progress: [...workers].map((worker) => watchProgress(worker, clock)),
    lanes,
    taken: (queue) => taken.get(queue) ?? 0,
    async drain(deadline) {
      draining = true;
      leaving.abort(new Error("The service is stopping."));
      const closed = Promise.all([...workers].map((worker) => worker.close())).then(() => true);
      const drained = await Promise.race([closed, aborted(deadline)]);
      if (drained) return true;
      handBack.abort(new Error("The service is stopping."));
      const timeout = AbortSignal.timeout(HAND_BACK_TIMEOUT_MS);
      await Promise.race([closed, aborted(timeout)]);
      return false;
    },
  };
}

/** Whose lines a queue's are: the room of its channel, or of what it does. */
function roomOf(queue: string): string {
  return queue === WEBHOOKS_QUEUE ? "events" : queueOfLane(queue);
}

/** Of a message's job what became of the message; others are just done. */
function statusOf(result: unknown): string {
  const status = (result as { status?: unknown } | null)?.status;
  return typeof status === "string" ? status : "done";
}

function aborted(signal: AbortSignal): Promise<false> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(false);
    else signal.addEventListener("abort", () => resolve(false), { once: true });
  });
}
