import { spawn, spawnSync } from "node:child_process";
import { findOnPath } from "./binaries.ts";

/** One way to install a program without a question. */
export interface Recipe {
  readonly tool: string;
  readonly commands: readonly (readonly string[])[];
  readonly needsRoot: boolean;
}

/**
 * Installs a program with the system's package manager, where that needs no question: as root, with a password-less sudo,
 * or with Homebrew. May take a minute.
 *
 * @param what the program, for the line that is logged
 * @returns why it could not, in words; undefined when it went well
 */
export async function installWith(
  recipes: readonly Recipe[],
  what: string,
  log: (line: string) => void,
): Promise<string | undefined> {
  const recipe = recipes.find(({ tool }) => findOnPath(tool) !== undefined);
  if (recipe === undefined) return "no package manager known here could install it";
  const prefix = recipe.needsRoot ? rootPrefix() : [];
  if (prefix === undefined) return `installing it with ${recipe.tool} needs root`;
  log(`no ${what} here: installing it with ${recipe.tool}`);
  for (const command of recipe.commands) {
    const failure = await runQuietly([...prefix, ...command]);
    // A failed refresh of one list need not hinder the installation.
    if (failure !== undefined && command === recipe.commands.at(-1)) return `"${command.join(" ")}" failed: ${failure}`;
  }
  return undefined;
}

/** What makes a command run as root without a question; undefined when nothing does. */
function rootPrefix(): string[] | undefined {
  if (process.getuid?.() === 0) return [];
  const sudo = findOnPath("sudo") !== undefined && spawnSync("sudo", ["-n", "true"], { stdio: "ignore" }).status === 0;
  return sudo ? ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive"] : undefined;
}

/** Runs a command with no terminal; answers the last line it printed when it fails. */
async function runQuietly([file = "", ...args]: readonly string[]): Promise<string | undefined> {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", HOMEBREW_NO_AUTO_UPDATE: "1" };
  const child = spawn(file, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let printed = "";
  for (const stream of [child.stdout, child.stderr])
    stream.on("data", (chunk: Buffer) => (printed += chunk.toString()));
  const code = await new Promise((resolve) => child.once("close", resolve).once("error", () => resolve(-1)));
  return code === 0 ? undefined : (printed.trim().split("\n").at(-1) ?? `exit code ${String(code)}`);
}
