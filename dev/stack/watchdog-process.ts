/**
 * The process beside a launcher that outlives it: when the launcher is gone, however it went, standard input ends, and
 * what the launcher left running is stopped. Arguments: the run directory, the run's id, directories to remove.
 */
import { rmSync } from "node:fs";
import { stopRecorded } from "./run-directory.ts";

const [directory = "", runId = "", ...temporary] = process.argv.slice(2);

process.stdin.resume();
process.stdin.once("error", () => process.stdin.emit("end"));
process.stdin.once("end", () => {
  void cleanUp();
});

async function cleanUp(): Promise<void> {
  try {
    await stopRecorded(directory, (record) => record.runId === runId);
  } finally {
    for (const path of temporary) rmSync(path, { recursive: true, force: true });
    process.exit();
  }
}
