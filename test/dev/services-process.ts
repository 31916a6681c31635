import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { recorded } from "../../dev/stack/run-directory.ts";

const SCRIPT = fileURLToPath(new URL("../../dev/services.ts", import.meta.url));

/** `npm run services` as a process of its own. */
export interface ServicesProcess extends AsyncDisposable {
  readonly pid: number;
  /** The variables that it has printed. */
  readonly env: Record<string, string>;
  readonly exitCode: Promise<number | null>;
  stderr(): string;
  /** The pid of one of its servers. */
  pidOf(name: string): number;
  kill(signal: NodeJS.Signals): void;
}

/** Starts the command and settles once it has printed `ready`. Rejects with what it has said, when it leaves before. */
export async function startServices(dataDir: string, args: readonly string[] = []): Promise<ServicesProcess> {
  const services = await runServices(dataDir, args);
  if (Object.keys(services.env).length > 0) return services;
  throw new Error(`npm run services left with ${await services.exitCode}: ${services.stderr()}`);
}

/** Starts the command (`--` keeps Node from taking `--env-file` for its own) and settles once it has printed `ready`, or has left. */
export async function runServices(dataDir: string, args: readonly string[] = []): Promise<ServicesProcess> {
  const env = { ...process.env, DATA_DIR: dataDir, REDIS_URL: "" };
  const child = spawn(process.execPath, ["--", SCRIPT, ...args], { env, stdio: ["ignore", "pipe", "pipe"] });
  let [stdout, stderr] = ["", ""];
  const exited = new Promise<number | null>((resolve) => {
    child.once("exit", resolve);
  });
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ready = new Promise<void>((resolve) => {
    child.stdout.on("data", (chunk: Buffer) => {
      stdout += chunk.toString();
      if (stdout.endsWith("ready\n")) resolve();
    });
  });
  // `close` comes when the output has been read to its end.
  await Promise.race([ready, once(child, "close")]);
  const pairs = stdout.split("\n").filter((line) => line.includes("="));
  return {
    pid: child.pid ?? 0,
    env: Object.fromEntries(pairs.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)])),
    exitCode: exited,
    stderr: () => stderr,
    pidOf: (name) => recorded(`${dataDir}/run`).find((record) => record.name === name)?.pid ?? 0,
    kill: (signal) => void child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await exited;
    },
  };
}
