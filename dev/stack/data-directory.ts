import { accessSync, chmodSync, constants, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { relocatedHome } from "./postgres-cluster.ts";
import { StackError, wordsOf } from "./stack-error.ts";

/** A stack's directory, and what has to be removed with the stack. */
export interface DataDirectory {
  readonly dataDir: string;
  readonly temporary: readonly string[];
}

/**
 * Opens a directory that is kept, or makes a temporary one when none is asked for.
 *
 * @throws {StackError} when this user cannot write there
 */
export function openDataDirectory(asked: string | undefined): DataDirectory {
  if (asked !== undefined) return { dataDir: openKept(asked), temporary: [] };
  const dataDir = realpathSync(mkdtempSync(join(tmpdir(), "auto-prospect-")));
  // As root, the user that Postgres runs as has to pass through.
  chmodSync(dataDir, 0o711);
  return { dataDir, temporary: [dataDir, relocatedHome(dataDir)] };
}

function openKept(asked: string): string {
  const inside = ["run", "secrets.json"].map((name) => join(asked, name));
  try {
    mkdirSync(asked, { recursive: true });
    // What is inside may be another user's, left by a start as root.
    for (const path of [asked, ...inside.filter(existsSync)]) accessSync(path, constants.R_OK | constants.W_OK);
    return realpathSync(asked);
  } catch (error) {
    throw new StackError(`cannot keep data in ${asked}: ${wordsOf(error)}; set DATA_DIR to a directory of your own`, {
      cause: error,
    });
  }
}

/** The servers' logs, of this start only: `<dataDir>/logs`. */
export function freshLogDirectory(dataDir: string): string {
  const directory = join(dataDir, "logs");
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory);
  return directory;
}
