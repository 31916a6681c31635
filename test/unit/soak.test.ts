import { expect, test } from "vitest";
import { notFlat, trendsOf } from "../../bench/soak/samples.ts";

/** Ten minutes of samples that rise by so much in all. */
const rising = (name: string, from: number, by: number) =>
  trendsOf(Array.from({ length: 11 }, (_, i) => ({ minutes: i, values: { [name]: from + (by * i) / 10 } })));

test.each([
  ["live heap, MB", 60, 9, ["live heap, MB has risen by 9.0"]],
  ["live heap, MB", 60, 7, []],
  ["live heap, MB", 200, 19, []],
  ["live heap, MB", 60, -20, []],
  ["handles", 26, 11, ["handles has risen by 11.0"]],
  ["latency of /ready, ms", 2, 100, []],
])("%s from %d by %d → %o", (name, from, by, faults) => {
  expect(notFlat(rising(name, from, by), 10)).toEqual(faults);
});
