import { setTimeout as delay } from "node:timers/promises";
import type { Child } from "./processes.ts";
import { wordsOf } from "./stack-error.ts";

const FIRST_BACKOFF_MS = 50;
const MAX_BACKOFF_MS = 5_000;
const STEADY_MS = 10_000;

/** A server that is kept running. */
export interface Service {
  stop(): Promise<void>;
}

export interface SuperviseOptions {
  readonly name: string;
  /** Starts the server and settles when it is ready; gives up when `stopping` fires. */
  readonly start: (stopping: AbortSignal) => Promise<Child>;
  /** Start it again when it dies; otherwise only say so. */
  readonly supervise: boolean;
  readonly log: (line: string) => void;
}

/**
 * Starts a server and, when asked, starts it again each time it dies: after 50 ms, doubled up to 5 s, and 50 ms again
 * once it has lasted 10 s.
 *
 * States: running → (dies) waiting → starting → running; `stop` ends it from any of them.
 */
export async function supervised(options: SuperviseOptions): Promise<Service> {
  const { name, start, log } = options;
  const stopping = new AbortController();
  let child: Child = await start(stopping.signal);

  async function watch(): Promise<void> {
    let backoffMs = FIRST_BACKOFF_MS;
    while (!stopping.signal.aborted) {
      const since = Date.now();
      const how = await child.exited;
      if (stopping.signal.aborted) return;
      if (!options.supervise) return log(`${name} (pid ${child.pid}) died: ${how}`);
      if (Date.now() - since > STEADY_MS) backoffMs = FIRST_BACKOFF_MS;
      log(`${name} (pid ${child.pid}) died: ${how}; starting it again`);
      await restart();
    }

    async function restart(): Promise<void> {
      for (;;) {
        await delay(backoffMs, undefined, { signal: stopping.signal }).catch(() => {});
        backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
        if (stopping.signal.aborted) return;
        try {
          child = await start(stopping.signal);
          if (!stopping.signal.aborted) log(`${name} is back (pid ${child.pid})`);
          return;
        } catch (error) {
          if (!stopping.signal.aborted) log(`${name} did not start again: ${wordsOf(error)}`);
        }
      }
    }
  }

  const watching = watch();
  return {
    async stop() {
      stopping.abort();
      await child.stop();
      await watching;
      // A restart that was under way when the stop came has put another child in place by now.
      await child.stop();
    },
  };
}
