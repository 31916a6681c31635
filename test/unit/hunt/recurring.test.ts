import { expect, test } from "vitest";
import { isRun, nextRun } from "../../../src/hunt/recurring.ts";

/** All runs of some days, as the zone's clock shows the date and Greenwich's the time. */
function runs(pattern: string, timeZone: string, from: string, hours: number): string[] {
  const found: string[] = [];
  const end = Date.parse(from) + hours * 3_600_000;
  for (let at = Date.parse(from); ;) {
    const next = nextRun({ pattern, timeZone }, at);
    if (next === undefined || next > end) return found;
    // Else its job would be refused.
    expect(isRun({ pattern, timeZone }, next)).toBe(true);
    found.push(new Date(next).toISOString().slice(5, 16));
    at = next;
  }
}

test.each([
  ["leapt over → at the leap", "30 2 * * *", "Europe/Paris", "03-28", ["03-28T01:30", "03-29T01:00", "03-30T00:30"]],
  ["twice leapt over → once", "0,30 2 * * *", "Europe/Paris", "03-29", ["03-29T01:00", "03-30T00:00", "03-30T00:30"]],
  [
    "leapt over, and the time of the leap → once",
    "0 2,3 * * *",
    "Europe/Paris",
    "03-29",
    ["03-29T01:00", "03-30T00:00", "03-30T01:00"],
  ],
  [
    "midnight leapt over → at the leap",
    "0 0 * * *",
    "America/Havana",
    "03-07",
    ["03-07T05:00", "03-08T05:00", "03-09T04:00"],
  ],
  [
    "half an hour leapt over → at the leap",
    "10 2 * * *",
    "Australia/Lord_Howe",
    "10-03",
    ["10-03T15:30", "10-04T15:10"],
  ],
  ["comes twice → the first", "30 2 * * *", "Europe/Paris", "10-24", ["10-24T00:30", "10-25T00:30", "10-26T01:30"]],
  ["only on that day → then", "30 2 29 3 *", "Europe/Paris", "03-28", ["03-29T01:00"]],
])("a time that is %s", (_name, pattern, zone, from, times) => {
  expect(runs(pattern, zone, `2026-${from}T00:00:00Z`, 60).slice(0, 3)).toEqual(times);
});

test("every hour → in each hour that there is, on the nights on which clocks are changed too", () => {
  expect(runs("15 * * * *", "Europe/Paris", "2026-10-24T22:00:00Z", 25)).toHaveLength(25);
  expect(runs("15 * * * *", "Europe/Paris", "2026-03-28T23:00:00Z", 23)).toHaveLength(23);
  expect(runs("0 * * * *", "Europe/Paris", "2026-03-28T22:59:00Z", 23)).toHaveLength(23);
});

test("a pattern that is none, or a day that never comes → throws", () => {
  for (const pattern of ["99 * * * *", "0 0 30 2 *"]) {
    expect(() => nextRun({ pattern, timeZone: "UTC" }, 0)).toThrow(/\w/);
  }
});
