import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import type { Account } from "./account.ts";

/** The package that carries the binaries as its dependencies; npm may place them inside it or beside it. */
const embedded = createRequire(new URL("../embedded/package.json", import.meta.url));

/** The first executable of that name on a search path; default the process's PATH. */
export function findOnPath(name: string, searchPath: string = process.env["PATH"] ?? ""): string | undefined {
  const candidates = searchPath.split(delimiter).filter((directory) => directory !== "");
  return candidates.map((directory) => join(directory, name)).find(isExecutable);
}

/** The directory of an installed npm package; undefined when this platform has none. */
export function packageDirectory(name: string): string | undefined {
  for (const base of embedded.resolve.paths(name) ?? []) {
    const directory = join(base, name);
    if (isReadable(join(directory, "package.json"))) return directory;
  }
  return undefined;
}

/** What `<file> --version` prints when run as `account`; undefined when it cannot run at all there. */
export function versionOf(
  file: string,
  options: { account?: Account | undefined; argv0?: string | undefined } = {},
): string | undefined {
  const { account, argv0 } = options;
  const result = spawnSync(file, ["--version"], {
    cwd: "/",
    encoding: "utf8",
    timeout: 10_000,
    ...account,
    ...(argv0 === undefined ? {} : { argv0 }),
  });
  return result.status === 0 ? result.stdout.trim() : undefined;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isReadable(file: string): boolean {
  try {
    accessSync(file, constants.R_OK);
    return true;
  } catch {
    return false;
  }
}
