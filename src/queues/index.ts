import { FlowProducer, type JobsOptions, type QueueOptions, type Telemetry } from "bullmq";
import type { Redis } from "ioredis";
import type { LaneDirectory } from "../channels/lanes.ts";
import { chunkJobId, HUNT_QUEUE } from "../hunt/hunt.jobs.ts";
import { repeatStrategy } from "../hunt/recurring.ts";
import { createAdding, type Adding } from "./adding.ts";
import { backendOn } from "./backend.ts";
import { createBundles, type Bundles } from "./bundles.ts";
import { createDirectory, ignore, queueOfLane, type Directory } from "./directory.ts";
import { removeLane, wakeLane } from "./lanes.ts";
import { createLooking, type Looking } from "./looking.ts";
import { withRedis } from "./redis.ts";
import { withTraces, type TracesOptions } from "./traces.ts";

export { jobOf, type NewMessageJob } from "./adding.ts";
export { queueOfLane } from "./directory.ts";

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
  /** Has hunts go on with their traces; undefined where nothing is traced. */
  traces: TracesOptions | undefined;
  /** The lanes that a queue's messages wait in; undefined for a queue without. */
  lanesOf(queue: string): LaneDirectory | undefined;
  /** Whether several messages of a queue, which is not a lane, may share a job. */
  mayBundle(queue: string): boolean;
}

/** For how long, seconds, and how many finished jobs stay for inspection in each queue. */
export interface Retention {
  completed: { age: number; count: number };
  failed: { age: number; count: number };
}

export interface Queues extends Omit<Directory, "queueOf" | "lanesIn" | "forgetLane">, Adding, Looking {
  /** What was put off in a lane looks again at once. Rejects with `UnavailableError`. */
  wakeLane(lane: string): Promise<void>;
  /** Takes a lane that nobody works out of Redis; what waits in it goes where it belongs now. Rejects as `addMessages`. */
  removeLane(lane: string): Promise<void>;
  remove(queue: string, jobId: string): Promise<void>;
  readonly bundles: Bundles;
  /** Removes what is left of a submission's jobs, so that it can be added again. */
  removeHunt(jobId: string, chunks: number): Promise<void>;
}

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
  const directory = createDirectory(names, lanesOf, queueOptions, backendOn(redis));
  const { all, get, existing, lanes, inLanes, withLanes, queueOf, forgetLane } = directory;
  const flows = new FlowProducer({ connection: redis, prefix, ...telemetry });
  flows.on("error", ignore);
  const bundles = createBundles(redis, queueOf, retention.completed);
  const untraced = createAdding({
    directory,
    register: bundles,
    flows,
    defaultJobOptions,
    attempts,
    backoffMs,
    mayBundle: options.mayBundle,
  });
  const adding = options.traces ? withTraces(untraced, options.traces) : untraced;

  return {
    all,
    get,
    existing,
    lanes,
    inLanes,
    withLanes,
    bundles,
    ...adding,
    ...createLooking(redis, directory, bundles),

    wakeLane: (lane) => wakeLane(queueOf(lane)),

    async removeLane(name) {
      const queue = queueOfLane(name);
      await removeLane(queueOf(name), (jobs) => adding.addMessages(jobs.map((job) => ({ ...job, queue }))));
      await forgetLane(name);
    },

    async remove(name, jobId) {
      await withRedis("removing a job", () => queueOf(name).remove(jobId));
    },

    async removeHunt(jobId, chunks) {
      const queue = queueOf(HUNT_QUEUE);
      const ids = [...Array.from({ length: chunks }, (_, no) => chunkJobId(jobId, no)), jobId];
      await withRedis("removing a hunt", () => Promise.all(ids.map((id) => queue.remove(id))));
    },

    async close() {
      await Promise.all([flows.close(), directory.close()]);
    },
  };
}
