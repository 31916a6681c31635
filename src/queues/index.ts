import { FlowProducer, Queue, type JobsOptions, type QueueOptions, type Telemetry } from "bullmq";
import type { Redis } from "ioredis";
import type { LaneDirectory, LaneKey } from "../channels/channel.ts";
import { CHARGE_JOB, INBOUND_QUEUE, type ChargeJob, type InboundJob } from "../channels/inbound-job.ts";
import type { MessageJob } from "../channels/message-job.ts";
import { UnavailableError } from "../core/errors.ts";
import { WEBHOOKS_QUEUE, type DeliveryJob } from "../events/events.jobs.ts";
import { chunkJobId, HUNT_QUEUE, type HuntJob, type PlanJob } from "../hunt/hunt.jobs.ts";
import { repeatStrategy } from "../hunt/recurring.ts";
import type { PlannedMessage } from "../store/store.ts";
import { readFigures, type QueueFigures } from "./figures.ts";
import { removeLane, wakeLane } from "./lanes.ts";
import { createRecurrences, type Recurrences } from "./recurrences.ts";
import { withRedis } from "./redis.ts";

export interface QueuesOptions {
  redis: Redis;
  /** Before every key, in braces so that a Redis Cluster keeps a queue's keys on one node. */
  prefix: string;
  /** From the registry; each gets a queue, whether or not a worker serves it. */
  names: readonly string[];
  /** Tries of a channel job, the first one included. */
  attempts: number;
  /** Before the second try; doubled each time, milliseconds. */
  backoffMs: number;
  retention: Retention;
  telemetry: Telemetry | undefined;
  /** The lanes that a queue's messages wait in; undefined for a queue without. */
  lanesOf(queue: string): LaneDirectory | undefined;
}

/** For how long, seconds, and how many finished jobs stay for inspection in each queue. */
export interface Retention {
  completed: { age: number; count: number };
  failed: { age: number; count: number };
}

export interface QueueStats {
  name: string;
  /** Prioritised jobs are waiting jobs too. */
  waiting: number;
  active: number;
  completed: number;
  failed: number;
  delayed: number;
  prioritized: number;
  paused: boolean;
}

/** What tells where a message's job belongs. */
export interface Placed extends LaneKey {
  queue: string;
}

/** A message's job, with when it is to run. */
export interface NewMessageJob {
  queue: string;
  data: MessageJob;
  delayMs?: number;
}

export interface Queues {
  /** Those of the registry. */
  readonly all: readonly Queue[];
  /** One of the registry, or a lane of one. */
  get(name: string): Queue | undefined;
  /** The lanes that there are now, of all queues. Rejects with `UnavailableError`. */
  lanes(): Promise<readonly Queue[]>;
  /** Groups messages by where their jobs belong: a lane, else their queue. */
  inLanes<T extends Placed>(messages: readonly T[]): Promise<Map<string, T[]>>;
  /** What was put off in a lane looks again at once. Rejects with `UnavailableError`. */
  wakeLane(lane: string): Promise<void>;
  /** Takes a lane that nobody works out of Redis; what waits in it goes where it belongs now. Rejects as `addMessages`. */
  removeLane(lane: string): Promise<void>;
  /** A queue and its lanes. */
  withLanes(queue: Queue): Promise<Queue[]>;
  /** Of a queue and its lanes the one that holds a job; the queue itself when none does. */
  holding(queue: Queue, jobId: string): Promise<Queue>;
  /** Adding a message that has a job already changes nothing. Rejects with `UnavailableError`. */
  addMessages(jobs: readonly NewMessageJob[]): Promise<void>;
  /** The whole submission at once: one job a chunk, and one that is done when all of them are. */
  addHunt(hunt: HuntJob): Promise<void>;
  readonly recurrences: Recurrences;
  /**
   * What a vendor's webhook brought, to be taken into the ledger; changes nothing while there is a job of that id. Rejects with
   * `UnavailableError`.
   */
  addInbound(job: InboundJob, jobId?: string): Promise<void>;
  /** Has a provider asked later what a message was charged; once a message. Rejects with `UnavailableError`. */
  addCharge(job: ChargeJob): Promise<void>;
  /** Has these webhooks attempted; one that has a job already changes nothing. Rejects with `UnavailableError`. */
  addDeliveries(deliveryIds: readonly string[]): Promise<void>;
  /** Of these jobs, the ids of those that will not run (any more) by themselves: there is none, or it has ended. */
  idle(queue: string, jobIds: readonly string[]): Promise<{ missing: string[]; ended: string[] }>;
  /** What a job carries; undefined when there is none. */
  dataOf(queue: string, jobId: string): Promise<unknown>;
  remove(queue: string, jobId: string): Promise<void>;
  /** Removes what is left of a submission's jobs, so that it can be added again. */
  removeHunt(jobId: string, chunks: number): Promise<void>;
  /** Jobs of a queue, without its lanes, that any worker could take now. Rejects with `UnavailableError`. */
  waiting(queue: string): Promise<number>;
  /** Its lanes included. */
  stats(queue: Queue): Promise<QueueStats>;
  /** Of all queues at once; `now` in milliseconds since the epoch. Rejects with `UnavailableError`. */
  figures(now: number): Promise<QueueFigures[]>;
  close(): Promise<void>;
}

