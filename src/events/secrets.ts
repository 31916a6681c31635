import { randomBytes } from "node:crypto";
import { createSealer, SealError } from "../core/sealed.ts";

const PREFIX = "whsec_";
/** Of the 24 to 64 that the specification allows. */
const SECRET_BYTES = 32;

/** The secrets of endpoints, as they are given to people and as they are stored. */
export interface Secrets {
  /** A new one, `whsec_…`, and how it is stored. */
  create(): { secret: string; stored: string };
  /** Throws `SealError` when it was sealed with a key that is not configured any more. */
  open(stored: string): string;
}

const AAD = "webhook secret";

/** Seals with the first of these keys (32 bytes, base64 or hexadecimal); without any, secrets are stored as they are. */
export function createSecrets(keys: readonly string[]): Secrets {
  const sealer = keys.length === 0 ? undefined : createSealer(keys);
  return {
    create() {
      const secret = PREFIX + randomBytes(SECRET_BYTES).toString("base64");
      return { secret, stored: sealer?.seal(secret, AAD) ?? secret };
    },
    open(stored) {
      if (stored.startsWith(PREFIX)) return stored;
      if (!sealer) throw new SealError("unknown_key", "This was sealed, and no key is configured any more.");
      return sealer.open(stored, AAD).toString();
    },
  };
}
