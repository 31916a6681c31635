import { z } from "zod";

/**
 * What is wrong with a text to send, or undefined. Hand-written because a hunt asks it 100,000 times; `textSchema`
 * is made from it, so that edge and queue agree.
 *
 * @param maxLength in UTF-16 code units, as vendors and `String.length` count them.
 */
export function textFault(value: unknown, maxLength: number): string | undefined {
  if (typeof value !== "string") return "Give the message as text.";
  if (value.length > maxLength) return `The message has ${value.length} characters; at most ${maxLength} are allowed.`;
  if (value.trim() === "") return "The message is empty.";
  return unstorable(value) ? UNSTORABLE : undefined;
}

/** Postgres stores neither NUL nor half a surrogate pair: one such text would fail the whole batch that it is in. */
export function unstorable(value: string): boolean {
  return value.includes("\0") || !value.isWellFormed();
}

export const UNSTORABLE = "The text holds a NUL character or half of a surrogate pair; send well-formed Unicode.";

/** The same rule as a schema; the bounds are metadata for the API's documentation, so that each fault is told once. */
export function textSchema(maxLength: number) {
  return z
    .string()
    .superRefine((value, context) => {
      const fault = textFault(value, maxLength);
      if (fault !== undefined) context.addIssue({ code: "custom", message: fault });
    })
    .meta({ minLength: 1, maxLength });
}

/** Content of a channel that carries plain text. */
export interface TextContent {
  text: string;
}
