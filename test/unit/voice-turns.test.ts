import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { inject, expect, test } from "vitest";
import { createTurns } from "../../src/queues/turns.ts";

const GAP_MS = 60;

/** Comes back when told to, until it is its turn: when that was. */
async function wait(turns: ReturnType<typeof createTurns>, name: string, id: string): Promise<number> {
  for (;;) {
    const delay = await turns.take(name, id, GAP_MS);
    if (delay === 0) return performance.now();
    await sleep(delay);
  }
}

async function twoProcesses() {
  const { redisUrl } = inject("stack");
  const prefix = `{test-${randomUUID()}}`;
  const connections = [new Redis(redisUrl), new Redis(redisUrl)];
  return {
    turns: connections.map((redis) => createTurns(redis, prefix)),
    redis: connections[0]!,
    prefix,
    async [Symbol.asyncDispose]() {
      const keys = await connections[0]!.keys(`${prefix}*`);
      if (keys.length > 0) await connections[0]!.del(...keys);
      for (const redis of connections) redis.disconnect();
    },
  };
}

test("turns of two processes are a gap apart, and everybody has one", async () => {
  await using world = await twoProcesses();
  const ids = Array.from({ length: 16 }, (_, index) => `m${index}`);
  const times = await Promise.all(ids.map((id, index) => wait(world.turns[index % 2]!, "a", id)));
  const sorted = times.toSorted((a, b) => a - b);
  // Redis counts whole milliseconds, and answers take their time to arrive.
  for (let i = 1; i < sorted.length; i += 1) expect(sorted[i]! - sorted[i - 1]!).toBeGreaterThan(GAP_MS - 25);
  expect(sorted.at(-1)! - sorted[0]!).toBeGreaterThan(15 * GAP_MS - 50);
  // Nobody had to wait for much longer than a turn for each of those before.
  expect(sorted.at(-1)! - sorted[0]!).toBeLessThan(15 * GAP_MS * 2);
});

test("turns of one name do not wait for those of another", async () => {
  await using world = await twoProcesses();
  expect(await world.turns[0]!.take("a", "m1", 60_000)).toBe(0);
  expect(await world.turns[0]!.take("a", "m2", 60_000)).toBeGreaterThan(50_000);
  expect(await world.turns[0]!.take("b", "m3", 60_000)).toBe(0);
});

test("who asks again before the time keeps the turn that was given", async () => {
  await using world = await twoProcesses();
  await world.turns[0]!.take("a", "m1", 10_000);
  const first = await world.turns[0]!.take("a", "m2", 10_000);
  const again = await world.turns[1]!.take("a", "m2", 10_000);
  expect(again).toBeLessThanOrEqual(first);
  expect(again).toBeGreaterThan(first - 5_000);
  expect(await world.turns[0]!.take("a", "m3", 10_000)).toBeGreaterThan(15_000);
});

test("those that come late do not go at once", async () => {
  await using world = await twoProcesses();
  for (const id of ["m1", "m2", "m3", "m4"]) await world.turns[0]!.take("a", id, GAP_MS);
  await sleep(5 * GAP_MS);
  const answers: number[] = [];
  for (const id of ["m2", "m3", "m4"]) answers.push(await world.turns[0]!.take("a", id, GAP_MS));
  expect(answers[0]).toBe(0);
  expect(answers[1]).toBeGreaterThan(0);
  expect(answers[2]).toBeGreaterThan(0);
});

test("nothing is left behind in Redis", async () => {
  await using world = await twoProcesses();
  await Promise.all(["m1", "m2", "m3"].map((id) => wait(world.turns[0]!, "a", id)));
  await expect.poll(() => world.redis.keys(`${world.prefix}*`)).toEqual([]);
});

test("without Redis it says so", async () => {
  await using world = await twoProcesses();
  world.redis.disconnect();
  await expect(world.turns[0]!.take("a", "m1", GAP_MS)).rejects.toMatchObject({ name: "UnavailableError" });
  world.redis.connect().catch(() => {});
});
