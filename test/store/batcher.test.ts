import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { UnavailableError } from "../../src/core/errors.ts";
import { Batcher, type BatcherOptions } from "../../src/store/batcher.ts";

/** The fake timers do not reach the promises of node:timers, which the batcher waits with. */
vi.mock("node:timers/promises", () => ({
  setTimeout: (ms: number, value: unknown, { signal }: { signal: AbortSignal }) =>
    new Promise((resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
      setTimeout(() => resolve(value), ms);
    }),
}));

const away = () => new UnavailableError("database", "away");

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A batcher of numbers that answers each doubled, and what it was asked to write. */
function batcher(options: Partial<BatcherOptions<number, number>> = {}) {
  const batches: number[][] = [];
  const flush = async (items: number[]): Promise<number[]> => {
    batches.push(items);
    return options.flush ? options.flush(items) : items.map((item) => item * 2);
  };
  const settings = { maxSize: 4, maxConcurrent: 2, maxWaitMs: 5, waitForDatabase: true, ...options, flush };
  return { batches, subject: new Batcher<number, number>(settings) };
}

describe("group commit", () => {
  test("items that come together → are one batch, each with its own answer", async () => {
    const { batches, subject } = batcher();
    const answers = Promise.all([1, 2, 3].map((item) => subject.add(item)));
    expect(batches).toEqual([]);
    await vi.advanceTimersByTimeAsync(5);
    expect(await answers).toEqual([2, 4, 6]);
    expect(batches).toEqual([[1, 2, 3]]);
  });

  test("a full batch → does not wait", async () => {
    const { batches, subject } = batcher();
    expect(await Promise.all([1, 2, 3, 4].map((item) => subject.add(item)))).toEqual([2, 4, 6, 8]);
    expect(batches).toEqual([[1, 2, 3, 4]]);
  });

  test("a lone item → is written after maxWaitMs, not before", async () => {
    const { batches, subject } = batcher();
    const answer = subject.add(1);
    await vi.advanceTimersByTimeAsync(4);
    expect(batches).toEqual([]);
    await vi.advanceTimersByTimeAsync(1);
    expect(await answer).toBe(2);
  });

  test("maxWaitMs 0 → a batch is what comes in the same turn of the event loop", async () => {
    const { batches, subject } = batcher({ maxWaitMs: 0 });
    const answers = Promise.all([subject.add(1), Promise.resolve().then(() => subject.add(2))]);
    await vi.advanceTimersByTimeAsync(0);
    const third = subject.add(3);
    await vi.advanceTimersByTimeAsync(0);
    expect([...(await answers), await third]).toEqual([2, 4, 6]);
    expect(batches).toEqual([[1, 2], [3]]);
  });

  test("more than two batches' worth → no batch is too big, no more than maxConcurrent run at once", async () => {
    let running = 0;
    let most = 0;
    const { batches, subject } = batcher({
      async flush(items) {
        most = Math.max(most, ++running);
        await Promise.resolve();
        running -= 1;
        return items;
      },
    });
    const items = Array.from({ length: 18 }, (_, i) => i);
    const answers = Promise.all(items.map((item) => subject.add(item)));
    await vi.advanceTimersByTimeAsync(5);
    expect(await answers).toEqual(items);
    expect(batches.flat()).toEqual(items);
    expect(Math.max(...batches.map(({ length }) => length))).toBe(4);
    expect(most).toBe(2);
  });

  test("items that come while the batches run → go with the next one", async () => {
    const first = Promise.withResolvers<void>();
    const { batches, subject } = batcher({
      maxConcurrent: 1,
      async flush(items) {
        if (items[0] === 1) await first.promise;
        return items;
      },
    });
    const answers = [1, 2, 3, 4, 5, 6].map((item) => subject.add(item));
    await vi.advanceTimersByTimeAsync(50);
    expect(batches).toEqual([[1, 2, 3, 4]]);
    first.resolve();
    await Promise.all(answers);
    expect(batches).toEqual([
      [1, 2, 3, 4],
      [5, 6],
    ]);
  });
});

