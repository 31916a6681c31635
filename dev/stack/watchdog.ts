import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { Run } from "./run-directory.ts";

const SCRIPT = fileURLToPath(new URL("./watchdog-process.ts", import.meta.url));
const RESTART_AFTER_MS = 1_000;

/**
 * Starts the process that stops a run's servers, and removes its temporary directories, when this one dies without doing
 * so. It learns of the death from its standard input, which the system closes then.
 *
 * @returns ends the watchdog; call it once nothing is left for it to do
 */
export function startWatchdog(run: Run, temporary: readonly string[]): () => void {
  let watchdog: ChildProcess;
  let timer: NodeJS.Timeout | undefined;
  const start = (): void => {
    watchdog = spawn(process.execPath, [SCRIPT, run.directory, run.id, ...temporary], {
      cwd: "/",
      stdio: ["pipe", "ignore", "ignore"],
      detached: true,
    });
    watchdog.once("error", () => {});
    watchdog.stdin?.on("error", () => {});
    watchdog.once("exit", () => {
      timer = setTimeout(start, RESTART_AFTER_MS).unref();
    });
    watchdog.unref();
  };
  start();
  return () => {
    watchdog.removeAllListeners("exit");
    clearTimeout(timer);
    watchdog.kill("SIGKILL");
  };
}
