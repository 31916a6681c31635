import { expect, test } from "vitest";
import { syntaxFault } from "../../../src/routes/json-syntax.ts";

const VALID = '{"a":[1,-2.5e3,true,null,{"b":"c\\"\\u00e9\\n","d":{}}],"e":[],"f":"","g":[[],[{}]]}';

test("of every valid text cut short it says that it ends too early or where a text is open", () => {
  for (let length = 1; length < VALID.length; length++) {
    expect(syntaxFault(VALID.slice(0, length))).toMatch(/ends too early|is not closed|breaks at/);
  }
});

test("a fault put anywhere into a valid text is found at or just before that place", () => {
  for (let at = 0; at < VALID.length; at++) {
    const broken = `${VALID.slice(0, at)}\u0001${VALID.slice(at)}`;
    expect(() => JSON.parse(broken) as unknown).toThrow(SyntaxError);
    const position = Number(/position (\d+)/.exec(syntaxFault(broken))?.[1] ?? broken.length);
    expect(position).toBeLessThanOrEqual(at);
    const textStart = broken.lastIndexOf('"', at);
    expect(position).toBeGreaterThanOrEqual(Math.min(at, textStart < 0 ? at : textStart, at) - 12);
  }
});

test("a text of a megabyte and brackets a million deep do not overflow the stack", () => {
  expect(syntaxFault(`["${"x".repeat(1_000_000)}\\n${"y".repeat(1_000_000)}" 1]`)).toContain("position 2000006");
  expect(syntaxFault("[".repeat(1_000_000))).toContain("ends too early");
});