describe("a refusal of the database", () => {
  test("one bad item among four → it fails alone, the others are written", async () => {
    const { subject } = batcher({
      async flush(items) {
        if (items.includes(3)) throw new Error("3 is refused");
        return items;
      },
    });
    const answers = await Promise.allSettled([1, 2, 3, 4].map((item) => subject.add(item)));
    expect(answers.map(({ status }) => status)).toEqual(["fulfilled", "fulfilled", "rejected", "fulfilled"]);
    expect((answers[2] as PromiseRejectedResult).reason).toMatchObject({ message: "3 is refused" });
  });

  test("nothing but bad items → each fails with its own reason, and the next one is written", async () => {
    const { subject } = batcher({
      async flush(items) {
        if (items.some((item) => item < 0)) throw new Error(String(items));
        return items;
      },
    });
    const answers = await Promise.allSettled([-1, -2, -3, -4].map((item) => subject.add(item)));
    expect(answers.map((answer) => (answer as PromiseRejectedResult).reason.message)).toEqual(["-1", "-2", "-3", "-4"]);
    const next = subject.add(5);
    await vi.advanceTimersByTimeAsync(5);
    expect(await next).toBe(5);
  });
});

describe("a database that is away", () => {
  test("waitForDatabase → the batch waits, at most a second between tries, and is written when it is back", async () => {
    let isAway = true;
    const tries: number[] = [];
    const onRetry = vi.fn<(error: unknown, items: number) => void>();
    const { subject } = batcher({
      onRetry,
      async flush(items) {
        tries.push(Date.now());
        if (isAway) throw away();
        return items;
      },
    });
    const answer = subject.add(1);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(tries.length).toBeGreaterThan(8);
    const waits = tries.slice(1).map((at, i) => at - (tries[i] as number));
    expect(waits[0]).toBe(50);
    expect(Math.max(...waits)).toBe(1000);
    expect(onRetry).toHaveBeenCalledWith(expect.any(UnavailableError), 1);
    isAway = false;
    await vi.advanceTimersByTimeAsync(1000);
    expect(await answer).toBe(1);
  });

  test("waitForDatabase: false → every item is rejected at once", async () => {
    const { batches, subject } = batcher({ waitForDatabase: false, flush: () => Promise.reject(away()) });
    const answers = await Promise.allSettled([1, 2, 3, 4].map((item) => subject.add(item)));
    expect(answers.map(({ status }) => status)).toEqual(Array(4).fill("rejected"));
    expect(batches).toHaveLength(1);
  });

  test("it goes away in the middle of taking a batch apart → only the bad item fails, the others wait", async () => {
    let calls = 0;
    const { subject } = batcher({
      async flush(items) {
        calls += 1;
        if (calls > 1 && calls < 6) throw away();
        if (items.includes(1)) throw new Error("1 is refused");
        return items;
      },
    });
    const answers = Promise.allSettled([1, 2, 3, 4].map((item) => subject.add(item)));
    await vi.advanceTimersByTimeAsync(5000);
    expect((await answers).map(({ status }) => status)).toEqual(["rejected", "fulfilled", "fulfilled", "fulfilled"]);
  });
});

describe("drained and close", () => {
  test("nothing to do → is drained at once", async () => {
    await expect(batcher().subject.drained()).resolves.toBeUndefined();
  });

  test("drained → waits for what waits and for what is being written", async () => {
    const writing = Promise.withResolvers<number[]>();
    const { subject } = batcher({ flush: () => writing.promise });
    const answer = subject.add(1);
    let isDrained = false;
    const drained = subject.drained().then(() => (isDrained = true));
    await vi.advanceTimersByTimeAsync(1000);
    expect(isDrained).toBe(false);
    writing.resolve([7]);
    await drained;
    expect(await answer).toBe(7);
  });

  test("close → rejects what waits and what comes after, and nothing more is written", async () => {
    const { batches, subject } = batcher();
    const waiting = subject.add(1);
    subject.close();
    await expect(waiting).rejects.toBeInstanceOf(UnavailableError);
    await expect(subject.add(2)).rejects.toBeInstanceOf(UnavailableError);
    await vi.advanceTimersByTimeAsync(1000);
    expect(batches).toEqual([]);
    await expect(subject.drained()).resolves.toBeUndefined();
  });

  test("close while a batch waits for the database → it is rejected, not tried again", async () => {
    const { batches, subject } = batcher({ flush: () => Promise.reject(away()) });
    const answer = Promise.allSettled([subject.add(1)]);
    await vi.advanceTimersByTimeAsync(200);
    const before = batches.length;
    subject.close();
    expect(await answer).toEqual([{ status: "rejected", reason: expect.any(UnavailableError) }]);
    await vi.advanceTimersByTimeAsync(5000);
    expect(batches.length).toBeLessThanOrEqual(before + 1);
    await expect(subject.drained()).resolves.toBeUndefined();
  });
});
