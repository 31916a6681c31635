import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { forget, remember, type Run, SERVICE } from "./stack/run-directory.ts";
import { codeOf, StackError, wordsOf } from "./stack/stack-error.ts";

/** Longer than the service's own deadline for the jobs in hand. */
const DRAIN_TIMEOUT_MS = 40_000;
const POLL_MS = 50;

export interface ServiceProcessOptions {
  /** The program's entry file; it is started again when it, or a file that it imports, changes. */
  readonly entry: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly run: Run;
}

/** The service under `node --watch`, which asks it with SIGTERM to drain before each reload and starts it anew once it has left. */
export interface ServiceProcess {
  /** Settles when the watcher itself has ended. */
  readonly exited: Promise<void>;
  /** SIGTERM, then SIGKILL after 40 s. */
  stop(): Promise<void>;
}

/**
 * Starts the service in a session of its own, so that Ctrl-C reaches it once and through us.
 *
 * @throws {StackError} when it cannot be executed
 */
export async function startServiceProcess(options: ServiceProcessOptions): Promise<ServiceProcess> {
  const { entry, cwd, env, run } = options;
  const child = spawn(process.execPath, ["--watch", "--watch-preserve-output", entry], {
    cwd,
    env,
    stdio: ["ignore", "inherit", "inherit"],
    detached: true,
  });
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject)).catch((error: unknown) => {
    throw new StackError(`cannot start the service: ${wordsOf(error)}`);
  });
  const pid = child.pid ?? 0;
  remember(run, SERVICE, pid, "SIGTERM");
  const exited = new Promise<void>((resolve) => {
    child.once("exit", () => {
      forget(run, SERVICE, pid);
      resolve();
    });
  });
  return {
    exited,
    async stop() {
      const kill = setTimeout(() => signalGroup(pid, "SIGKILL"), DRAIN_TIMEOUT_MS);
      // Only the watcher: it hands the signal on, and the service takes a second one for an order to leave at once.
      child.kill("SIGTERM");
      await exited;
      clearTimeout(kill);
      // A watcher that was killed has left the service behind.
      signalGroup(pid, "SIGTERM");
    },
  };
}

function signalGroup(leader: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

/** Polls until the service answers any HTTP status, or `signal` fires. */
export async function untilAnswers(url: string, signal: AbortSignal): Promise<boolean> {
  while (!signal.aborted) {
    const response = await fetch(url, { signal }).catch(() => undefined);
    await response?.body?.cancel();
    if (response !== undefined) return true;
    await delay(POLL_MS, undefined, { signal }).catch(() => {});
  }
  return false;
}
