import { readFileSync } from "node:fs";

/** The kernel's clock ticks a second, as user space sees them everywhere. */
const TICKS = 100;

/**
 * Processor time so far of a process, of its children and of those that it has outlived, seconds; NaN where /proc does
 * not tell. Postgres is a process for each connection.
 */
export function cpuSecondsOf(pid: number): number {
  if (process.platform !== "linux") return Number.NaN;
  const [user, system, endedUser, endedSystem] = timesOf(pid);
  const living = read(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean).map(Number);
  const ticks = user + system + endedUser + endedSystem;
  return living.reduce((sum, child) => sum + cpuSecondsOf(child), ticks / TICKS);
}

/** Fields 14 to 17 of the kernel's line, counted after the name, which may hold spaces; nothing of a process that has gone. */
function timesOf(pid: number): [number, number, number, number] {
  const line = read(`/proc/${pid}/stat`);
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const at = (field: number): number => Number(fields[field - 3] ?? 0);
  return [at(14), at(15), at(16), at(17)];
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
