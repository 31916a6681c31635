import { timingSafeEqual } from "node:crypto";
import { beforeEach, expect, test, vi } from "vitest";
import { createSessions } from "../../src/routes/admin-session.ts";
import { createSecretCheck, requireBearer } from "../../src/routes/auth.ts";

// Timing cannot be measured without flaking on two cores: what takes the time is counted instead.
vi.mock("node:crypto", async (original) => {
  const crypto = await original<{ timingSafeEqual: typeof timingSafeEqual }>();
  return { ...crypto, timingSafeEqual: vi.fn<typeof timingSafeEqual>(crypto.timingSafeEqual) };
});
const compared = vi.mocked(timingSafeEqual);

const SECRETS = ["the-first-secret", "the-second-and-much-longer-secret", "third"];

beforeEach(() => void compared.mockClear());

test.each([
  ["the first", "the-first-secret", 0],
  ["the last", "third", 2],
  ["none", "wrong", -1],
  ["empty", "", -1],
  ["one of a megabyte", "x".repeat(1_000_000), -1],
  ["the first but for its last letter", "the-first-secreT", -1],
])("API2:2023 a candidate that is %s → is compared with every secret, digest by digest", (_, candidate, place) => {
  expect(createSecretCheck(SECRETS).indexOf(candidate)).toBe(place);
  expect(compared).toHaveBeenCalledTimes(SECRETS.length);
  for (const [given, kept] of compared.mock.calls) expect([given.byteLength, kept.byteLength]).toEqual([32, 32]);
  expect(new Set(compared.mock.calls.map(([, kept]) => Buffer.from(kept as Uint8Array).toString("hex"))).size).toBe(3);
});

test("API2:2023 a token in a header → goes through that comparison, whether it is right or wrong", () => {
  const secrets = createSecretCheck(SECRETS);
  requireBearer(secrets, "Bearer third");
  expect(compared).toHaveBeenCalledTimes(3);
  expect(() => requireBearer(secrets, "Bearer fourth")).toThrow("not known");
  expect(compared).toHaveBeenCalledTimes(6);
});

test("API2:2023 a session → its signature is compared under the key of every secret", () => {
  const sessions = createSessions(SECRETS, { now: () => 0, monotonic: () => 0 });
  const token = sessions.issue(0);
  expect(sessions.isValid(token)).toBe(true);
  expect(compared).toHaveBeenCalledTimes(SECRETS.length);
  expect(sessions.isValid(token.slice(0, -1) + (token.endsWith("A") ? "E" : "A"))).toBe(false);
  expect(compared).toHaveBeenCalledTimes(SECRETS.length * 2);
});
