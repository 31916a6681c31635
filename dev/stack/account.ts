import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** A system user to run a program as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
}

/** The user that Postgres runs as: `nobody` when we are root, which Postgres refuses to be; undefined otherwise. */
export function postgresAccount(): Account | undefined {
  if (process.getuid?.() !== 0) return undefined;
  const fields = accountLine("nobody")?.split(":") ?? [];
  return { uid: Number(fields[2] ?? 65_534), gid: Number(fields[3] ?? 65_534) };
}

/** Whether a program that runs as `account` can enter and write a directory: every directory above it counts. */
export function canWrite(account: Account | undefined, directory: string): boolean {
  const test = spawnSync("/bin/sh", ["-c", 'test -w "$0" && test -x "$0"', directory], { cwd: "/", ...account });
  return test.status === 0;
}

function accountLine(name: string): string | undefined {
  try {
    const lines = readFileSync("/etc/passwd", "utf8").split("\n");
    return lines.find((line) => line.startsWith(`${name}:`));
  } catch {
    return undefined;
  }
}
