import { expect, test } from "vitest";
import { variantOf } from "../../../src/hunt/wording.ts";

test("a contact's variant → is the same each time, another in another hunt, and by weight on average", () => {
  const variants = [
    { name: "A", weight: 3, texts: {} },
    { name: "B", weight: 1, texts: {} },
  ];
  const of = (hunt: string): (string | undefined)[] =>
    Array.from({ length: 4000 }, (_, i) => variantOf(hunt, `ad ${i}`, variants)?.name);
  expect(of("hunt")).toEqual(of("hunt"));
  expect(of("hunt")).not.toEqual(of("other"));
  const share = of("hunt").filter((name) => name === "A").length / 4000;
  expect(share).toBeGreaterThan(0.72);
  expect(share).toBeLessThan(0.78);
});
