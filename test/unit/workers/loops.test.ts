import { expect, test } from "vitest";
import { createLoops, watchLoops } from "../../../src/workers/loops.ts";
import { handClock } from "../routes/made-up-app.ts";

const fail = (): Promise<never> => Promise.reject(new Error("gone"));
const never = (): Promise<never> => new Promise(() => {});

function watched(everyMs?: number) {
  const clock = handClock();
  const loops = createLoops(clock);
  const loop = loops.watch("sweeper", everyMs);
  return { clock, loops, loop, stuckMs: () => loops.pulses().map(({ stuckMs }) => stuckMs) };
}

test("a step that fails each time → stuck since its first try, whatever other steps do; well once it has succeeded", async () => {
  const { clock, loop, stuckMs } = watched();
  await expect(loop.step("messages", fail)).rejects.toThrow("gone");
  clock.ms += 30_000;
  await expect(loop.step("messages", fail)).rejects.toThrow("gone");
  expect(await loop.step("tidy", async () => "done")).toBe("done");
  clock.ms += 10;
  expect(stuckMs()).toEqual([30_010]);
  await loop.step("messages", async () => undefined);
  expect(stuckMs()).toEqual([undefined]);
});

test("a step that hangs → stuck since it last moved; one that waits for its next round is not", async () => {
  const { clock, loop, stuckMs } = watched();
  await loop.step("messages", async () => undefined);
  clock.ms += 3_600_000;
  expect(stuckMs()).toEqual([undefined]);
  void loop.step("messages", (moved) => {
    clock.ms += 60_000;
    moved();
    return never();
  });
  clock.ms += 20;
  expect(stuckMs()).toEqual([20]);
});

test("one that comes seldom → is given the time until its next round", async () => {
  const { clock, loop, stuckMs } = watched(60_000);
  await expect(loop.step("messages", fail)).rejects.toThrow("gone");
  clock.ms += 60_000;
  expect(stuckMs()).toEqual([undefined]);
  clock.ms += 1;
  expect(stuckMs()).toEqual([1]);
});

test("the database does not answer → that is told, and no loop for what it has failed at meanwhile", async () => {
  const { clock, loops, loop } = watched();
  let ping: () => Promise<unknown> = fail;
  const stuck = watchLoops(loops, { database: () => ping(), redis: async () => undefined }, clock);
  await expect(loop.step("messages", fail)).rejects.toThrow("gone");
  clock.ms += 1000;
  expect(await stuck()).toEqual([{ loop: "database", seconds: 0 }]);
  clock.ms += 5000;
  expect(await stuck()).toEqual([{ loop: "database", seconds: 5 }]);
  ping = async () => undefined;
  clock.ms += 10;
  expect(await stuck()).toEqual([{ loop: "sweeper", seconds: 0.01 }]);
});

test("a loop that had not got on before the database went away → is neither well nor worse meanwhile, whoever looks", async () => {
  const { clock, loops, loop } = watched();
  let ping: () => Promise<unknown> = async () => undefined;
  const stuck = watchLoops(loops, { database: () => ping(), redis: async () => undefined }, clock);
  await expect(loop.step("messages", fail)).rejects.toThrow("gone");
  clock.ms += 120_000;
  expect(await stuck()).toEqual([{ loop: "sweeper", seconds: 120 }]);
  ping = fail;
  for (const away of [0, 15, 30]) {
    clock.ms += 14_000;
    loops.excuse();
    clock.ms += 1000;
    expect(await stuck()).toEqual([
      { loop: "database", seconds: away },
      { loop: "sweeper", seconds: 120 },
    ]);
  }
  ping = async () => undefined;
  clock.ms += 15_000;
  expect(await stuck()).toEqual([{ loop: "sweeper", seconds: 135 }]);
  await loop.step("messages", async () => undefined);
  expect(await stuck()).toEqual([]);
});
