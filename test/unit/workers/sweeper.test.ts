import { pino } from "pino";
import { expect, test } from "vitest";
import type { Queues } from "../../../src/queues/index.ts";
import type { Store } from "../../../src/store/store.ts";
import { createLoops } from "../../../src/workers/loops.ts";
import { startSweeper } from "../../../src/workers/sweeper.ts";
import { handClock } from "../routes/made-up-app.ts";

/** In which rounds it tidies, the first being 1, of at least `rounds`; nothing else is to be done in any. */
async function roundsThatTidy(rounds: number, tidies: { tidy?(): Promise<void>; tally?(): number }): Promise<number[]> {
  const clock = handClock();
  const tidied: number[] = [];
  let round = 0;
  const store = {
    async openSubmissions() {
      round += 1;
      return [];
    },
    openMessages: async () => [],
    flows: { continueCancelling: async () => 0, continueFallbacks: async () => 0 },
    compliance: { resumeErasures: async () => [] },
    recurrences: { active: async () => [] },
    hunts: { keepTallies: async () => tidies.tally?.() ?? 0 },
    async tidy() {
      tidied.push(round);
      await tidies.tidy?.();
    },
  } as unknown as Store;
  const queues = { recurrences: { scheduled: async () => new Map() } } as unknown as Queues;
  const log = pino({ enabled: false });
  const sweeper = startSweeper({ store, queues, clock, log, intervalMs: 1, loops: createLoops(clock) });
  await expect.poll(() => round, { interval: 1 }).toBeGreaterThan(rounds);
  await sweeper.stop();
  return tidied.filter((each) => each <= rounds);
}

test("what is old is forgotten in the first round and in every fourth after it", async () => {
  expect(await roundsThatTidy(9, {})).toEqual([1, 5, 9]);
});

test("tidying that fails, or hunts that are not all counted → again with the next round", async () => {
  let fails = 2;
  const tidy = async (): Promise<void> => {
    if (fails-- > 0) throw new Error("gone");
  };
  expect(await roundsThatTidy(7, { tidy })).toEqual([1, 2, 3, 7]);
  const counted = [200, 200, 12];
  expect(await roundsThatTidy(7, { tally: () => counted.shift() ?? 0 })).toEqual([1, 2, 3, 7]);
});
