import { readFileSync } from "node:fs";
import { ConfigError, readConfig } from "./config.ts";
import { messageOf } from "./core/errors.ts";
import { createLogger } from "./core/logger.ts";
import { CHANNELS } from "./modules.ts";
import { startService } from "./service.ts";

/** From the deadline until the process ends even if something does not let go, milliseconds. */
const LAST_RESORT_MS = 5000;

/** Exit codes: 0 drained, 1 handed back at the deadline or failed, 2 the environment is not complete. */
async function main(): Promise<void> {
  const config = readConfig(process.env, CHANNELS);
  const log = createLogger({ level: config.logLevel });
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };

  const service = await startService(config, { log, version });
  log.info({ url: service.url, version }, "listening");

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

main().catch((error: unknown) => {
  const expected = error instanceof ConfigError || (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  process.stderr.write(`${expected ? messageOf(error) : ((error as Error).stack ?? messageOf(error))}\n`);
  process.exit(error instanceof ConfigError ? 2 : 1);
});
