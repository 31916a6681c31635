import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createSecretKey,
  type KeyObject,
  randomBytes,
} from "node:crypto";

const KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;
/** 32 random bytes have fewer different ones than this once in 10^36 times: it is a pattern. */
const MIN_DIFFERENT_BYTES = 8;

/** What was sealed cannot be opened. Its message is for an operator, and holds neither keys nor contents. */
export class SealError extends Error {
  override readonly name = "SealError";
  readonly code: "unknown_key" | "damaged";

  constructor(code: SealError["code"], message: string) {
    super(message);
    this.code = code;
  }
}

export interface Sealer {
  /** What everything begins with that is sealed now: whatever begins otherwise was sealed with another key. */
  readonly mark: string;
  /** `aad` says what this is; it opens only under the same. */
  seal(plain: Buffer | string, aad: string): string;
  /** Throws `SealError`. */
  open(sealed: string, aad: string): Buffer;
}

/**
 * Encryption at rest: AES-256-GCM, `<mark><base64url of IV, tag and ciphertext>`. The first key seals, each opens, so
 * that a new key is put in front and the old one taken away when nothing begins with its mark any more. Throws when
 * `encryptionKeyFaults` finds anything.
 */
export function createSealer(keys: readonly string[]): Sealer {
  const faults = encryptionKeyFaults(keys.join(","));
  if (faults.length > 0) throw new Error(`The encryption keys are not usable: ${faults.join("; ")}.`);
  const ring = new Map(keys.map((text) => keyOf(text)).map((key) => [markOf(key), createSecretKey(key)]));
  const [[mark, current]] = ring as unknown as [[string, KeyObject]];

  return {
    mark,
    seal(plain, aad) {
      // Random, and so good for 2^32 writes with one key: at a hundred a second, 16 months.
      const iv = randomBytes(IV_BYTES);
      const cipher = createCipheriv("aes-256-gcm", current, iv, { authTagLength: TAG_BYTES });
      cipher.setAAD(Buffer.from(aad));
      const ciphertext = Buffer.concat([cipher.update(plain), cipher.final()]);
      return mark + Buffer.concat([iv, cipher.getAuthTag(), ciphertext]).toString("base64url");
    },
    open(sealed, aad) {
      const [prefix] = /^[0-9a-f]{8}\./.exec(sealed) ?? [];
      if (prefix === undefined) throw new SealError("damaged", "This was not sealed by this service, or is damaged.");
      const key = ring.get(prefix);
      if (!key) {
        throw new SealError(
          "unknown_key",
          `This was sealed with a key that is not configured any more (its mark is ${prefix.slice(0, -1)}): add that key behind the current one.`,
        );
      }
      const bytes = Buffer.from(sealed.slice(prefix.length), "base64url");
      try {
        const iv = bytes.subarray(0, IV_BYTES);
        const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: TAG_BYTES });
        decipher.setAAD(Buffer.from(aad));
        decipher.setAuthTag(bytes.subarray(IV_BYTES, IV_BYTES + TAG_BYTES));
        return Buffer.concat([decipher.update(bytes.subarray(IV_BYTES + TAG_BYTES)), decipher.final()]);
      } catch {
        throw new SealError("damaged", "This was changed after it was sealed, or belongs elsewhere.");
      }
    },
  };
}

/** The entries of a comma-separated list of keys, each 32 bytes in base64, base64url or hexadecimal. */
export function encryptionKeysOf(text: string): string[] {
  return text.split(",").map((entry) => entry.trim());
}

/** All that is wrong with a list of keys, in words that do not repeat them; nothing: it is usable. */
export function encryptionKeyFaults(text: string): string[] {
  const seen = new Map<string, number>();
  return encryptionKeysOf(text).flatMap((entry, i) => {
    const fault = faultOf(entry);
    if (fault !== undefined) return [`key ${i + 1} ${fault}`];
    const name = markOf(keyOf(entry));
    const first = seen.get(name);
    if (first !== undefined) return [`key ${i + 1} is the same as key ${first}`];
    seen.set(name, i + 1);
    return [];
  });
}

function faultOf(entry: string): string | undefined {
  if (entry === "") return "is empty";
  if (!/^[\w+/-]+={0,2}$/.test(entry)) return "is neither base64 nor hexadecimal";
  const key = keyOf(entry);
  if (key.length !== KEY_BYTES) return `has ${key.length} bytes instead of ${KEY_BYTES}`;
  const steps = new Set(Array.from(key.subarray(1), (byte, i) => (byte - key.readUInt8(i)) & 255));
  if (steps.size === 1 || new Set(key).size < MIN_DIFFERENT_BYTES) return "is a pattern, not random bytes";
  return undefined;
}

const keyOf = (entry: string): Buffer =>
  /^[0-9a-f]{64}$/i.test(entry) ? Buffer.from(entry, "hex") : Buffer.from(entry, "base64");

const markOf = (key: Buffer): string => `${createHash("sha256").update(key).digest("hex").slice(0, 8)}.`;
