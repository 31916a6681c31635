import { z } from "zod";
import type { Fault } from "../core/problem.ts";
import { UNSTORABLE, unstorable } from "../core/text.ts";

const NOT_TEXT = "Give the message as text.";

/**
 * What is wrong with a text to send, or undefined. Hand-written because a hunt asks it 100,000 times; `textSchema`
 * is made from it, so that edge and queue agree.
 *
 * @param maxLength in UTF-16 code units, as vendors and `String.length` count them.
 */
export function textFault(value: unknown, maxLength: number): string | undefined {
  if (typeof value !== "string") return NOT_TEXT;
  if (value.length > maxLength) return `The message has ${value.length} characters; at most ${maxLength} are allowed.`;
  if (value.trim() === "") return "The message is empty.";
  return unstorable(value) ? `The text ${UNSTORABLE}.` : undefined;
}

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

/** The content of a contact's `message`, or what is wrong with it. */
export function textContentOf(message: unknown, maxLength: number): { content: TextContent } | { faults: Fault[] } {
  const detail = textFault(message, maxLength);
  if (typeof message === "string" && detail === undefined) return { content: { text: message } };
  return { faults: [{ pointer: "/message", detail: detail ?? NOT_TEXT }] };
}

/** Whether a sender is a name, which nobody can answer, and no number. */
export const isName = (sender: string): boolean => /[A-Za-z]/.test(sender);

/** A field of a body that its schema has already checked. */
export function optionalText(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}
