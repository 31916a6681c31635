import { randomUUID } from "node:crypto";
import { Queue, type JobsOptions } from "bullmq";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { backendOn } from "../../../src/queues/backend.ts";

const prefixes = { theirs: `{test-${randomUUID()}}`, ours: `{test-${randomUUID()}}` };
let redis: Redis;
let theirs: Queue;
let ours: Queue;
/** What the connection has sent. */
const sent: string[] = [];

beforeAll(() => {
  redis = new Redis(inject("stack").redisUrl, { maxRetriesPerRequest: null });
  const send = redis.sendCommand.bind(redis);
  redis.sendCommand = (command, stream) => {
    sent.push(command.name);
    return send(command, stream);
  };
  theirs = new Queue("sms", { connection: redis, prefix: prefixes.theirs });
  ours = new Queue("sms", { connection: redis, prefix: prefixes.ours }, backendOn(redis));
});
afterAll(async () => {
  for (const queue of [theirs, ours]) {
    await queue.obliterate({ force: true });
    await queue.close();
  }
  redis.disconnect();
});

/** All that a queue has, by key; ids of streams are the time. */
async function contentOf(prefix: string): Promise<Record<string, unknown>> {
  const read: Record<string, (key: string) => Promise<unknown>> = {
    string: (key) => redis.get(key),
    hash: (key) => redis.hgetall(key),
    list: (key) => redis.lrange(key, 0, -1),
    zset: (key) => redis.zrange(key, "0", "-1", "WITHSCORES"),
    stream: async (key) => (await redis.xrange(key, "-", "+")).map(([, fields]) => fields),
  };
  const keys = (await redis.keys(`${prefix}*`)).toSorted();
  return Object.fromEntries(
    await Promise.all(
      keys.map(async (key) => [key.slice(prefix.length), await read[await redis.type(key)]?.(key)] as const),
    ),
  );
}

const job = (n: number, opts: JobsOptions = {}) => ({
  name: "sms",
  data: { messageId: `m${n}`, content: { message: "Où ? 🙂" } },
  opts: { jobId: `m${n}`, timestamp: 1_800_000_000_000 + n, attempts: 3, ...opts },
});

test.each([
  ["several", [job(1), job(2), job(3)]],
  ["one that is there already, and twice the same", [job(1), job(4), job(4)]],
  [
    "the last one first, and one with a number for its id",
    [job(5, { lifo: true }), { ...job(6), opts: { timestamp: 1 } }],
  ],
  ["one that waits, and one with a priority", [job(7), job(8, { delay: 1e12 }), job(9, { priority: 3 })]],
  ["more than one call takes", Array.from({ length: 201 }, (_, n) => job(100 + n))],
])("%s → Redis has what BullMQ would have put there, the answer is the same", async (_, jobs) => {
  const answers = [await theirs.addBulk(jobs), await ours.addBulk(jobs)].map((added) => added.map(({ id }) => id));
  expect(answers[1]).toEqual(answers[0]);
  const content = await contentOf(prefixes.ours);
  expect(content).toEqual(await contentOf(prefixes.theirs));
  expect(Object.keys(content).length).toBeGreaterThan(jobs.length > 100 ? 200 : 4);
});

test("a queue that is paused, and goes on → the same", async () => {
  for (const queue of [theirs, ours]) {
    await queue.pause();
    await queue.addBulk([job(2000), job(2001)]);
    await queue.resume();
    await queue.addBulk([job(2002), job(2003)]);
  }
  expect(await contentOf(prefixes.ours)).toEqual(await contentOf(prefixes.theirs));
});

test("a Redis that has restarted and knows no scripts → is told them again, nothing is lost", async () => {
  for (const queue of [theirs, ours]) {
    await redis.script("FLUSH");
    await queue.addBulk([job(3000), job(3001)]);
  }
  expect(await contentOf(prefixes.ours)).toEqual(await contentOf(prefixes.theirs));
});

test("a hundred jobs that are to begin at once → one call", async () => {
  await ours.waitUntilReady();
  sent.length = 0;
  await ours.addBulk(Array.from({ length: 100 }, (_, n) => job(1000 + n)));
  expect(sent).toEqual(["evalsha"]);
});
