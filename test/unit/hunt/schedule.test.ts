import { expect, test } from "vitest";
import { endOf, type DayBudget, type Wave } from "../../../src/hunt/schedule.ts";

const HOUR = 3_600_000;
/** Open in the first hour of each day only. */
const opensInMs = (at: number): number => (at % (24 * HOUR) < HOUR ? 0 : 24 * HOUR - (at % (24 * HOUR)));
const budget = (perDay: number, used = 0): DayBudget => ({
  perDay,
  timeZone: "UTC",
  used: new Map([["1970-01-01", used]]),
});
const shared = budget(90);
const wave = (fields: Partial<Wave>): Wave => ({ sender: "a", perSecond: 1, count: 60, opensInMs, ...fields });

test.each([
  ["one sender's waves → one after another", 0, [wave({}), wave({})], 120_000],
  ["two senders' → at the same time", 0, [wave({}), wave({ sender: "b", count: 90 })], 90_000],
  ["more than the hours hold → the rest the next day", 0, [wave({ count: 3660 })], 24 * HOUR + 60_000],
  ["before the hours → from their beginning", 23 * HOUR, [wave({})], 24 * HOUR + 60_000],
  ["nothing → now", 5, [], 5],
  ["never → nobody can tell", 0, [wave({ opensInMs: () => undefined })], undefined],
  ["more than a day's limit → the rest in the next days' hours", 0, [wave({ days: [budget(25)] })], 48 * HOUR + 10_000],
  ["what the day has used counts", 0, [wave({ days: [budget(60, 1)] })], 24 * HOUR + 1000],
  [
    "a limit that two senders share → counts both",
    0,
    [wave({ days: [shared] }), wave({ sender: "b", days: [shared] })],
    24 * HOUR + 30_000,
  ],
  ["two limits → the smaller", 0, [wave({ days: [budget(50), budget(30)] })], 24 * HOUR + 30_000],
  ["of no known pace → as soon as the days allow", 0, [wave({ perSecond: Infinity, days: [budget(20)] })], 48 * HOUR],
  ["longer than is looked ahead → nobody can tell", 0, [wave({ count: 1e9 })], undefined],
])("%s", (_name, now, waves, end) => expect(endOf(now, Infinity, waves)).toBe(end));

test("not before the hunt's end → its end", () => expect(endOf(0, HOUR / 2, [wave({ count: 3000 })])).toBe(HOUR / 2));
