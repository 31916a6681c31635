import { pointerOf } from "../core/faults.ts";
import type { Fault } from "../core/problem.ts";
import { UNSTORABLE, unstorable } from "../core/text.ts";
import { isVariableName, NO_VARIABLE_NAME, type Variables } from "../templates/template.ts";

const MAX_VARIABLES = 50;
const MAX_VALUE_LENGTH = 1000;

/** A contact's variables; null is as absent. By hand, because a hunt has a hundred thousand of them. */
export function readVariables(given: unknown, at: string, faults: Fault[]): Variables | undefined {
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    faults.push({ pointer: at, detail: "must be an object of flat values" });
    return undefined;
  }
  const entries = Object.entries(given).filter(([, value]) => value !== null);
  if (entries.length > MAX_VARIABLES) {
    faults.push({ pointer: at, detail: `must have at most ${MAX_VARIABLES} variables` });
    return undefined;
  }
  for (const [name, value] of entries) {
    const detail = isVariableName(name) ? faultOf(value) : NO_VARIABLE_NAME;
    if (detail !== undefined) faults.push({ pointer: pointerOf([name], at), detail });
  }
  return Object.fromEntries(entries);
}

function faultOf(value: unknown): string | undefined {
  switch (typeof value) {
    case "boolean":
      return undefined;
    case "number":
      return Number.isFinite(value) ? undefined : "must be finite";
    case "string":
      if (value.length > MAX_VALUE_LENGTH) return `must have at most ${MAX_VALUE_LENGTH} characters`;
      return unstorable(value) ? UNSTORABLE : undefined;
    default:
      return "must be text, a number, true or false";
  }
}
