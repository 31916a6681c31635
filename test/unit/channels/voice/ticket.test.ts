import fc from "fast-check";
import { expect, test } from "vitest";
import { digestOf } from "../../../../src/channels/voice/content.ts";
import { createTickets } from "../../../../src/channels/voice/ticket.ts";

let now = Date.UTC(2026, 10, 22);
const clock = { now: () => now, monotonic: () => now };
const options = { secret: "s3cret", purpose: "test", clock, validMs: 3_600_000 };
const tickets = createTickets(options);
const TICKET = {
  messageId: "0b0e7a52-54f2-4c44-8f3a-8d6f2f0c8a01",
  attemptId: "9d3c2a8e-1111-4222-8333-444455556666",
  digest: digestOf({ text: "Bonjour Madame Dupont" }),
};

const READ = { ...TICKET, issuedAt: now };

test("a ticket says which attempt it was given out for, and when, in a path", () => {
  const token = tickets.issue(TICKET);
  expect(token).toMatch(/^[\w.-]{50,400}$/);
  expect(tickets.read(token)).toEqual(READ);
});

test("it holds ids and a digest, and nothing of the message", () => {
  const [payload = ""] = tickets.issue(TICKET).split(".");
  expect(Buffer.from(payload, "base64url").toString()).not.toMatch(/Bonjour|Dupont/);
});

test("one that was changed anywhere is nobody's", () => {
  const token = tickets.issue(TICKET);
  fc.assert(
    fc.property(fc.nat(token.length - 1), fc.constantFrom("A", "b", "9", "."), (at, character) => {
      const changed = token.slice(0, at) + character + token.slice(at + 1);
      // The last character of base64 has bits that mean nothing: another one may say the same.
      if (changed === token || at === token.length - 1) return;
      expect(tickets.read(changed)).toBeUndefined();
    }),
  );
});

test.each(["", ".", "..", "a.b", "%00", "null", "x".repeat(10_000)])("%j is not a ticket", (token) => {
  expect(tickets.read(token)).toBeUndefined();
});

test("one of another secret or for another purpose is worth nothing", () => {
  const token = tickets.issue(TICKET);
  expect(createTickets({ ...options, secret: "other" }).read(token)).toBeUndefined();
  expect(createTickets({ ...options, purpose: "other" }).read(token)).toBeUndefined();
  expect(createTickets(options).read(token)).toEqual(READ);
});

test("it expires", () => {
  const token = tickets.issue(TICKET);
  now += 3_599_999;
  expect(tickets.read(token)).toEqual(READ);
  now += 1;
  expect(tickets.read(token)).toBeUndefined();
});

test("another content has another digest", () => {
  expect(digestOf({ text: "a" })).not.toBe(digestOf({ text: "b" }));
  expect(digestOf({ text: "https://x" })).not.toBe(digestOf({ audioUrl: "https://x" }));
});
