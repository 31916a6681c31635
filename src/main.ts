import type { Config } from "./config.ts";
import { createLogger } from "./core/logger.ts";
import { startService, type Overrides } from "./service.ts";

/** From the deadline until the process ends even if something does not let go, milliseconds. */
export const LAST_RESORT_MS = 5000;

/**
 * Runs the service as this process, until a signal ends both. A second signal is the deadline.
 *
 * Exit codes: 0 drained, 1 handed back at the deadline or failed.
 */
export async function runService(process: NodeJS.Process, config: Config, overrides: Overrides = {}): Promise<void> {
  const log = overrides.log ?? createLogger({ level: config.logLevel });
  const service = await startService(config, { ...overrides, log });
  log.info({ url: service.url, version: overrides.version }, "listening");

  const deadline = new AbortController();
  deadline.signal.addEventListener("abort", () => {
    setTimeout(() => {
      log.fatal("something did not let go after the deadline");
      process.exit(1);
    }, LAST_RESORT_MS).unref();
  });
  let signals = 0;
  const onSignal = (signal: NodeJS.Signals): void => {
    signals += 1;
    if (signals > 1) {
      log.warn({ signal }, "second signal: handing running work back now");
      deadline.abort();
      return;
    }
    log.info({ signal, timeoutMs: config.shutdownTimeoutMs }, "signal received");
    const timer = setTimeout(() => deadline.abort(), config.shutdownTimeoutMs);
    service.stop(deadline.signal).then(
      (drained) => {
        clearTimeout(timer);
        process.exit(drained ? 0 : 1);
      },
      (error: unknown) => {
        log.error({ err: error }, "stopping failed");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", onSignal);
  process.on("SIGINT", onSignal);
}
