import { Queue, type BackendFactory, type QueueOptions, type RedisQueueBackend } from "bullmq";
import type { LaneDirectory, LaneKey } from "../channels/lanes.ts";

/** What tells where a message's job belongs. */
export interface Placed extends LaneKey {
  queue: string;
}

/** The queues of the registry, and the lanes of those that have some. */
export interface Directory {
  /** Those of the registry. */
  readonly all: readonly Queue[];
  /** One of the registry, or a lane of one. */
  get(name: string): Queue | undefined;
  /** As `get`, but of lanes only those that there are now. Rejects with `UnavailableError`. */
  existing(name: string): Promise<Queue | undefined>;
  /** The lanes that there are now, of all queues. Rejects with `UnavailableError`. */
  lanes(): Promise<readonly Queue[]>;
  /** Groups messages by where their jobs belong: a lane, else their queue. */
  inLanes<T extends Placed>(messages: readonly T[]): Promise<Map<string, T[]>>;
  /** A queue and its lanes. */
  withLanes(queue: Queue): Promise<Queue[]>;
  /** As `get`; throws for a name that is none. */
  queueOf(name: string): Queue;
  /** The lanes of one queue. */
  lanesIn(name: string): Promise<Queue[]>;
  /** Closes a lane that is gone. */
  forgetLane(name: string): Promise<void>;
  close(): Promise<void>;
}

/** Between a queue's name and its lane's. */
const LANE_MARK = ".";

/** The queue that a lane, `whatsapp.<session>`, belongs to; a queue's own name as it is. */
export const queueOfLane = (name: string): string => name.split(LANE_MARK)[0] ?? name;

/** ioredis reports each failed reconnection to each queue; readiness reports the outage, once. */
export const ignore = (): void => {};

export function createDirectory(
  names: readonly string[],
  lanesOf: (queue: string) => LaneDirectory | undefined,
  queueOptions: QueueOptions,
  backend: BackendFactory<RedisQueueBackend>,
): Directory {
  const queues = new Map(names.map((name) => [name, new Queue(name, queueOptions, backend)]));
  for (const queue of queues.values()) queue.on("error", ignore);

  const lanes = new Map<string, Queue>();
  /** `whatsapp.<session>`: a lane of `whatsapp`. */
  const laneNamed = (name: string): Queue | undefined => {
    const known = lanes.get(name);
    if (known || !queues.has(queueOfLane(name))) return known;
    const lane = new Queue(name, queueOptions, backend);
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

  return {
    all: [...queues.values()],
    get,
    async existing(name) {
      return queues.get(name) ?? (await lanesIn(queueOfLane(name))).find((lane) => lane.name === name);
    },
    queueOf,
    lanes: async () => (await Promise.all(names.map(lanesIn))).flat(),
    lanesIn,
    inLanes,
    withLanes,
    async forgetLane(name) {
      const lane = lanes.get(name);
      lanes.delete(name);
      await lane?.close();
    },
    async close() {
      await Promise.all([...queues.values(), ...lanes.values()].map((queue) => queue.close()));
    },
  };
}
