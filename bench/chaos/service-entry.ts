/**
 * src/index.ts, but for the providers of WhatsApp and voice: those speak to the harness' double. Signals and exit codes
 * have to stay the same as there.
 */
import { readConfig } from "../../src/config.ts";
import { createLogger } from "../../src/core/logger.ts";
import { CHANNELS } from "../../src/modules.ts";
import { startService } from "../../src/service.ts";
import { httpProvider } from "./http-provider.ts";

const LAST_RESORT_MS = 5000;

const config = readConfig(process.env, CHANNELS);
const log = createLogger({ level: config.logLevel });
const double = process.env["CHAOS_DOUBLE_URL"] ?? "";
const providers = {
  whatsapp_text: httpProvider("chaos-whatsapp", double),
  ringless_voice: httpProvider("chaos-voice", double),
};
const service = await startService(config, { log, version: "chaos", providers });
log.info({ url: service.url }, "listening");

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
