import { expect, test } from "vitest";
import { utc, withUtc } from "../../../src/store/times.ts";

test("a time of Postgres → in UTC to the millisecond; what is none stays", () => {
  expect(utc("2026-11-22T13:00:17.652281+00:00")).toBe("2026-11-22T13:00:17.652Z");
  expect(utc("2026-11-22T14:00:17+01:00")).toBe("2026-11-22T13:00:17.000Z");
  expect(utc("infinity")).toBe("infinity");
  const row = { at: "2026-11-22 13:00:00+00", pausedAt: null, text: "2026-11-22 13:00:00+00" };
  expect(withUtc(row, ["at", "pausedAt"])).toEqual({ ...row, at: "2026-11-22T13:00:00.000Z" });
});
