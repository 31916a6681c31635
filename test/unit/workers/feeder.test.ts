import { pino } from "pino";
import { expect, test } from "vitest";
import { systemClock as clock } from "../../../src/core/clock.ts";
import type { Queues } from "../../../src/queues/index.ts";
import { startFeeder } from "../../../src/workers/feeder.ts";
import { createLoops } from "../../../src/workers/loops.ts";

const LEAST_MS = 25;
/** A timer may fire so much too early. */
const EARLY_MS = 1;

test("a queue that is about to have room → is not asked again before anything can have been taken", async () => {
  const looks: number[] = [];
  const enough = Promise.withResolvers<void>();
  const queues = {
    waitingMessages: async (_: string, wanted: number) => {
      if (looks.push(clock.monotonic()) === 8) enough.resolve();
      return wanted / 2 + 1;
    },
    bundles: { known: async () => new Set() },
    addBundles: async () => {},
    addMessages: async () => {},
  } as unknown as Queues;
  const feeder = startFeeder({
    store: { flows: { feed: async () => [] } as never, recordOutcome: async () => true },
    queues,
    names: ["sms"],
    concurrencyOf: () => 20,
    sendersOf: () => undefined,
    window: 1000,
    // Ten thousand a second: one more than there should be is gone in no time.
    taken: () => clock.monotonic() * 10,
    held: () => 0,
    clock,
    log: pino({ enabled: false }),
    loops: createLoops(clock),
  });
  await enough.promise;
  await feeder.stop();
  const gaps = looks.slice(1).map((at, i) => at - (looks[i] ?? 0));
  expect(Math.min(...gaps)).toBeGreaterThanOrEqual(LEAST_MS - EARLY_MS);
});
