import { expect, test } from "vitest";
import { UnavailableError } from "../../../src/core/errors.ts";
import { gathered } from "../../../src/queues/gathering.ts";

/** Adds numbers, and keeps what each call was given. */
function adding(fault: (items: readonly number[]) => Error | undefined = () => undefined) {
  const calls: (readonly number[])[] = [];
  const add = gathered<number>(async (items) => {
    calls.push(items);
    const error = fault(items);
    if (error) throw error;
  });
  return { calls, add };
}

test("what comes in one turn of the event loop → one call; what comes later → another, which does not wait for it", async () => {
  const stuck = Promise.withResolvers<void>();
  const calls: (readonly number[])[] = [];
  const add = gathered<number>((items) => {
    calls.push(items);
    return items.includes(1) ? stuck.promise : Promise.resolve();
  });
  const first = Promise.all([add(1), add(2)]);
  await new Promise((resolve) => setImmediate(resolve));
  await add(3);
  expect(calls).toEqual([[1, 2], [3]]);
  stuck.resolve();
  await first;
});

test("one that is refused → fails alone, the others are added", async () => {
  const { calls, add } = adding((items) => (items.includes(3) ? new Error("poisoned") : undefined));
  const answers = await Promise.allSettled([1, 2, 3, 4].map(add));
  expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
  expect(calls).toContainEqual([4]);
});

test("Redis is away → everybody is told, after one try", async () => {
  const { calls, add } = adding(() => new UnavailableError("redis", "away"));
  const answers = await Promise.allSettled([1, 2, 3].map(add));
  expect(answers).toMatchObject([1, 2, 3].map(() => ({ status: "rejected", reason: { dependency: "redis" } })));
  expect(calls).toHaveLength(1);
});
