import { expect, test } from "vitest";
import { vendorWords } from "../../../src/core/vendor-words.ts";

test.each([
  ["The 'To' number +33 6 12 34 56 78 is not valid", "The 'To' number …78 is not valid"],
  ["https://user:pass@example.com/x\n<html>", "https://…@example.com/x <html>"],
  ["half a pair \ud83d and NUL \0.", "half a pair \ufffd and NUL  ."],
  ["x".repeat(600), "x".repeat(500)],
  [`${"x".repeat(499)}🛑`, "x".repeat(499)],
])("what a vendor says, %#: without numbers and credentials, short, and such as can be stored", (text, words) => {
  expect(vendorWords(text)).toBe(words);
});
