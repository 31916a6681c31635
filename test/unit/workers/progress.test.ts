import { EventEmitter } from "node:events";
import type { Worker } from "bullmq";
import { expect, test } from "vitest";
import { watchProgress } from "../../../src/workers/progress.ts";
import { handClock } from "../routes/made-up-app.ts";

function watched() {
  const clock = handClock();
  const worker = Object.assign(new EventEmitter(), { name: "sms" });
  return { clock, worker, progress: watchProgress(worker as unknown as Worker, clock) };
}

test("jobs wait and nothing moves → stuck since the last move", () => {
  const { clock, progress } = watched();
  clock.ms += 30_000;
  expect(progress.stuckForMs(5)).toBe(30_000);
});

test.each(["active", "completed", "failed", "drained"])("%s → has moved", (event) => {
  const { clock, worker, progress } = watched();
  clock.ms += 30_000;
  worker.emit(event);
  clock.ms += 10;
  expect(progress.stuckForMs(5)).toBe(10);
});

test("an idle hour, then a job → is not stuck because of the hour", () => {
  const { clock, progress } = watched();
  clock.ms += 3_600_000;
  expect(progress.stuckForMs(0)).toBeUndefined();
  clock.ms += 50;
  expect(progress.stuckForMs(1)).toBe(50);
});
