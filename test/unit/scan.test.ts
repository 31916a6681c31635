import { describe, expect, test } from "vitest";
import { createLogger } from "../../src/core/logger.ts";
import { vendorWords } from "../../src/core/vendor-words.ts";
import type { Private } from "../helpers/output.ts";
import { createScanner } from "../helpers/scan.ts";

const SECRET = 'planted "secret"/+ü';
const TEXT = "Bonjour Madame,\nvotre maison « bleue » ?";
const NUMBER = "+33612345678";
const PRIVATE: Private[] = [
  { kind: "secret", value: SECRET },
  { kind: "text", value: TEXT },
  { kind: "number", value: NUMBER },
  { kind: "number", value: "+14155550123" },
  { kind: "text", value: "ok" },
];

const scan = createScanner(PRIVATE);
const lineOf = (fields: object): string => JSON.stringify({ level: "info", msg: "request", ...fields });
const base64 = (text: string): string => Buffer.from(text).toString("base64");

const PLACES: readonly [string, (value: string) => string][] = [
  ["in words that are no JSON", (value) => `Error: no route for ${value} here`],
  ["in a field", (value) => lineOf({ detail: value })],
  ["in the middle of a field", (value) => lineOf({ err: { stack: `Error: ${value}\n    at send (a.ts:1:2)` } })],
  ["in a field's name", (value) => lineOf({ [value]: 1 })],
  ["in JSON in a field", (value) => lineOf({ data: JSON.stringify({ inner: [{ value }] }) })],
  ["in JSON in JSON in a field", (value) => lineOf({ data: JSON.stringify({ inner: JSON.stringify({ value }) }) })],
  ["in JSON that breaks off", (value) => lineOf({ data: `{"inner": ${JSON.stringify(value)}, "nex` })],
  ["in a line of JSON that breaks off", (value) => lineOf({ detail: value }).slice(0, -1)],
  ["in the path of a URL", (value) => lineOf({ url: `/api/hunt/${encodeURIComponent(value)}/messages` })],
  ["in a form", (value) => lineOf({ form: String(new URLSearchParams({ To: "x", Body: value })) })],
  [
    "in a URL in a URL",
    (value) => lineOf({ url: `/go?to=${encodeURIComponent(`/a?b=${encodeURIComponent(value)}`)}` }),
  ],
  ["in Base64", (value) => lineOf({ token: base64(value) })],
  ["as the password of Basic authentication", (value) => lineOf({ header: base64(`AC0123:${value}`) })],
];

describe("what is private", () => {
  test.each(PLACES)("a secret %s → is found", (_, place) => {
    expect(scan(place(SECRET))).toContain("a secret of the tests");
  });

  test.each(PLACES)("a message's text %s → is found", (_, place) => {
    expect(scan(place(TEXT))).toContain("a text of the tests");
  });

  test.each(PLACES)("a number %s → is found", (_, place) => {
    expect(scan(place(NUMBER))).toContain("a number of the tests");
  });

  test.each([
    "+33612345678",
    "33612345678",
    "0033612345678",
    "0612345678",
    "06 12 34 56 78",
    "06.12.34.56.78",
    "+33 (0)6 12-34-56-78",
    "whatsapp:+33612345678",
    "33612345678@s.whatsapp.net",
    "33612345678:12@s.whatsapp.net",
    "+14155550123",
    "(415) 555-0123",
  ])("a number written as %s → is found", (number) => {
    expect(scan(lineOf({ detail: `to ${number}.` }))).toContain("a number of the tests");
  });

  test("a number that is a number in JSON → is found", () => {
    expect(scan('{"level":"info","to":33612345678}')).toContain("a number of the tests");
  });
});

describe("what is private whatever its value", () => {
  test.each([
    ["a credential of a header", "authorization: Bearer another-token"],
    ["a credential of a header", "Basic QUMwMTIzOnNlY3JldA=="],
    ["an operator's session", "cookie: auto_prospect_admin=1763.abc"],
    ["a JSON Web Token", "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2ln"],
    ["an address with a password", "connect to postgres://postgres:hunter2@127.0.0.1:5432/x"],
    ["a number in E.164", "the number +447700900123 is not valid"],
    ["a French number", "the number 07 99 88 77 66 is not valid"],
    ["a French number", "the number 33799887766 is not valid"],
  ])("%s → is found", (what, text) => {
    expect(scan(lineOf({ detail: text }))).toContain(what);
    expect(scan(text)).toContain(what);
  });
});

test.each([
  ["a number that is masked", lineOf({ detail: vendorWords(`The 'To' number ${NUMBER} is not valid`) })],
  ["ids", lineOf({ jobId: "12345678-6123-4567-8612-345678612345", sid: `SM${"6123456780".repeat(3)}12` })],
  [
    "times, ports and addresses",
    lineOf({ time: "2026-11-22T03:31:35.123Z", url: "http://127.0.0.1:33612/", ms: 1763781095123 }),
  ],
  ["a short text of a message", lineOf({ detail: "ok" })],
  ["an address without its password", lineOf({ url: "redis://[redacted]@127.0.0.1:6379" })],
])("%s → is nothing", (_, line) => {
  expect(scan(line)).toEqual([]);
});

test("a line that was clean is looked at again when another one is not → both answers are right", () => {
  const [good, bad] = [lineOf({ detail: "fine" }), lineOf({ detail: SECRET })];
  expect([good, bad, good, bad].map((line) => scan(line).length)).toEqual([0, 1, 0, 1]);
});

test("what the service's own logger takes out → is not found; what it is told in words is", () => {
  const lines: string[] = [];
  const log = createLogger({ level: "info", destination: { write: (line: string) => void lines.push(line) } });
  log.info({ to: NUMBER, text: TEXT, apiSecret: SECRET }, "kept back");
  log.info({ detail: SECRET }, "told");
  expect(lines.map((line) => scan(line))).toEqual([[], ["a secret of the tests"]]);
});
