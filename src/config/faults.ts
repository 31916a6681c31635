import type { z } from "zod";
import type { Fault } from "../core/problem.ts";

/** Everything that is wrong with the environment, at once. `message` is a list for people. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly faults: Fault[];

  constructor(faults: Fault[]) {
    const lines = faults.map(({ pointer, detail }) => `  ${pointer}: ${detail}`);
    super(`The environment is not complete; .env.example describes each variable.\n${lines.join("\n")}`);
    this.faults = faults;
  }
}

/** Of a variable. `given`: those that are there. */
export function faultOf(issue: z.core.$ZodIssue, given: Record<string, unknown>): Fault {
  const pointer = issue.path.map(String).join(".");
  return { pointer, detail: pointer in given ? `is not valid: ${issue.message}` : "is missing" };
}

/** Sibling channels may share a provider's variables: say each fault once. */
export function unique(faults: Fault[]): Fault[] {
  return [...new Map(faults.map((fault) => [`${fault.pointer}\n${fault.detail}`, fault])).values()];
}
