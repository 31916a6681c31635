import { expect, test } from "vitest";
import { endOf, type Wave } from "../../../src/hunt/schedule.ts";

const HOUR = 3_600_000;
/** Open in the first hour of each day only. */
const opensInMs = (at: number): number => (at % (24 * HOUR) < HOUR ? 0 : 24 * HOUR - (at % (24 * HOUR)));
const wave = (fields: Partial<Wave>): Wave => ({ sender: "a", perSecond: 1, count: 60, opensInMs, ...fields });

test.each([
  ["one sender's waves → one after another", 0, [wave({}), wave({})], 120_000],
  ["two senders' → at the same time", 0, [wave({}), wave({ sender: "b", count: 90 })], 90_000],
  ["more than the hours hold → the rest the next day", 0, [wave({ count: 3660 })], 24 * HOUR + 60_000],
  ["before the hours → from their beginning", 23 * HOUR, [wave({})], 24 * HOUR + 60_000],
  ["nothing → now", 5, [], 5],
  ["never → nobody can tell", 0, [wave({ opensInMs: () => undefined })], undefined],
  ["longer than is looked ahead → nobody can tell", 0, [wave({ count: 1e9 })], undefined],
])("%s", (_name, now, waves, end) => expect(endOf(now, waves)).toBe(end));
