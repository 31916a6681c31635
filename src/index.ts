import { readFileSync } from "node:fs";
import { ConfigError } from "./config/faults.ts";
import { readConfig } from "./config.ts";
import { messageOf } from "./core/errors.ts";
import { runService } from "./main.ts";
import { CHANNELS } from "./modules.ts";

/** Exit codes: those of `runService`, and 2 when the environment is not right. */
async function main(): Promise<void> {
  const config = readConfig(process.env, CHANNELS);
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8")) as {
    version: string;
  };
  await runService(process, config, { version });
}

main().catch((error: unknown) => {
  const expected = error instanceof ConfigError || (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  process.stderr.write(`${expected ? messageOf(error) : ((error as Error).stack ?? messageOf(error))}\n`);
  process.exit(error instanceof ConfigError ? 2 : 1);
});
