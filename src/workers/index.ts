import { setTimeout as delay } from "node:timers/promises";
import { Worker, type Job, type Telemetry, type WorkerOptions } from "bullmq";
import type { Redis } from "ioredis";
import type { Logger } from "pino";
import type { LaneHost } from "../channels/lanes.ts";
import { INBOUND_QUEUE } from "../channels/inbound-job.ts";
import type { Clock } from "../core/clock.ts";
import { aborted } from "../core/deadline.ts";
import { messageOf } from "../core/errors.ts";
import { WEBHOOKS_QUEUE } from "../events/events.jobs.ts";
import { runHuntJob, type HuntWorkerDeps } from "../hunt/hunt.worker.ts";
import { HUNT_QUEUE } from "../hunt/hunt.jobs.ts";
import { repeatStrategy } from "../hunt/recurring.ts";
import type { Metrics } from "../core/metrics.ts";
import type { Tracing } from "../core/tracing.ts";
import { bundleProgress } from "../queues/bundle-progress.ts";
import { BUNDLE, bundleSize } from "../queues/bundles.ts";
import { queueOfLane, type NewMessageJob } from "../queues/index.ts";
import { DatabaseError } from "../store/database.ts";
import type { Store } from "../store/store.ts";
import { outcomeOf } from "./attempt.ts";
import { runInboundJob, type InboundWorkerDeps } from "./inbound.ts";
import { HandBack } from "./hand-back.ts";
import { watchProgress, type Progress } from "./progress.ts";
import { runBundle, type RunBundleDeps } from "./run-bundle.ts";
import { HAND_BACK_MS, runJob, type JobResult, type RunJobDeps } from "./run-job.ts";
import { Slots } from "./slots.ts";
import { taskOf, type Task } from "./task.ts";
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
  /** As `enqueue`, for several. */
  enqueueAll(jobs: readonly NewMessageJob[]): Promise<void>;
  register: RunBundleDeps["register"];
  /** Tries of a message's job, and before its second one, milliseconds. */
  attempts: number;
  backoffMs: number;
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
  /** Jobs of a queue and its lanes that this process has begun with so far, and each message of a bundle. */
  taken(queue: string): number;
  /** Messages of a queue that wait in this process for one of its slots. */
  held(queue: string): number;
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
/**
 * How long BullMQ may take to let go of its connections once nothing runs any more, milliseconds. Of a cluster that has lost a node
 * meanwhile it may never: its client then forgets to say that it has ended.
 */
