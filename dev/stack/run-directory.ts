import { randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { identityOf } from "./identity.ts";
import { codeOf, StackError } from "./stack-error.ts";

/** The name that the service under development is recorded under. */
export const SERVICE = "service";

const LAUNCHER = "launcher.lock";
const POLL_MS = 10;
const STOP_TIMEOUT_MS = 10_000;

/** Where a stack records its processes, and the id of the launcher's run that records them. Plain data. */
export interface Run {
  readonly directory: string;
  readonly id: string;
}

/** One recorded process: enough to find it again after the launcher's death, and never to take another one for it. */
export interface ProcessRecord {
  readonly name: string;
  readonly pid: number;
  readonly identity: string;
  readonly runId: string;
  readonly stopSignal: NodeJS.Signals;
}

/**
 * Takes a run directory for this process and stops what an earlier launcher left behind in it.
 *
 * @throws {StackError} while another live launcher holds the directory
 */
export async function claimRun(directory: string, log: (line: string) => void): Promise<Run> {
  mkdirSync(directory, { recursive: true });
  const run = { directory, id: randomBytes(6).toString("hex") };
  takeLock(run);
  for (const record of await stopRecorded(directory, (found) => found.runId !== run.id)) {
    log(`stopped ${record.name} (pid ${record.pid}), left behind by an earlier launcher`);
  }
  return run;
}

/** Gives the run directory back; call it once every process of the run has stopped. */
export function releaseRun(run: Run): void {
  const lock = join(run.directory, LAUNCHER);
  if (readRecord(lock)?.runId === run.id) rmSync(lock, { force: true });
}

/** Records a live process, so that the watchdog or the next launcher can stop it. */
export function remember(run: Run, name: string, pid: number, stopSignal: NodeJS.Signals): void {
  const identity = identityOf(pid);
  if (identity === undefined) return;
  const entry: ProcessRecord = { name, pid, identity, runId: run.id, stopSignal };
  writeFileSync(fileOf(run.directory, entry), JSON.stringify(entry));
}

/** Forgets a process that has exited. */
export function forget(run: Run, name: string, pid: number): void {
  rmSync(fileOf(run.directory, { name, pid, runId: run.id }), { force: true });
}

/** The recorded processes of a run directory, dead or alive. */
export function recorded(directory: string): ProcessRecord[] {
  const files = readdirSync(directory).filter((file) => file.endsWith(".json"));
  return files.flatMap((file) => readRecord(join(directory, file)) ?? []);
}

/**
 * Stops every recorded process that fits `wanted` and still is the process that was recorded.
 *
 * @returns the records of those that were alive
 */
export async function stopRecorded(
  directory: string,
  wanted: (record: ProcessRecord) => boolean,
): Promise<ProcessRecord[]> {
  const records = recorded(directory).filter(wanted);
  const alive = records.filter((record) => identityOf(record.pid) === record.identity);
  // The service first: it drains into the servers.
  const [service, servers] = [alive.filter(isService), alive.filter((record) => !isService(record))];
  for (const group of [service, servers]) {
    await Promise.all(group.map((record) => stopPid(record.pid, record.identity, record.stopSignal)));
  }
  for (const record of records) rmSync(fileOf(directory, record), { force: true });
  return alive;
}

function isService(record: ProcessRecord): boolean {
  return record.name === SERVICE;
}

/** Signals a process and waits until it is gone; after 10 s, SIGKILL. Does nothing when the pid is another process by now. */
export async function stopPid(pid: number, identity: string, signal: NodeJS.Signals): Promise<void> {
  const deadline = Date.now() + STOP_TIMEOUT_MS;
  sendSignal(pid, identity, signal);
  while (identityOf(pid) === identity) {
    if (Date.now() > deadline) sendSignal(pid, identity, "SIGKILL");
    await delay(POLL_MS);
  }
}

function sendSignal(pid: number, identity: string, signal: NodeJS.Signals): void {
  if (identityOf(pid) !== identity) return;
  try {
    // Every recorded process leads a group; at last, what it has started goes with it.
    process.kill(signal === "SIGKILL" ? -pid : pid, signal);
  } catch (error) {
    if (codeOf(error) !== "ESRCH") throw error;
  }
}

function takeLock(run: Run): void {
  const lock = join(run.directory, LAUNCHER);
  const identity = identityOf(process.pid) ?? "";
  const entry: ProcessRecord = { name: "launcher", pid: process.pid, identity, runId: run.id, stopSignal: "SIGTERM" };
  for (;;) {
    try {
      return writeFileSync(lock, JSON.stringify(entry), { flag: "wx" });
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
    }
    const holder = readRecord(lock);
    if (holder !== undefined && identityOf(holder.pid) === holder.identity) {
      throw new StackError(
        `another launcher (pid ${holder.pid}) is already running on ${join(run.directory, "..")}: ` +
          `stop it, or set DATA_DIR to another directory`,
      );
    }
    dropStaleLock(lock, run.id);
  }
}

/** Of two launchers that find the same stale lock only one can rename it, so neither deletes the other's fresh one. */
function dropStaleLock(lock: string, runId: string): void {
  const aside = `${lock}.${runId}`;
  try {
    renameSync(lock, aside);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    return;
  }
  const taken = readRecord(aside);
  const live = taken !== undefined && identityOf(taken.pid) === taken.identity;
  if (live) renameSync(aside, lock);
  else rmSync(aside, { force: true });
}

function readRecord(file: string): ProcessRecord | undefined {
  try {
    const record: ProcessRecord = JSON.parse(readFileSync(file, "utf8"));
    return record;
  } catch {
    return undefined;
  }
}

function fileOf(directory: string, { name, pid, runId }: Pick<ProcessRecord, "name" | "pid" | "runId">): string {
  return join(directory, `${name}-${runId}-${pid}.json`);
}
