import type { FlowProducer, JobsOptions } from "bullmq";
import { CHARGE_JOB, INBOUND_QUEUE, type ChargeJob, type InboundJob } from "../channels/inbound-job.ts";
import type { MessageJob } from "../channels/message-job.ts";
import { WEBHOOKS_QUEUE, type DeliveryJob } from "../events/events.jobs.ts";
import { chunkJobId, HUNT_QUEUE, type HuntJob, type PlanJob } from "../hunt/hunt.jobs.ts";
import type { PlannedMessage } from "../store/store.ts";
import { BUNDLE, bundleId, type BundleJob, type Bundles } from "./bundles.ts";
import type { Directory } from "./directory.ts";
import { createRecurrences, type Recurrences } from "./recurrences.ts";
import { withRedis } from "./redis.ts";

/** A message's job, with when it is to run. */
export interface NewMessageJob {
  queue: string;
  data: MessageJob;
  delayMs?: number;
  /** Tries that it has had elsewhere; default: none. */
  tries?: number;
}

/** The typed ways in. */
export interface Adding {
  /** Adding a message that has a job already changes nothing. Rejects with `UnavailableError`. */
  addMessages(jobs: readonly NewMessageJob[]): Promise<void>;
  /** The same for messages that are to begin now and have no jobs, up to `size` in a job where that will do. */
  addBundles(jobs: readonly NewMessageJob[], size: number): Promise<void>;
  /** The whole submission at once: one job a chunk, and one that is done when all of them are. What is one chunk is one job. */
  addHunt(hunt: HuntJob): Promise<void>;
  /** As `addHunt`, several submissions at once. */
  addHunts(hunts: readonly HuntJob[]): Promise<void>;
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
}

export interface AddingOptions {
  directory: Pick<Directory, "queueOf" | "inLanes">;
  register: Pick<Bundles, "enter">;
  flows: FlowProducer;
  defaultJobOptions: JobsOptions;
  /** Tries of a channel job, the first one included. */
  attempts: number;
  /** Before the second try; doubled each time, milliseconds. */
  backoffMs: number;
  /** Whether a message of a queue needs no job of its own to begin with. */
  mayBundle(queue: string): boolean;
}

/**
 * The jobs of plan and hunt are tried until they succeed: contacts were accepted, so giving up is not an answer. They
 * fail for good only when their payload makes no sense.
 */
const PLAN_ATTEMPTS = 1_000_000;
/** Priority of a job, 1 for the first. The first chunk of a small hunt goes before the later ones of a big one. */
const FIRST_CHUNK = 1;
/** Not exponential: BullMQ's has no upper bound, and a hunt must go on soon after an outage of any length. */
const PLAN_BACKOFF = { type: "fixed", delay: 2000 } as const;
/** From a message's last report until its charge is asked for; doubled each time that it is not known: for an hour in all. */
const CHARGE_AFTER_MS = 60_000;
const CHARGE_ATTEMPTS = 7;
/** A bundle that comes back is taken apart, which is tried until Redis has all of it. */
const BUNDLE_BACKOFF = { type: "fixed", delay: 250 } as const;
/** Of so many tries only the last few tell something. */
const PLAN_STACK_TRACES = 3;

export function createAdding(options: AddingOptions): Adding {
  const { directory, register, flows, defaultJobOptions, attempts, backoffMs, mayBundle } = options;
  const { queueOf, inLanes } = directory;

  async function addHunts(hunts: readonly HuntJob[]): Promise<void> {
    const opts: JobsOptions = {
      ...defaultJobOptions,
      attempts: PLAN_ATTEMPTS,
      backoff: PLAN_BACKOFF,
      stackTraceLimit: PLAN_STACK_TRACES,
    };
    const [small, big] = [hunts.filter(({ chunks }) => chunks === 1), hunts.filter(({ chunks }) => chunks > 1)];
    // What is planned by one job needs no flow, which costs Redis and us twice as much.
    const jobs = small.map((hunt) => ({
      name: "hunt",
      data: hunt,
      opts: { ...opts, jobId: hunt.jobId, priority: FIRST_CHUNK },
    }));
    const trees = big.map((hunt) => ({
      name: "hunt",
      queueName: HUNT_QUEUE,
      data: hunt,
      opts: { ...opts, jobId: hunt.jobId },
      children: Array.from({ length: hunt.chunks }, (_, no) => ({
        name: "plan",
        queueName: HUNT_QUEUE,
        data: { jobId: hunt.jobId, huntId: hunt.huntId, no } satisfies PlanJob,
        opts: { ...opts, jobId: chunkJobId(hunt.jobId, no), priority: FIRST_CHUNK + no },
      })),
    }));
    await withRedis("adding hunts", () =>
      Promise.all([jobs.length > 0 && queueOf(HUNT_QUEUE).addBulk(jobs), trees.length > 0 && flows.addBulk(trees)]),
    );
  }

  const single = ({ data, delayMs = 0, tries = 0 }: NewMessageJob) => ({
    name: data.channel,
    data,
    opts: {
      jobId: data.messageId,
      attempts: Math.max(1, attempts - tries),
      backoff: { type: "exponential", delay: backoffMs * 2 ** tries },
      ...(delayMs > 0 ? { delay: delayMs } : {}),
    },
  });
  const bundle = (messages: MessageJob[]) => ({
    name: BUNDLE,
    data: { messages } satisfies BundleJob,
    opts: {
      jobId: bundleId(messages.length),
      attempts: PLAN_ATTEMPTS,
      backoff: BUNDLE_BACKOFF,
      stackTraceLimit: PLAN_STACK_TRACES,
      removeOnComplete: true,
      // It has numbers and texts, and no use: its messages are given jobs of their own.
      removeOnFail: true,
    },
  });

  async function add(jobs: readonly NewMessageJob[], size: number): Promise<void> {
    const byQueue = await inLanes(
      jobs.map((job) => ({ ...job, accountId: job.data.accountId, sender: job.data.from, recipient: job.data.to })),
    );
    await withRedis("adding jobs", () =>
      Promise.all(
        [...byQueue].map(async ([name, group]) => {
          if (size === 1 || group.length === 1 || !mayBundle(name)) return queueOf(name).addBulk(group.map(single));
          const jobs = Array.from({ length: Math.ceil(group.length / size) }, (_, i) =>
            bundle(group.slice(i * size, (i + 1) * size).map(({ data }) => data)),
          );
          const enter = ({ data: { messages }, opts: { jobId } }: (typeof jobs)[number]): Promise<void> =>
            register.enter(
              name,
              jobId,
              messages.map(({ messageId }) => messageId),
            );
          await Promise.all(jobs.map(enter));
          return queueOf(name).addBulk(jobs);
        }),
      ),
    );
  }

  return {
    addMessages: (jobs) => add(jobs, 1),
    addBundles: add,

    addHunt: (hunt) => addHunts([hunt]),
    addHunts,

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