const LET_GO_MS = 3000;
const LET_GO_POLL_MS = 50;
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
  const progress: Progress[] = [];
  const taken = new Map<string, number>();
  /** Jobs under way, by queue or lane. */
  const running = new Map<string, number>();
  const slots = new Map<string, Slots>();
  const start = (
    queue: string,
    concurrency: number,
    run: (job: Job<unknown>, token?: string) => Promise<unknown>,
  ): Worker => {
    const log = logOf(queue);
    const counted = async (job: Job<unknown>, token?: string): Promise<unknown> => {
      running.set(queue, (running.get(queue) ?? 0) + 1);
      try {
        return await run(job, token);
      } finally {
        const left = (running.get(queue) ?? 0) - 1;
        if (left > 0) running.set(queue, left);
        else running.delete(queue);
      }
    };
    const worker = new Worker(queue, counted, { ...shared, concurrency, autorun: false });
    const base = queueOfLane(queue);
    worker.on("completed", ({ name }, result) => {
      if (name !== BUNDLE) ended(base, statusOf(result));
    });
    worker.on("failed", (job) => {
      if (job?.name !== BUNDLE) ended(base, "failed");
    });
    worker.on("error", (error) => log.warn({ err: error }, "worker error"));
    worker.on("failed", (job, error) => {
      // What the database refuses it will refuse again: somebody has to look, or a hunt would stay in planning unseen.
      const level = error instanceof DatabaseError ? "error" : "info";
      log[level]({ jobId: job?.id, reason: messageOf(error) }, "job failed");
    });
    workers.add(worker);
    return worker;
  };
  const ended = (queue: string, result: string): void => options.metrics.jobEnded({ queue, result });

  /** A lane has no slots: who opens it says how many jobs it takes. */
  const startChannel = (queue: string, concurrency: number, own?: Slots): Worker => {
    const base = queueOfLane(queue);
    const deps: RunJobDeps = { ...options, log: logOf(queue), handBack, leaving };
    const run = async (task: Task, begins?: () => void): Promise<JobResult> => {
      const begin = (): Promise<JobResult> => {
        begins?.();
        taken.set(base, (taken.get(base) ?? 0) + 1);
        return runJob(task, deps);
      };
      try {
        return await (own ? own.run(begin) : begin());
      } catch (error) {
        if (error === leaving.reason) return task.later(HAND_BACK_MS);
        throw error;
      }
    };
    const { attempts, backoffMs, enqueueAll: enqueue, register } = options;
    const onEnd = ({ status }: JobResult): void => {
      ended(base, status);
      progress.find((each) => each.queue === queue)?.moved();
    };
    const progressOf = (bundle: string) => bundleProgress(redis, worker.toKey(bundle));
    const worker = start(queue, concurrency, (job, token) =>
      job.name === BUNDLE
        ? runBundle(job, { run, attempts, backoffMs, enqueue, register, progressOf, onEnd })
        : run(taskOf(job, token)),
    );
    worker.on("failed", (job, error) => {
      // BullMQ gives up a job whose worker died too often without asking us: its message has to say so.
      if (!job?.id || job.name === BUNDLE || !error.message.includes("stalled")) return;
      const detail = "The process died each time that it took this job.";
      store.recordOutcome({ ...outcomeOf(job.id), code: "worker_crashed", detail }).catch((cause: unknown) => {
        options.log.error({ err: cause, jobId: job.id }, "could not record a job that stalled too often");
      });
    });
    return worker;
  };
  for (const queue of new Set([...options.channels.values()].map(({ channel }) => channel.queue))) {
    const concurrency = options.concurrencies[queue] ?? options.concurrency;
    // Whoever has as many in hand as a bundle brings leaves the rest to other processes.
    const own = new Slots(concurrency, (waiting) => {
      worker.concurrency = waiting < bundleSize(concurrency) ? concurrency : 1;
    });
    slots.set(queue, own);
    const worker = startChannel(queue, concurrency, own);
  }
  start(HUNT_QUEUE, options.huntConcurrency, (job) => runHuntJob(job, options.hunt));
  start(INBOUND_QUEUE, options.concurrencies[INBOUND_QUEUE] ?? options.concurrency, (job, token) =>
    runInboundJob(job, token, options.inbound),
  );
  start(WEBHOOKS_QUEUE, options.concurrencies[WEBHOOKS_QUEUE] ?? options.webhooks.concurrency, (job) =>
    runWebhookJob(job, options.webhooks),
  );

  progress.push(...[...workers].map((worker) => watchProgress(worker, clock)));
  let draining = false;
  let started = false;
  const run = (worker: Worker): void => {
    worker.run().catch((error: unknown) => options.log.error({ err: error, queue: worker.name }, "worker ended"));
  };
  void options.mayStart.then(() => {
    started = true;
    if (!draining) workers.forEach(run);
  });

  /** True once nothing has run for so long that what was done is recorded. */
  const nothingRuns = async (isRunning: () => boolean, over: AbortSignal): Promise<boolean> => {
    let since = clock.monotonic();
    while (!over.aborted && clock.monotonic() - since < LET_GO_MS) {
      await delay(LET_GO_POLL_MS, undefined, { ref: false });
      if (isRunning()) since = clock.monotonic();
    }
    if (!over.aborted) options.log.warn("nothing runs any more, and Redis has not let go of every worker");
    return !over.aborted;
  };

  const lanes: Workers["lanes"] = {
    open(lane, concurrency) {
      if (draining) return { setConcurrency: () => {}, close: async () => {} };
      const worker = startChannel(lane, concurrency);
      if (started) run(worker);
      return {
        setConcurrency: (n) => void (worker.concurrency = n),
        async close() {
          const over = new AbortController();
          try {
            await Promise.race([worker.close(), nothingRuns(() => running.has(lane), over.signal)]);
          } finally {
            over.abort();
            // Until then it is one of those that a drain waits for.
            workers.delete(worker);
          }
        },
      };
    },
  };

  return {
    progress,
    lanes,
    taken: (queue) => taken.get(queue) ?? 0,
    held: (queue) => slots.get(queue)?.waiting ?? 0,
    async drain(deadline) {
      draining = true;
      const reason = new Error("The service is stopping.");
      leaving.abort(reason);
      for (const each of slots.values()) each.close(reason);
      const closed = Promise.all([...workers].map((worker) => worker.close())).then(() => true);
      const over = new AbortController();
      const drained = await Promise.race([
        closed,
        nothingRuns(() => running.size > 0, over.signal),
        aborted(deadline).then(() => false),
      ]);
      over.abort();
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