/**
 * The jobs of plan and hunt are tried until they succeed: contacts were accepted, so giving up is not an answer. They
 * fail for good only when their payload makes no sense.
 */
const PLAN_ATTEMPTS = 1_000_000;
/** Not exponential: BullMQ's has no upper bound, and a hunt must go on soon after an outage of any length. */
const PLAN_BACKOFF = { type: "fixed", delay: 2000 } as const;
/** Between a queue's name and its lane's. */
const LANE_MARK = ".";
/** From a message's last report until its charge is asked for; doubled each time that it is not known: for an hour in all. */
const CHARGE_AFTER_MS = 60_000;
const CHARGE_ATTEMPTS = 7;
/** Of so many tries only the last few tell something. */
const PLAN_STACK_TRACES = 3;

/** The queue that a lane, `whatsapp.<session>`, belongs to; a queue's own name as it is. */
export const queueOfLane = (name: string): string => name.split(LANE_MARK)[0] ?? name;

/** One queue a job kind, and typed ways in. */
export function createQueues(options: QueuesOptions): Queues {
  const { redis, prefix, names, attempts, backoffMs, retention, lanesOf } = options;
  const telemetry = options.telemetry && { telemetry: options.telemetry };
  const defaultJobOptions: JobsOptions = {
    removeOnComplete: retention.completed,
    removeOnFail: retention.failed,
  };
  // A Redis that is away is the caller's to handle, so construction must not wait for it.
  const settings = { repeatStrategy };
  const queueOptions: QueueOptions = { connection: redis, prefix, defaultJobOptions, settings, ...telemetry };
  const queues = new Map(names.map((name) => [name, new Queue(name, queueOptions)]));
  const flows = new FlowProducer({ connection: redis, prefix, ...telemetry });
  // ioredis reports each failed reconnection here; readiness reports the outage, once.
  const ignore = (): void => {};
  flows.on("error", ignore);
  for (const queue of queues.values()) queue.on("error", ignore);

  const lanes = new Map<string, Queue>();
  /** `whatsapp.<session>`: a lane of `whatsapp`. */
  const laneNamed = (name: string): Queue | undefined => {
    const known = lanes.get(name);
    if (known || !queues.has(queueOfLane(name))) return known;
    const lane = new Queue(name, queueOptions);
    lane.on("error", ignore);
    lanes.set(name, lane);
    return lane;
  };
  const get = (name: string): Queue | undefined => queues.get(name) ?? laneNamed(name);
  const queueOf = (name: string): Queue => {
    const queue = get(name);
    if (!queue) throw new Error(`There is no queue "${name}" in the registry.`);
    return queue;
  };
  const lanesIn = async (name: string): Promise<Queue[]> => ((await lanesOf(name)?.all()) ?? []).map(queueOf);

  const withLanes = async (queue: Queue): Promise<Queue[]> => [queue, ...(await lanesIn(queue.name))];

  async function inLanes<T extends Placed>(messages: readonly T[]): Promise<Map<string, T[]>> {
    const placed = new Map<string, T[]>();
    for (const message of messages) {
      const lane = (await lanesOf(message.queue)?.laneOf(message, undefined)) ?? message.queue;
      const there = placed.get(lane);
      if (there) there.push(message);
      else placed.set(lane, [message]);
    }
    return placed;
  }

  async function countsOf(queue: Queue): Promise<Record<string, number>> {
    const all = await Promise.all((await withLanes(queue)).map((each) => each.getJobCounts()));
    const sum: Record<string, number> = {};
    for (const counts of all) for (const [state, n] of Object.entries(counts)) sum[state] = (sum[state] ?? 0) + n;
    return sum;
  }

  async function addMessages(jobs: readonly NewMessageJob[]): Promise<void> {
    const byQueue = await inLanes(
      jobs.map((job) => ({
        ...job,
        accountId: job.data.accountId,
        sender: job.data.from,
        recipient: job.data.to,
      })),
    );
    await withRedis("adding jobs", () =>
      Promise.all(
        [...byQueue].map(([name, group]) =>
          queueOf(name).addBulk(
            group.map(({ data, delayMs = 0 }) => ({
              name: data.channel,
              data,
              opts: {
                jobId: data.messageId,
                attempts,
                backoff: { type: "exponential", delay: backoffMs },
                ...(delayMs > 0 ? { delay: delayMs } : {}),
              },
            })),
          ),
        ),
      ),
    );
  }

  return {
    all: [...queues.values()],
    get,
    lanes: async () => (await Promise.all(names.map(lanesIn))).flat(),
    inLanes,
    withLanes,

    async holding(queue, jobId) {
      for (const each of await withLanes(queue)) {
        if ((await withRedis("looking for a job", () => redis.exists(each.toKey(jobId)))) > 0) return each;
      }
      return queue;
    },

    addMessages,

    wakeLane: (lane) => wakeLane(queueOf(lane)),

    async removeLane(name) {
      const queue = queueOfLane(name);
      await removeLane(queueOf(name), (jobs) => addMessages(jobs.map((job) => ({ ...job, queue }))));
      const lane = lanes.get(name);
      lanes.delete(name);
      await lane?.close();
    },

    async addHunt(hunt) {
      const opts: JobsOptions = {
        ...defaultJobOptions,
        attempts: PLAN_ATTEMPTS,
        backoff: PLAN_BACKOFF,
        stackTraceLimit: PLAN_STACK_TRACES,
      };
      await withRedis("adding a hunt", () =>
        flows.add({
          name: "hunt",
          queueName: HUNT_QUEUE,
          data: hunt,
          opts: { ...opts, jobId: hunt.jobId },
          children: Array.from({ length: hunt.chunks }, (_, no) => ({
            name: "plan",
            queueName: HUNT_QUEUE,
            data: { jobId: hunt.jobId, huntId: hunt.huntId, no } satisfies PlanJob,
            // The first chunk of a small hunt goes before the later ones of a big one.
            opts: { ...opts, jobId: chunkJobId(hunt.jobId, no), priority: no + 1 },
          })),
        }),
      );
    },

    recurrences: createRecurrences(queueOf(HUNT_QUEUE), {
      attempts: PLAN_ATTEMPTS,
      backoff: PLAN_BACKOFF,
      stackTraceLimit: PLAN_STACK_TRACES,
      ...defaultJobOptions,
    }),

    async addInbound(job, jobId) {
      // Tried until the ledger has it. It holds what people wrote: once that is in the ledger, it is not kept here.
      const opts: JobsOptions = {
        attempts: PLAN_ATTEMPTS,
        backoff: PLAN_BACKOFF,
        stackTraceLimit: PLAN_STACK_TRACES,
        removeOnComplete: true,
        ...(jobId === undefined ? {} : { jobId }),
      };
      await withRedis("adding what a vendor reports", () => queueOf(INBOUND_QUEUE).add("events", job, opts));
    },

    async addCharge(job) {
      const opts: JobsOptions = {
        jobId: `${CHARGE_JOB}-${job.provider}-${job.providerMessageId}`,
        // After whatever vendors report.
        priority: 1,
        delay: CHARGE_AFTER_MS,
        attempts: CHARGE_ATTEMPTS,
        backoff: { type: "exponential", delay: CHARGE_AFTER_MS },
        stackTraceLimit: PLAN_STACK_TRACES,
        removeOnComplete: true,
        removeOnFail: true,
      };
      await withRedis("adding a question", () => queueOf(INBOUND_QUEUE).add(CHARGE_JOB, job, opts));
    },

    async addDeliveries(deliveryIds) {
      // One attempt, and nothing of it stays: the ledger knows what came of it, and what is left would stand in the way.
      const opts: JobsOptions = { attempts: 1, removeOnComplete: true, removeOnFail: true };
      await withRedis("adding deliveries", () =>
        queueOf(WEBHOOKS_QUEUE).addBulk(
          deliveryIds.map((deliveryId) => ({
            name: "deliver",
            data: { deliveryId } satisfies DeliveryJob,
            opts: { ...opts, jobId: `delivery-${deliveryId}` },
          })),
        ),
      );
    },

    dataOf: (name, jobId) =>
      withRedis("reading a job", async () => {
        const job = await queueOf(name).getJob(jobId);
        return job?.data as unknown;
      }),

    async remove(name, jobId) {
      await withRedis("removing a job", () => queueOf(name).remove(jobId));
    },

    async removeHunt(jobId, chunks) {
      const queue = queueOf(HUNT_QUEUE);
      const ids = [...Array.from({ length: chunks }, (_, no) => chunkJobId(jobId, no)), jobId];
      await withRedis("removing a hunt", () => Promise.all(ids.map((id) => queue.remove(id))));
    },

    async idle(name, jobIds) {
      const queue = queueOf(name);
      // One field that every job has, one that only an ended one has: two reads a job, no script, one round trip.
      const answers = await withRedis("looking for jobs", async () => {
        const pipeline = redis.pipeline();
        for (const id of jobIds) pipeline.hmget(queue.toKey(id), "timestamp", "finishedOn");
        return (await pipeline.exec()) ?? [];
      });
      const missing: string[] = [];
      const ended: string[] = [];
      answers.forEach(([error, fields], i) => {
        if (error) throw new UnavailableError("redis", "Redis cannot look for jobs now.", error);
        const [timestamp, finishedOn] = fields as (string | null)[];
        const id = jobIds[i] as string;
        if (timestamp === null) missing.push(id);
        else if (finishedOn !== null) ended.push(id);
      });
      return { missing, ended };
    },

    waiting: (name) =>
      withRedis("counting jobs", async () => {
        const queue = queueOf(name);
        const [waiting, prioritized] = await Promise.all([
          redis.llen(queue.toKey("wait")),
          redis.zcard(queue.toKey("prioritized")),
        ]);
        return waiting + prioritized;
      }),

    stats: (queue) =>
      withRedis(`the statistics of ${queue.name}`, async () => {
        const [counts, paused] = await Promise.all([countsOf(queue), queue.isPaused()]);
        const count = (state: string): number => counts[state] ?? 0;
        return {
          name: queue.name,
          waiting: count("waiting") + count("prioritized"),
          active: count("active"),
          completed: count("completed"),
          failed: count("failed"),
          delayed: count("delayed"),
          prioritized: count("prioritized"),
          paused,
        };
      }),

    async figures(now) {
      const all = [...queues.values()].map(async (queue) => {
        const bases = [queue, ...(await lanesIn(queue.name))].map((each) => each.toKey(""));
        return { name: queue.name, bases };
      });
      return readFigures(redis, await Promise.all(all), now);
    },

    async close() {
      await Promise.all([flows.close(), ...[...queues.values(), ...lanes.values()].map((queue) => queue.close())]);
    },
  };
}

/** A ledger row's job. */
export function jobOf(message: PlannedMessage): NewMessageJob {
  const { id, queue, accountId, huntId, adId, channel, recipient, sender, content, category } = message;
  return {
    queue,
    data: { messageId: id, accountId, huntId, adId, channel, to: recipient, from: sender, content, category },
  };
}
