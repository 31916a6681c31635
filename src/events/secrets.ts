import { randomBytes } from "node:crypto";
import { createSealer, SealError } from "../core/sealed.ts";

const PREFIX = "whsec_";
/** Of the 24 to 64 that the specification allows. */
const SECRET_BYTES = 32;

/** The secrets of endpoints, as they are given to people and as they are stored. */
export interface Secrets {
  /** What everything begins with that is sealed now; undefined: nothing is sealed. */
  readonly mark: string | undefined;
  /** A new one, `whsec_…`, and how it is stored. */
  create(): { secret: string; stored: string };
  /** Throws `SealError` when it was sealed with a key that is not configured any more. */
  open(stored: string): string;
  /** How a secret is stored. */
  seal(secret: string): string;
}

const AAD = "webhook secret";

/** Seals with the first of these keys, opens with each (32 bytes, base64 or hexadecimal); without any, secrets are stored as they are. */
export function createSecrets(keys: readonly string[]): Secrets {
  const sealer = keys.length === 0 ? undefined : createSealer(keys);
  const seal = (secret: string): string => sealer?.seal(secret, AAD) ?? secret;
  return {
    mark: sealer?.mark,
    seal,
    create() {
      const secret = PREFIX + randomBytes(SECRET_BYTES).toString("base64");
      return { secret, stored: seal(secret) };
    },
    open(stored) {
      if (stored.startsWith(PREFIX)) return stored;
      if (!sealer) throw new SealError("unknown_key", "This was sealed, and no key is configured any more.");
      return sealer.open(stored, AAD).toString();
    },
  };
}
