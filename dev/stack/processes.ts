import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Account } from "./account.ts";
import { identityOf } from "./identity.ts";
import { forget, remember, type Run, stopPid } from "./run-directory.ts";
import { PortTakenError, StackError, wordsOf } from "./stack-error.ts";

const POLL_MS = 10;
const READY_TIMEOUT_MS = 30_000;
const TAIL_LINES = 6;

/** How to start one server of the stack. */
export interface LaunchOptions {
  readonly name: string;
  readonly file: string;
  readonly args: readonly string[];
  /** What the program sees as its own name; default `file`. */
  readonly argv0?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** Runs the program as this user; only root can. */
  readonly account?: Account | undefined;
  /** Working directory; default `/`, which every user can enter. */
  readonly cwd?: string;
  /** Receives stdout and stderr, appended. */
  readonly logFile: string;
  /** What asks the program to stop in order; default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
  readonly run: Run;
}

/** A running server. `exited` settles when it is gone; `stop` asks, waits 10 s, then kills. */
export interface Child {
  readonly name: string;
  readonly pid: number;
  readonly exited: Promise<string>;
  readonly logFile: string;
  isAlive(): boolean;
  stop(): Promise<void>;
}

/**
 * Starts a server in a session of its own, so that Ctrl-C in the terminal reaches only the launcher, and records its pid.
 *
 * @throws {StackError} when the program cannot be executed
 */
export async function launch(options: LaunchOptions): Promise<Child> {
  const { name, run, logFile, stopSignal = "SIGTERM" } = options;
  const log = openSync(logFile, "a", 0o600);
  let child: ChildProcess;
  try {
    child = spawn(options.file, options.args, {
      cwd: options.cwd ?? "/",
      env: options.env ?? minimalEnvironment(),
      stdio: ["ignore", log, log],
      detached: true,
      ...(options.argv0 === undefined ? {} : { argv0: options.argv0 }),
      ...options.account,
    });
    await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  } catch (error) {
    throw new StackError(`cannot start ${name} (${options.file}): ${wordsOf(error)}`, { cause: error });
  } finally {
    closeSync(log);
  }
  const pid = child.pid ?? 0;
  const identity = identityOf(pid);
  remember(run, name, pid, stopSignal);
  let alive = true;
  const exited = new Promise<string>((resolve) => {
    child.once("exit", (code, signal) => {
      alive = false;
      forget(run, name, pid);
      resolve(signal === null ? `exit code ${code}` : `signal ${signal}`);
    });
  });
  return {
    name,
    pid,
    exited,
    logFile,
    isAlive: () => alive,
    async stop() {
      if (alive && identity !== undefined) await stopPid(pid, identity, stopSignal);
      await exited;
    },
  };
}

/**
 * Polls `probe` until it answers true, for 30 s at most. An error of the probe ends it at once.
 *
 * @throws {StackError} when the server exits first, the time is over or `stopping` fires, with the server stopped; the
 *   message ends with the end of its log
 */
export async function untilReady(child: Child, probe: () => Promise<boolean>, stopping?: AbortSignal): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  try {
    while (!(await probe())) {
      if (!child.isAlive()) {
        const tail = tailOf(child.logFile);
        const kind = /address (already )?in use/i.test(tail) ? PortTakenError : StackError;
        throw new kind(`${child.name} stopped while starting (${await child.exited})${tail}`);
      }
      if (Date.now() > deadline || stopping?.aborted === true) {
        throw new StackError(`${child.name} was not ready in time${tailOf(child.logFile)}`);
      }
      await delay(POLL_MS);
    }
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** The last lines of a server's log as the end of an error message; empty when there is none. */
function tailOf(logFile: string): string {
  const lines = readFileSync(logFile, "utf8").trimEnd().split("\n").slice(-TAIL_LINES);
  return lines.join("").trim() === "" ? "" : `; the end of its log (${basename(logFile)}):\n  ${lines.join("\n  ")}`;
}

/** PG* and PGRST_* variables of the user's shell must not change the servers, so they get none of it. */
export function minimalEnvironment(): NodeJS.ProcessEnv {
  return { PATH: process.env["PATH"] ?? "", TZ: "UTC", LC_ALL: "C", HOME: "/" };
}
