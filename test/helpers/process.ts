import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { inject } from "vitest";
import { forget, remember } from "../../dev/stack/run-directory.ts";
import { type FakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { keepBody, keepEnvironment, keepOutput } from "./output.ts";
import { type Answer, SECRET } from "./service.ts";

const ENTRY = fileURLToPath(new URL("../../src/index.ts", import.meta.url));
const NAME = "service-process";

/** The real service, by its own entry, as a process that can be killed. */
export interface ServiceProcess extends AsyncDisposable {
  readonly pid: number;
  readonly url: string;
  /** Settles when it is gone: its exit code, or null when a signal killed it. */
  readonly exited: Promise<number | null>;
  /** All that it has printed, for a test that fails. */
  output(): string;
  /** Every line that it has logged. */
  readonly logs: Record<string, unknown>[];
  kill(signal: NodeJS.Signals): void;
  post(path: string, body: unknown, headers?: Record<string, string>): Promise<Answer>;
  get(path: string): Promise<Answer>;
}

/**
 * Starts `src/index.ts`, or another entry, with this environment and nothing else of ours; resolves when it listens. Should the test run
 * itself be killed, the stack's watchdog ends the process.
 */
export async function startProcess(
  environment: Record<string, string>,
  entry: string = ENTRY,
): Promise<ServiceProcess> {
  const { run } = inject("stack");
  keepEnvironment(environment);
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, [entry], {
    env: { PATH, LOG_LEVEL: "debug", NODE_COMPILE_CACHE: inject("compiled"), ...environment },
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  const pid = child.pid ?? 0;
  remember(run, NAME, pid, "SIGKILL");
  const lines: string[] = [];
  const logs: Record<string, unknown>[] = [];
  const { promise: listening, resolve: isListening } = Promise.withResolvers<string>();
  createInterface({ input: child.stdout }).on("line", (line) => {
    lines.push(line);
    keepOutput(line);
    if (!line.startsWith("{")) return;
    const entry = JSON.parse(line) as Record<string, unknown>;
    logs.push(entry);
    if (entry["msg"] === "listening") isListening(entry["url"] as string);
  });
  child.stderr.on("data", (chunk: Buffer) => {
    lines.push(chunk.toString());
    keepOutput(chunk.toString());
  });
  // `close` comes when the output, too, has been read to its end.
  const exited = once(child, "close").then(([code]) => {
    forget(run, NAME, pid);
    return code as number | null;
  });
  const url = await Promise.race([
    listening,
    exited.then((code) => {
      throw new Error(`the service left with ${code} before it listened:\n${lines.join("\n")}`);
    }),
  ]);

  const call = async (method: string, path: string, body?: unknown, extra = {}): Promise<Answer> => {
    keepBody(body);
    const response = await fetch(url + path, {
      method,
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json", ...extra },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    return { status: response.status, headers: response.headers, body: await response.json() };
  };
  return {
    pid,
    url,
    exited,
    logs,
    output: () => lines.join("\n"),
    kill: (signal) => void child.kill(signal),
    post: (path, body, headers) => call("POST", path, body, headers),
    get: (path) => call("GET", path),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** SMS over the fake Twilio, which lives in the test's process and counts what it accepts. */
export function twilioEnvironment(twilio: FakeTwilio): Record<string, string> {
  return {
    SMS_PROVIDER: "twilio",
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_FROM: "+33987650000",
    SMS_RATE_MAX: "1000",
    TWILIO_API_BASE_URL: twilio.url,
    TWILIO_TIMEOUT_MS: "1000",
  };
}
