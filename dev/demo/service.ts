import { readFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT } from "../command.ts";
import type { Stack } from "../stack/index.ts";
import { freePort, withFreshPorts } from "../stack/ports.ts";
import { launch, minimalEnvironment, untilReady } from "../stack/processes.ts";
import { SERVICE } from "../stack/run-directory.ts";
import { StackError } from "../stack/stack-error.ts";

const TAIL_LINES = 8;

/** The service, as a process of its own. */
export interface DemoService extends AsyncDisposable {
  readonly url: string;
  readonly logFile: string;
  /** The last lines of its log. */
  tail(): string;
  /** Aborts, with a `StackError` that has the end of the log, when the process ends unasked. */
  readonly died: AbortSignal;
}

export interface DemoServiceOptions {
  stack: Stack;
  apiSecret: string;
  redisPrefix: string;
  /** Further variables. */
  environment?: Record<string, string>;
}

/**
 * Starts src/index.ts, the real entry, on a free port of 127.0.0.1 and waits until it answers.
 *
 * @throws {StackError} when it does not start, or `stopping` fires, with it stopped
 */
export function startDemoService(options: DemoServiceOptions, stopping: AbortSignal): Promise<DemoService> {
  const { stack } = options;
  return withFreshPorts(async () => {
    const port = await freePort();
    const url = `http://127.0.0.1:${port}`;
    const logFile = join(stack.dataDir, "logs", "service.log");
    const child = await launch({
      name: SERVICE,
      file: process.execPath,
      args: [join(ROOT, "src", "index.ts")],
      cwd: ROOT,
      env: environment(options, port),
      logFile,
      run: stack.run,
    });
    await untilReady(child, () => answers(`${url}/health`), stopping);

    const death = new AbortController();
    let asked = false;
    void child.exited.then((how) => {
      const words = `the service stopped by itself (${how}); the end of its log:\n  ${tailOf(logFile)}`;
      if (!asked) death.abort(new StackError(words));
    });
    return {
      url,
      logFile,
      tail: () => tailOf(logFile),
      died: death.signal,
      async [Symbol.asyncDispose]() {
        asked = true;
        await child.stop();
      },
    };
  });
}

/** Nothing of the shell's: with Twilio's credentials in it, the demo would send real messages. So: the sandbox. */
function environment(
  { stack, apiSecret, redisPrefix, environment: further }: DemoServiceOptions,
  port: number,
): NodeJS.ProcessEnv {
  return {
    ...minimalEnvironment(),
    NODE_ENV: "development",
    HOST: "127.0.0.1",
    PORT: String(port),
    API_SECRET: apiSecret,
    REDIS_URL: stack.redisUrl,
    REDIS_PREFIX: redisPrefix,
    SUPABASE_URL: stack.supabaseUrl,
    SUPABASE_SERVICE_KEY: stack.supabaseServiceKey,
    // 2 s in production, where it waits for a vendor to recover; the sandbox recovers at the next call.
    JOB_BACKOFF_MS: "200",
    // A sandbox that answers at once would be over before anybody has seen the bar move.
    SANDBOX_LATENCY_MS: "150",
    WORKER_CONCURRENCY: "4",
    // Nothing of the demo is worth a longer drain.
    SHUTDOWN_TIMEOUT_MS: "2000",
    ...further,
  };
}

async function answers(url: string): Promise<boolean> {
  const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
  await response?.body?.cancel();
  return response?.ok === true;
}

function tailOf(logFile: string): string {
  return readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-TAIL_LINES).join("\n  ");
}
