import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const CLOSING = fileURLToPath(new URL("./closing-proxy.ts", import.meta.url));
const TIMEOUT_MS = 10_000;

test("a process ends by itself that has closed a proxy while an end was on its way", async () => {
  const ended = promisify(execFile)(process.execPath, [CLOSING], { timeout: TIMEOUT_MS, killSignal: "SIGKILL" });
  await expect(ended).resolves.toEqual({ stdout: "", stderr: "" });
});
