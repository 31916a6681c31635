import { z } from "zod";

/** Postgres stores neither NUL nor half a surrogate pair: one such text would fail the whole batch that it is in. */
export function unstorable(value: string): boolean {
  return value.includes("\0") || !value.isWellFormed();
}

export const UNSTORABLE = "holds a NUL character or half of a surrogate pair; send well-formed Unicode";

/** What a well-formed text begins with: at most so many UTF-16 units, and no half of a surrogate pair at the end. */
export const beginningOf = (text: string, maxLength: number): string =>
  text.slice(0, maxLength).replace(/[\uD800-\uDBFF]$/, "");

/** A short text of the caller's that goes into the ledger: an id, a number as it was written. */
export function shortText(maxLength: number) {
  return z
    .string()
    .min(1)
    .max(maxLength)
    .refine((text) => !unstorable(text), UNSTORABLE);
}

/** A moment in an answer: ISO 8601, in UTC. */
export const timestamp = () => z.string().meta({ format: "date-time" });
