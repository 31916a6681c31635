import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { pino } from "pino";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { systemClock } from "../../../src/core/clock.ts";
import { UnavailableError } from "../../../src/core/errors.ts";
import { startEpoch } from "../../../src/workers/epoch.ts";
import { createLoops } from "../../../src/workers/loops.ts";

let redis: Redis;
beforeAll(() => void (redis = new Redis(inject("stack").redisUrl)));
afterAll(() => redis.quit());

const prefixOf = (): string => `{test-${randomUUID()}}`;

/** One process' counting, over a ledger that answers what the test says. */
function counting(next: () => Promise<number>) {
  const prefix = prefixOf();
  const seen: number[] = [];
  const epoch = startEpoch({
    redis,
    store: { observeEpoch: (value) => void seen.push(value), nextEpoch: next },
    prefix,
    intervalMs: 10,
    log: pino({ enabled: false }),
    loops: createLoops(systemClock),
  });
  return { ...epoch, seen, key: `${prefix}:epoch`, [Symbol.asyncDispose]: () => epoch.stop() };
}

test("a ledger that is set back → the copy in Redis stays at the greatest", async () => {
  const answers = [7, 9, 4, 5];
  let steps = 0;
  await using epoch = counting(async () => answers[Math.min(steps++, 3)] as number);
  await expect.poll(() => steps).toBeGreaterThan(6);
  expect(await redis.get(epoch.key)).toBe("9");
  expect(epoch.seen).toEqual(expect.arrayContaining([0, 7, 9]));
  expect(Math.max(...epoch.seen)).toBe(9);
});

test("a step that is late, after another process' greater one → the copy does not go back", async () => {
  const { promise: answer, resolve } = Promise.withResolvers<number>();
  const { promise: asked, resolve: ask } = Promise.withResolvers<void>();
  await using epoch = counting(() => {
    ask();
    return answer;
  });
  await asked;
  await redis.set(epoch.key, "20");
  resolve(8);
  await expect.poll(() => epoch.seen).toContain(20);
  expect(await redis.get(epoch.key)).toBe("20");
});

test("Redis does not answer yet → nobody may begin, and counting goes on once it does", async () => {
  let refused = 0;
  let isKnown = false;
  const prefix = prefixOf();
  await using held = new AsyncDisposableStack();
  const epoch = startEpoch({
    redis: {
      get: async () => {
        if (refused++ < 3) throw new UnavailableError("redis", "not yet");
        return "5";
      },
      eval: async () => 6,
    } as never,
    store: { observeEpoch: () => expect(refused).toBeGreaterThan(3), nextEpoch: async () => 6 },
    prefix,
    intervalMs: 5,
    log: pino({ enabled: false }),
    loops: createLoops(systemClock),
  });
  held.defer(() => epoch.stop());
  void epoch.known.then(() => (isKnown = true));
  await expect.poll(() => refused).toBeGreaterThanOrEqual(1);
  expect(isKnown && refused < 4).toBe(false);
  await epoch.known;
  expect(refused).toBeGreaterThan(3);
});
