import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Account, canWrite } from "./account.ts";
import type { PostgresBinaries } from "./postgres-binaries.ts";
import { minimalEnvironment } from "./processes.ts";
import { StackError, wordsOf } from "./stack-error.ts";

const execute = promisify(execFile);

export interface ClusterOptions {
  readonly dataDir: string;
  readonly binaries: PostgresBinaries;
  readonly account: Account | undefined;
  /** Of the superuser `postgres`, when the cluster is made. */
  readonly password: string;
  readonly log: (line: string) => void;
}

/**
 * The directory of a data directory's database cluster, made at the first start.
 *
 * @throws {StackError} when it was made by another major version, or Postgres's user can reach no place for it
 */
export async function openCluster(options: ClusterOptions): Promise<string> {
  const { dataDir, binaries, account, log } = options;
  const cluster = join(clusterHome(dataDir, account, log), "cluster");
  if (!existsSync(join(cluster, "PG_VERSION"))) await createCluster(cluster, options);
  checkVersion(cluster, binaries);
  return cluster;
}

/** Where root's Postgres keeps the cluster of a data directory that its user cannot reach. */
export function relocatedHome(dataDir: string): string {
  return `/var/lib/auto-prospect/${createHash("sha256").update(dataDir).digest("hex").slice(0, 12)}`;
}

/** The directory for the cluster, made if need be: in the data directory, or as root where Postgres's user can reach it. */
function clusterHome(dataDir: string, account: Account | undefined, log: (line: string) => void): string {
  const [inside, relocated] = [join(dataDir, "postgres"), relocatedHome(dataDir)];
  const marker = join(dataDir, "postgres.location");
  if (!existsSync(marker)) {
    if (ownedAndReachable(inside, account)) return inside;
    rmSync(inside, { recursive: true });
    // What is there belongs to an earlier data directory of this name, which somebody has removed.
    rmSync(relocated, { recursive: true, force: true });
    writeFileSync(marker, `${relocated}\n`);
  }
  if (!ownedAndReachable(relocated, account)) {
    throw new StackError(
      `Postgres does not run as root, and the user it runs as can reach neither ${inside} nor ${relocated}: ` +
        "set DATA_DIR to a directory that every user can enter",
    );
  }
  log(`the database lives in ${relocated}: the user that Postgres runs as cannot reach ${dataDir}`);
  return relocated;
}

function ownedAndReachable(home: string, account: Account | undefined): boolean {
  mkdirSync(home, { recursive: true, mode: 0o755 });
  if (account !== undefined) chownSync(home, account.uid, account.gid);
  chmodSync(home, 0o700);
  const cluster = join(home, "cluster");
  // Made by a launcher that was not root.
  if (account !== undefined && existsSync(cluster) && statSync(cluster).uid !== account.uid) {
    execFileSync("chown", ["-R", `${account.uid}:${account.gid}`, cluster]);
  }
  return canWrite(account, home);
}

/** Makes the cluster beside its place and renames it, so that an interrupted first start leaves nothing half done. */
async function createCluster(cluster: string, { binaries, account, password }: ClusterOptions): Promise<void> {
  const [fresh, passwordFile] = [`${cluster}.new`, `${cluster}.password`];
  rmSync(fresh, { recursive: true, force: true });
  writeFileSync(passwordFile, password, { mode: 0o600 });
  if (account !== undefined) chownSync(passwordFile, account.uid, account.gid);
  // C.UTF-8 folds accents in lower() and ilike, as a hosted database does; before version 17 it depends on the machine.
  const locale = binaries.major >= 17 ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] : [];
  const args = ["-D", fresh, "-U", "postgres", "--pwfile", passwordFile, "--auth", "scram-sha-256", "--no-sync"];
  try {
    await execute(binaries.initdb, [...args, "--encoding=UTF8", "--locale=C", ...locale], {
      cwd: "/",
      env: minimalEnvironment(),
      ...account,
    });
  } catch (error) {
    // Its message ends with what initdb has written to standard error.
    throw new StackError(`initdb failed: ${wordsOf(error).trim()}`, { cause: error });
  } finally {
    rmSync(passwordFile, { force: true });
  }
  renameSync(fresh, cluster);
}

function checkVersion(cluster: string, { major }: PostgresBinaries): void {
  const made = readFileSync(join(cluster, "PG_VERSION"), "utf8").trim();
  if (made === String(major)) return;
  throw new StackError(
    `the data in ${cluster} was made by Postgres ${made}, and this is ${major}: remove it, or set DATA_DIR to another directory`,
  );
}
