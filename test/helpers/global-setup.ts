import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { createTemplate, type TestStack } from "../../dev/stack/databases.ts";
import { startStack } from "../../dev/stack/index.ts";

declare module "vitest" {
  export interface ProvidedContext {
    stack: TestStack;
  }
}

/** One Redis and one Postgres for the whole run; each test file takes a database and a key prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const stack = await startStack();
  project.provide("stack", await createTemplate(stack));
  const output = mkdtempSync(join(tmpdir(), "auto-prospect-output-"));
  project.provide("output", output);
  return async () => {
    rmSync(output, { recursive: true, force: true });
    await stack.stop();
  };
}
