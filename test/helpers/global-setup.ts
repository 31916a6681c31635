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

const ENTRY = fileURLToPath(new URL("../../src/index.ts", import.meta.url));

/** One Redis and one Postgres for the whole run; each test file takes a database and a key prefix of its own. */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  await ensureChromium((line) => process.stderr.write(`${line}\n`));
  const output = mkdtempSync(join(tmpdir(), "auto-prospect-output-"));
  project.provide("output", output);
  const compiled = join(output, "compiled");
  project.provide("compiled", compiled);
  const [stack] = await Promise.all([startStack(), compile(compiled)]);
  project.provide("stack", await createTemplate(stack));
  return async () => {
    rmSync(output, { recursive: true, force: true });
    await stack.stop();
  };
}

/** Without an environment the service loads its modules, says what is missing, and leaves. */
function compile(directory: string): Promise<void> {
  const { PATH } = process.env;
  const { promise, resolve } = Promise.withResolvers<void>();
  execFile(process.execPath, [ENTRY], { env: { PATH, NODE_COMPILE_CACHE: directory } }, () => resolve());
  return promise;
}
