import { createHmac } from "node:crypto";

/**
 * What stays of a number when its holder is erased. Keyed with a secret outside the database, because all numbers of a
 * country can be tried in minutes against a plain hash.
 */
export function phoneHash(e164: string, salt: string): string {
  return `hash:${createHmac("sha256", salt).update(e164).digest("base64url")}`;
}
