/**
 * Loaded into the service with `--import`, because its heap, handles and event loop are seen only from the inside. Writes
 * one JSON line each time to the file that SOAK_PROBE_FILE names; the service itself is src/index.ts, unchanged.
 */
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";

/** What the process says of itself. */
export interface Inside {
  rssMb: number;
  heapMb: number;
  handles: number;
  /** The longest delay of the event loop, and its 99th percentile, since the last line, milliseconds. */
  lagMaxMs: number;
  lagP99Ms: number;
}

const EVERY_MS = 1000;
const MB = 2 ** 20;
const file = process.env["SOAK_PROBE_FILE"];

if (file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  const write = (): void => {
    const { rss, heapUsed } = process.memoryUsage();
    const line: Inside = {
      rssMb: rss / MB,
      heapMb: heapUsed / MB,
      handles: process.getActiveResourcesInfo().length,
      lagMaxMs: delay.max / 1e6,
      lagP99Ms: delay.percentile(99) / 1e6,
    };
    delay.reset();
    appendFileSync(file, `${JSON.stringify(line)}\n`);
  };
  setInterval(write, EVERY_MS).unref();
}
