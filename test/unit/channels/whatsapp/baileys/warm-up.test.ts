import { expect, test } from "vitest";
import { capOfDay, startOfDay } from "../../../../../src/channels/whatsapp/providers/baileys/warm-up.ts";

const curve = (newContactsPerDay: number | null, warmUpDays: number, days = warmUpDays + 3): number[] =>
  Array.from({ length: days }, (_, day) => capOfDay(day, { newContactsPerDay, warmUpDays }));

test("40 a day in 14 days → the curve that is documented", () => {
  expect(curve(40, 14, 15)).toEqual([8, 8, 10, 11, 12, 14, 15, 17, 20, 22, 25, 28, 31, 35, 40]);
});

test.each([0, 1, 3, 5, 6, 20, 50, 51, 200, 10_000])(
  "a cap of %i → grows to it, never falls, never passes it",
  (cap) => {
    for (const days of [1, 2, 7, 14, 30, 90]) {
      const values = curve(cap, days);
      expect(values).toEqual(values.toSorted((a, b) => a - b));
      expect(values[days]).toBe(cap);
      expect(Math.max(...values)).toBe(cap);
      expect(values[0]).toBeLessThanOrEqual(10);
      expect(values[0]).toBe(Math.min(cap, Math.max(5, Math.min(10, Math.floor(cap / 5)))));
    }
  },
);

test("no warm-up → the cap at once; no cap → no limit", () => {
  expect(curve(40, 0, 3)).toEqual([40, 40, 40]);
  expect(curve(null, 14, 2)).toEqual([Infinity, Infinity]);
});

test("a clock that is behind the pairing → the first day", () => {
  expect(capOfDay(-1, { newContactsPerDay: 40, warmUpDays: 14 })).toBe(8);
});

test("a day → begins at midnight in UTC", () => {
  const midnight = Date.parse("2026-11-22T00:00:00Z");
  expect(startOfDay(midnight)).toBe(midnight);
  expect(startOfDay(midnight + 86_399_999)).toBe(midnight);
  expect(startOfDay(midnight - 1)).toBe(midnight - 86_400_000);
});
