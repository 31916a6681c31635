import { describe, expect, test } from "vitest";
import { maskPhone, parsePhone, senderOf } from "../../../src/core/phone.ts";

describe("parsePhone", () => {
  test.each([
    ["06 12 34 56 78", "+33612345678"],
    ["06.12.34.56.78", "+33612345678"],
    ["06-12-34-56-78", "+33612345678"],
    ["  0612345678\n", "+33612345678"],
    ["0033 6 12 34 56 78", "+33612345678"],
    ["+33 6 12 34 56 78", "+33612345678"],
    ["+33 (0)6 12 34 56 78", "+33612345678"],
    ["0044 20 7123 4567", "+442071234567"],
    ["+1 (415) 555-0001", "+14155550001"],
    ["+262 692 12 34 56", "+262692123456"],
  ])("%j, with France as default, is %s", (raw, e164) => {
    expect(parsePhone(raw, "FR")).toMatchObject({ ok: true, e164 });
  });

  test.each([
    "+33600000001",
    "+33600000002",
    "+33600000003",
    "+33600000004",
    "+33600000005",
    "+33600000006",
    "+33612340001",
  ])("the sandbox's number %s is accepted", (e164) => {
    expect(parsePhone(e164, "FR")).toEqual({ ok: true, e164, country: "FR" });
  });

  test("the same national number belongs to the country that the account is in", () => {
    expect(parsePhone("4155550001", "US")).toEqual({ ok: true, e164: "+14155550001", country: "US" });
    expect(parsePhone("4155550001", "FR")).toMatchObject({ ok: false });
  });

  test("00 dials abroad even from a country whose own prefix is another", () => {
    expect(parsePhone("0033612345678", "US")).toMatchObject({ ok: true, e164: "+33612345678" });
  });

  test.each([
    ["nothing", ""],
    ["blanks", "   "],
    ["letters", "call me"],
    ["a number after words", "call 0612345678"],
    ["a number before words", "0612345678 before 8"],
    ["a vanity number", "1-800-FLOWERS"],
    ["a digit too many", "+336123456789"],
    ["a digit too few", "+3361234567"],
    ["a short code", "3949"],
    ["an emergency number", "112"],
    ["a length that fits and digits that no network dials", "+33012345678"],
    ["an area code that cannot be", "+11555550001"],
    ["a calling code that nobody has", "+999612345678"],
    ["an extension", "0612345678 ext. 3"],
    ["a number of no country", "+80012345678"],
    ["two numbers", "0612345678 / 0698765432"],
    ["endless digits", "9".repeat(10_000)],
  ])("%s is refused, with a reason in words", (_, raw) => {
    expect(parsePhone(raw, "FR")).toEqual({
      ok: false,
      reason: "invalid_number",
      detail: expect.stringMatching(/\w+ \w+/),
    });
  });
});

describe("maskPhone", () => {
  test.each([
    ["+33612345678", "+33*******78"],
    ["+14155550001", "+1********01"],
    ["+442071234567", "+44********67"],
    ["+262692123456", "+262*******56"],
    ["+35312345678", "+353******78"],
  ])("%s is shown as %s", (e164, masked) => {
    expect(maskPhone(e164)).toBe(masked);
  });
});

test.each([
  ["+33698765432", "FR", "+33698765432"],
  ["+33 6 98 76 54 32", "FR", "+33698765432"],
  [" 06 98 76 54 32", "FR", "+33698765432"],
  ["0698765432", "FR", "+33698765432"],
  ["0033 698765432", "BE", "+33698765432"],
  ["0470 12 34 56", "BE", "+32470123456"],
  ["447911123456", "FR", "+447911123456"],
  ["4155550001", "FR", "4155550001"],
  ["36111", "FR", "36111"],
  ["81148", "DE", "81148"],
  ["MaBoite 06", "FR", "MaBoite 06"],
  ["+1 (500) 555-0006", "FR", "+15005550006"],
  ["*", "FR", "*"],
] as const)("the sender %j of an account in %s is %s", (raw, country, sender) =>
  expect(senderOf(raw, country)).toBe(sender),
);
