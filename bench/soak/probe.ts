/**
 * Loaded into the service with `--import`, because its heap, handles and event loop are seen only from the inside. Writes
 * one JSON line each time to the file that SOAK_PROBE_FILE names; the service itself is src/index.ts, unchanged.
 */
import { appendFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

/** What the process says of itself. */
export interface Inside {
  rssMb: number;
  /** What is left of the heap after the last full collection. */
  liveMb: number;
  handles: number;
  /** The longest delay of the event loop, and its 99th percentile, since the last line, milliseconds. */
  lagMaxMs: number;
  lagP99Ms: number;
}

const EVERY_MS = 1000;
/** With gigabytes to spare, V8 collects so seldom that nobody could tell a leak from garbage; a collection takes some 50 ms. */
const COLLECT_EVERY = 15;
const MB = 2 ** 20;
const file = process.env["SOAK_PROBE_FILE"];

if (file !== undefined) {
  const delay = monitorEventLoopDelay({ resolution: 10 });
  delay.enable();
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  let liveMb = 0;
  let lines = 0;
  const write = (): void => {
    if (lines++ % COLLECT_EVERY === 0) {
      collect();
      liveMb = process.memoryUsage().heapUsed / MB;
    }
    const line: Inside = {
      rssMb: process.memoryUsage.rss() / MB,
      liveMb,
      handles: process.getActiveResourcesInfo().length,
      lagMaxMs: delay.max / 1e6,
      lagP99Ms: delay.percentile(99) / 1e6,
    };
    delay.reset();
    appendFileSync(file, `${JSON.stringify(line)}\n`);
  };
  setInterval(write, EVERY_MS).unref();
}
