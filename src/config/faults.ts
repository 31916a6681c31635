import type { z } from "zod";
import { wording } from "../core/faults.ts";
import type { Fault } from "../core/problem.ts";

/** How the environment is read: what is wrong is told in plain words, and never repeats what was given. */
export const PLAIN = { error: wording };

/** Everything that is wrong with the environment, at once. `message` is a list for people. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: Fault[];

  constructor(faults: Fault[]) {
    const lines = faults.map(({ pointer, detail }) => `  ${pointer}: ${detail}`);
    super(`The environment is not right; .env.example describes each variable.\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

/** Of a variable. `given`: those that are there. */
export function faultOf(issue: z.core.$ZodIssue, given: Record<string, unknown>): Fault {
  const pointer = issue.path.map(String).join(".");
  // A variable that is JSON has faults within it.
  return { pointer, detail: String(issue.path[0]) in given ? `is not valid: ${issue.message}` : "is missing" };
}

/** Sibling channels may share a provider's variables: say each fault once. */
export function unique(faults: Fault[]): Fault[] {
  return [...new Map(faults.map((fault) => [`${fault.pointer}\n${fault.detail}`, fault])).values()];
}
