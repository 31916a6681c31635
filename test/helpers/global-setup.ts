import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { TestProject } from "vitest/node";
import { createTemplate, type TestStack } from "../../dev/stack/databases.ts";
import { startStack } from "../../dev/stack/index.ts";
import { ensureChromium } from "./chromium.ts";

declare module "vitest" {
  export interface ProvidedContext {
    stack: TestStack;
    /** A directory for `NODE_COMPILE_CACHE`, with the whole service in it. */
    compiled: string;
  }
}

const EVERYTHING = fileURLToPath(new URL("./everything.ts", import.meta.url));

/** One Redis and one Postgres for the whole run; each test file takes a database and a key prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await ensureChromium((line) => process.stderr.write(`${line}\n`));
  const output = mkdtempSync(join(tmpdir(), "auto-prospect-output-"));
  project.provide("output", output);
  const compiled = join(output, "compiled");
  project.provide("compiled", compiled);
  // For vitest's workers too, and for what inherits the environment of a test.
  process.env["NODE_COMPILE_CACHE"] = compiled;
  const [stack] = await Promise.all([startStack(), compile(compiled)]);
  project.provide("stack", await createTemplate(stack));
  return async () => {
    // A process that ends now may still be writing what it has compiled.
    rmSync(output, { recursive: true, force: true, maxRetries: 5 });
    await stack.stop();
  };
}

function compile(directory: string): Promise<void> {
  const { PATH } = process.env;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const env = { PATH, NODE_COMPILE_CACHE: directory };
  execFile(process.execPath, [EVERYTHING], { env }, (error) => (error ? reject(error) : resolve()));
  return promise;
}
