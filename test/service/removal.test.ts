import { randomUUID } from "node:crypto";
import { Worker } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import type { LaneDirectory } from "../../src/channels/lanes.ts";
import { createQueues, type Queues } from "../../src/queues/index.ts";
import { removeJobs } from "../../src/queues/removal.ts";

const prefix = `{test-${randomUUID()}}`;
const LANE = "whatsapp.one";
let redis: Redis;
let queues: Queues;

beforeAll(() => {
  redis = new Redis(inject("stack").redisUrl, { maxRetriesPerRequest: null });
  const lanes: LaneDirectory = {
    laneOf: async () => undefined,
    senderFault: async () => undefined,
    all: async () => ["whatsapp.none", LANE],
  };
  const retention = { completed: { age: 60, count: 5000 }, failed: { age: 60, count: 5000 } };
  const names = ["hunt", "sms", "whatsapp"];
  const options = {
    redis,
    prefix,
    names,
    attempts: 3,
    backoffMs: 10,
    retention,
    telemetry: undefined,
    traces: undefined,
  };
  queues = createQueues({
    ...options,
    lanesOf: (queue) => (queue === "whatsapp" ? lanes : undefined),
    mayBundle: () => false,
  });
});
afterAll(async () => {
  await queues.close();
  const keys = await redis.keys(`${prefix}*`);
  if (keys.length > 0) await redis.del(...keys);
  await redis.quit();
});

const uuids = (count: number): string[] => Array.from({ length: count }, () => randomUUID());
const keysOf = async (): Promise<string[]> =>
  (await redis.keys(`${prefix}*`)).filter((key) => /[0-9a-f-]{36}$/.test(key));

test("many jobs, waiting, put off, ended, of lanes and twice there → all go but one that is being worked", async () => {
  const add = (queue: string, ids: string[], delay = 0) =>
    queues.get(queue)?.addBulk(ids.map((jobId) => ({ name: "x", data: {}, opts: { jobId, delay } })));
  const [active, ended, none] = [randomUUID(), randomUUID(), randomUUID()];
  const [late, waiting, inLane, twice] = [uuids(700), uuids(5), uuids(3), uuids(2)];
  await add("sms", [ended, active]);
  const begun = Promise.withResolvers<void>();
  const over = Promise.withResolvers<void>();
  const work = async ({ id }: { id?: string | undefined }): Promise<void> => {
    if (id !== active) return;
    begun.resolve();
    await over.promise;
  };
  const connection = redis.duplicate();
  const worker = new Worker("sms", work, { connection, prefix });
  await begun.promise;
  await add("sms", late, 3_600_000);
  await queues.get("sms")?.pause();
  await add("sms", waiting);
  await add(LANE, [...inLane, ...twice], 1000);
  await add("whatsapp", twice);

  const of = (queue: string, ids: string[]) => ids.map((messageId) => ({ messageId, queue }));
  const all = [...of("sms", [...late, ...waiting, ended, active, none]), ...of("whatsapp", [...inLane, ...twice])];
  expect((await keysOf()).length).toBe(714);
  const gone = await removeJobs(queues, [...all, ...of("never", [none])]);
  expect(gone.toSorted()).toEqual(
    [...all.map(({ messageId }) => messageId), none].filter((id) => id !== active).toSorted(),
  );
  expect(await keysOf()).toEqual([expect.stringContaining(active)]);
  over.resolve();
  await worker.close();
  await connection.quit();
  expect(await removeJobs(queues, of("sms", [active]))).toEqual([active]);
  expect(await keysOf()).toEqual([]);
});
