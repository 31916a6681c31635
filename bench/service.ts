import { readFileSync, writeFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { CHANNELS } from "../src/modules.ts";
import { ROOT } from "../dev/command.ts";
import { launch } from "../dev/stack/processes.ts";
import type { Run } from "../dev/stack/run-directory.ts";
import { cpuSecondsOf } from "./processes.ts";

export const SECRET = "bench-secret-0123456789";
export const HEADERS = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };

const START_TIMEOUT_MS = 20_000;
const POLL_MS = 20;

/** The service in its own process. Leaving the scope stops it. */
export interface ServiceProcess extends AsyncDisposable {
  readonly url: string;
  readonly pid: number;
  post(path: string, body: string): Promise<unknown>;
  /** The most memory it has held since the start or `resetPeak`, MB; NaN where /proc does not tell. */
  peakMb(): number;
  resetPeak(): void;
  /** What it holds now, MB; NaN where /proc does not tell. */
  memoryMb(): number;
  /** Processor time so far, seconds; NaN where /proc does not tell. */
  cpuSeconds(): number;
  assertAlive(): void;
  /** SIGTERM; answers how long it took to leave and how it left, e.g. "exit code 0". */
  terminate(): Promise<{ ms: number; how: string }>;
}

export async function startService(options: {
  entry: string;
  run: Run;
  logFile: string;
  environment: Record<string, string>;
}): Promise<ServiceProcess> {
  const child = await launch({
    name: "bench-service",
    file: process.execPath,
    args: [...(process.env["BENCH_NODE_OPTIONS"]?.split(" ") ?? []), options.entry],
    cwd: ROOT,
    logFile: options.logFile,
    run: options.run,
    env: {
      PATH: process.env["PATH"] ?? "",
      NODE_ENV: "production",
      // It runs at night, too.
      DEFAULT_POLICY: "none",
      HOST: "127.0.0.1",
      PORT: "0",
      API_SECRET: SECRET,
      SANDBOX_LATENCY_MS: "0",
      SANDBOX_RECEIPT_DELAY_MS: "none",
      // In production the sandbox has to be asked for by name.
      ...Object.fromEntries(CHANNELS.map(({ providerVariable }) => [providerVariable, "sandbox"])),
      ...options.environment,
    },
  });
  const assertAlive = (): void => {
    if (!child.isAlive())
      throw new Error(`the service has died:\n${readFileSync(options.logFile, "utf8").slice(-2000)}`);
  };
  const url = await untilListening(options.logFile, assertAlive);
  return {
    url,
    pid: child.pid,
    assertAlive,
    async post(path, body) {
      const response = await fetch(url + path, { method: "POST", headers: HEADERS, body });
      if (!response.ok)
        throw new Error(`${path} answered ${response.status}: ${(await response.text()).slice(0, 500)}`);
      return response.json();
    },
    peakMb: () => Number(/VmHWM:\s+(\d+) kB/.exec(readProc(child.pid, "status"))?.[1]) / 1024,
    memoryMb: () => Number(/VmRSS:\s+(\d+) kB/.exec(readProc(child.pid, "status"))?.[1]) / 1024,
    resetPeak() {
      if (process.platform === "linux") writeFileSync(`/proc/${child.pid}/clear_refs`, "5");
    },
    cpuSeconds: () => cpuSecondsOf(child.pid),
    async terminate() {
      const since = performance.now();
      process.kill(child.pid, "SIGTERM");
      const how = await child.exited;
      return { ms: performance.now() - since, how };
    },
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

async function untilListening(logFile: string, assertAlive: () => void): Promise<string> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  let url: string | undefined;
  while (performance.now() < deadline) {
    assertAlive();
    url ??= /"url":"([^"]+)"/.exec(readFileSync(logFile, "utf8"))?.[1];
    const ready = url === undefined ? undefined : await fetch(`${url}/ready`).catch(() => undefined);
    await ready?.body?.cancel();
    if (url !== undefined && ready?.ok === true) return url;
    await delay(POLL_MS);
  }
  throw new Error(`the service was not ready in time:\n${readFileSync(logFile, "utf8").slice(-2000)}`);
}

function readProc(pid: number, file: string): string {
  return process.platform === "linux" ? readFileSync(`/proc/${pid}/${file}`, "utf8") : "";
}
