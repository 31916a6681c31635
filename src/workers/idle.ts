import type { startEpoch } from "./epoch.ts";
import type { startFeeder } from "./feeder.ts";
import type { startWorkers } from "./index.ts";
import type { startOutbox } from "./outbox.ts";
import type { startSweeper } from "./sweeper.ts";

/** All that works, as `startService` starts it. */
export interface Work {
  startEpoch: typeof startEpoch;
  startWorkers: typeof startWorkers;
  startFeeder: typeof startFeeder;
  startOutbox: typeof startOutbox;
  startSweeper: typeof startSweeper;
}

const stop = async (): Promise<void> => {};

/** In a process that only takes requests, nothing does. */
export const IDLE: Work = {
  startEpoch: () => ({ known: new Promise(() => {}), stop }),
  startWorkers: () => ({
    progress: [],
    lanes: { open: () => ({ setConcurrency: () => {}, close: stop }) },
    taken: () => 0,
    held: () => 0,
    drain: async () => true,
  }),
  startFeeder: () => ({ wake: () => {}, stop }),
  startOutbox: () => ({ wake: () => {}, stop }),
  startSweeper: () => ({ hurry: () => {}, stop }),
};
