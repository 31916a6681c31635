import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { sparingly } from "../../../src/workers/sparing.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

test("what is asked for often is done at once, and then once for all that were asked in the time", () => {
  const run = vi.fn<() => void>();
  const ask = sparingly(100, run);
  ask();
  expect(run).toHaveBeenCalledTimes(1);
  ask();
  ask();
  vi.advanceTimersByTime(99);
  expect(run).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(1);
  expect(run).toHaveBeenCalledTimes(2);

  // Whoever asks in the time after that waits, too; with nobody asking nothing is done.
  ask();
  expect(run).toHaveBeenCalledTimes(2);
  vi.advanceTimersByTime(100);
  expect(run).toHaveBeenCalledTimes(3);
  vi.advanceTimersByTime(1000);
  expect(run).toHaveBeenCalledTimes(3);
  ask();
  expect(run).toHaveBeenCalledTimes(4);
});
