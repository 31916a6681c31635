import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { StackError, wordsOf } from "./stack/stack-error.ts";

/** The repository. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));

/** The directory that a command keeps its data in: DATA_DIR, against the working directory; else `.data` of the repository. */
export function dataDirectory(env: NodeJS.ProcessEnv): string {
  return env["DATA_DIR"] ? resolve(env["DATA_DIR"]) : resolve(ROOT, ".data");
}

/** A line for the person at the terminal: standard output is for what programs read. */
export function say(line: string): void {
  process.stderr.write(`${line}\n`);
}

/** npm hands on the Ctrl-C that the terminal sends to us too: within this time the two are one. */
const SAME_SIGNAL_MS = 300;
const PARENT_POLL_MS = 250;

/**
 * Runs a command until it is asked to stop. The first SIGINT, SIGTERM or SIGHUP aborts `stopping`; a second one ends the
 * process at once with 130, and the stack's watchdog stops what is left. An expected fault prints its words and exits 1.
 */
export async function runCommand(main: (stopping: AbortSignal) => Promise<void>): Promise<void> {
  const stopping = new AbortController();
  let firstAt = 0;
  const stop = (): void => {
    if (stopping.signal.aborted && Date.now() - firstAt > SAME_SIGNAL_MS) process.exit(130);
    if (stopping.signal.aborted) return;
    firstAt = Date.now();
    say("stopping (again to force)");
    stopping.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  // Nobody reads any more: no reason to leave the servers behind.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => {});
  process.on("uncaughtException", (error) => {
    report(error);
    process.exit(1);
  });
  if (process.env["npm_lifecycle_event"] !== undefined) whenParentDies(stop);
  try {
    await main(stopping.signal);
    process.exit(0);
  } catch (error) {
    report(error);
    process.exit(1);
  }
}

/** The shell that npm runs a script in dies of a SIGTERM to npm and hands nothing on. */
function whenParentDies(stop: () => void): void {
  const parent = process.ppid;
  const timer = setInterval(() => {
    if (process.ppid === parent) return;
    clearInterval(timer);
    stop();
  }, PARENT_POLL_MS);
  timer.unref();
}

/** Settles when the command is asked to stop. */
export function untilStopped(stopping: AbortSignal): Promise<void> {
  const { promise, resolve: settle } = Promise.withResolvers<void>();
  if (stopping.aborted) settle();
  stopping.addEventListener("abort", () => settle(), { once: true });
  return promise;
}

function report(error: unknown): void {
  say(`error: ${wordsOf(error)}`);
  if (process.env["DEBUG"] === "1") say(String(error instanceof Error ? error.stack : error));
  else if (!(error instanceof StackError)) say("(this was not expected: set DEBUG=1 to see where it came from)");
}
