import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/**
 * A text that tells one process from every other that had or will have its pid: its start time, on Linux with the id
 * of the boot. A recycled pid gives another text, so a recorded pid is only ever signalled when this still matches.
 *
 * @returns undefined when there is no such process, or when it is a zombie that waits to be reaped
 */
export function identityOf(pid: number): string | undefined {
  return process.platform === "linux" ? linuxIdentity(pid) : psIdentity(pid);
}

/** The command line of a process, arguments joined by spaces; empty when it is gone or hidden. */
export function commandLineOf(pid: number): string {
  try {
    if (process.platform === "linux") return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
    return execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8", stdio: "pipe" }).trim();
  } catch {
    return "";
  }
}

function linuxIdentity(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const [state, startTicks] = [fields[0], fields[19]];
    if (state === "Z" || state === "X" || startTicks === undefined) return undefined;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}:${startTicks}`;
  } catch {
    return undefined;
  }
}

function psIdentity(pid: number): string | undefined {
  try {
    const args = ["-o", "stat=,lstart=", "-p", String(pid)];
    const [state, ...started] = execFileSync("ps", args, { encoding: "utf8", stdio: "pipe" }).trim().split(/\s+/);
    return state === undefined || state.startsWith("Z") ? undefined : started.join(" ");
  } catch {
    return undefined;
  }
}
