import { randomBytes } from "node:crypto";
import { expect, test } from "vitest";
import { createSealer, encryptionKeyFaults, encryptionKeysOf, SealError } from "../../../src/core/sealed.ts";

const newKey = (): string => randomBytes(32).toString("base64");

function failure(work: () => unknown): SealError {
  try {
    work();
  } catch (error) {
    if (error instanceof SealError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

test.each(["", "a", "clé 🔑", "x".repeat(100_000)])("text → opens as it was (%#)", (plain) => {
  const sealer = createSealer([newKey()]);
  expect(sealer.open(sealer.seal(plain, "aad"), "aad").toString()).toBe(plain);
});

test("bytes → open as they were", () => {
  const sealer = createSealer([newKey()]);
  const plain = randomBytes(1000);
  expect(sealer.open(sealer.seal(plain, "aad"), "aad")).toEqual(plain);
});

test("what is sealed → begins with the mark, is one word, and differs each time", () => {
  const sealer = createSealer([newKey()]);
  const [one, two] = [sealer.seal("secret", "aad"), sealer.seal("secret", "aad")];
  expect(sealer.mark).toMatch(/^[0-9a-f]{8}\.$/);
  expect(one).toMatch(/^[0-9a-f]{8}\.[\w-]+$/);
  expect(one.startsWith(sealer.mark)).toBe(true);
  expect(one).not.toBe(two);
});

test("another aad → does not open", () => {
  const sealer = createSealer([newKey()]);
  const error = failure(() => sealer.open(sealer.seal("secret", "session,session,1"), "session,session,2"));
  expect(error.code).toBe("damaged");
});

test("any changed character → does not open", () => {
  const sealer = createSealer([newKey()]);
  const sealed = sealer.seal("secret", "aad");
  // The last character of base64url may hold bits that mean nothing.
  for (let at = sealer.mark.length; at < sealed.length - 1; at++) {
    const changed = sealed.slice(0, at) + (sealed[at] === "A" ? "B" : "A") + sealed.slice(at + 1);
    expect(failure(() => sealer.open(changed, "aad")).code).toBe("damaged");
  }
});

test.each(["", "no mark", "{}", "0123456789", "ABCDEF01.AAAA"])("%j was never sealed → says so", (text) => {
  expect(failure(() => createSealer([newKey()]).open(text, "aad")).code).toBe("damaged");
});

test.each([0, 1, 11, 12, 27, 28])("cut off after %i bytes → does not open", (bytes) => {
  const sealer = createSealer([newKey()]);
  const sealed = sealer.seal("secret", "aad");
  const cut =
    sealer.mark + Buffer.from(sealed.slice(sealer.mark.length), "base64url").subarray(0, bytes).toString("base64url");
  expect(failure(() => sealer.open(cut, "aad")).code).toBe("damaged");
});

test("a new key in front → opens what the old one sealed, and seals with the new one", () => {
  const [older, newer] = [newKey(), newKey()];
  const before = createSealer([older]);
  const during = createSealer([newer, older]);
  const after = createSealer([newer]);
  const old = before.seal("secret", "aad");
  expect(during.open(old, "aad").toString()).toBe("secret");
  expect(old.startsWith(during.mark)).toBe(false);
  const fresh = during.seal("secret", "aad");
  expect(fresh.startsWith(after.mark)).toBe(true);
  expect(after.open(fresh, "aad").toString()).toBe("secret");
});

test("a key that was taken away → the error names its mark, and neither key nor text", () => {
  const [older, newer] = [newKey(), newKey()];
  const old = createSealer([older]);
  const error = failure(() => createSealer([newer]).open(old.seal("secret", "aad"), "aad"));
  expect(error.code).toBe("unknown_key");
  expect(error.message).toContain(old.mark.slice(0, 8));
  for (const private_ of [older, newer, "secret"]) expect(error.message).not.toContain(private_);
});

test("the same key in base64, base64url and hexadecimal → opens each other's", () => {
  const key = randomBytes(32);
  const [first, ...others] = [
    key.toString("base64"),
    key.toString("base64url"),
    key.toString("hex"),
    key.toString("hex").toUpperCase(),
  ].map((text) => createSealer([text]));
  const sealed = first?.seal("secret", "aad") ?? "";
  for (const other of others) expect(other.open(sealed, "aad").toString()).toBe("secret");
});

test("a list → its entries without spaces", () => {
  expect(encryptionKeysOf(" a , b,c")).toEqual(["a", "b", "c"]);
});

const good = newKey();
test.each([
  [good, []],
  [`${good}, ${newKey()}`, []],
  ["", ["key 1 is empty"]],
  [`${good},`, ["key 2 is empty"]],
  [`${good},${good}`, ["key 2 is the same as key 1"]],
  [`${good},${Buffer.from(good, "base64").toString("hex")}`, ["key 2 is the same as key 1"]],
  [randomBytes(31).toString("base64"), ["key 1 has 31 bytes instead of 32"]],
  [randomBytes(33).toString("base64"), ["key 1 has 33 bytes instead of 32"]],
  [randomBytes(31).toString("hex"), ["key 1 has 46 bytes instead of 32"]],
  ["correct horse battery staple!", ["key 1 is neither base64 nor hexadecimal"]],
  [Buffer.alloc(32).toString("base64"), ["key 1 is a pattern, not random bytes"]],
  [Buffer.alloc(32, 7).toString("hex"), ["key 1 is a pattern, not random bytes"]],
  [Buffer.alloc(32, "abcd").toString("base64"), ["key 1 is a pattern, not random bytes"]],
  [Buffer.from(Array.from({ length: 32 }, (_, i) => i)).toString("hex"), ["key 1 is a pattern, not random bytes"]],
  [`,AAAA,${good}`, ["key 1 is empty", "key 2 has 3 bytes instead of 32"]],
])("faults of a list (%#)", (text, faults) => {
  expect(encryptionKeyFaults(text)).toEqual(faults);
});

test("a thousand random keys → no faults", () => {
  expect(encryptionKeyFaults(Array.from({ length: 1000 }, newKey).join(","))).toEqual([]);
});

test("a faulty list → makes no sealer, and the error does not repeat it", () => {
  const weak = Buffer.alloc(32, 7).toString("base64");
  expect(() => createSealer([weak])).toThrow("key 1 is a pattern");
  expect(() => createSealer([weak])).not.toThrow(weak);
  expect(() => createSealer([])).toThrow("key 1 is empty");
});
