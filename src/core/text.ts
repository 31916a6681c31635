import { z } from "zod";

/** Postgres stores neither NUL nor half a surrogate pair: one such text would fail the whole batch that it is in. */
export function unstorable(value: string): boolean {
  return value.includes("\0") || !value.isWellFormed();
}

export const UNSTORABLE = "holds a NUL character or half of a surrogate pair; send well-formed Unicode";

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
