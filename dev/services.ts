/** `npm run services`: Redis, Postgres and PostgREST for development, in the foreground, until Ctrl-C. */
import { chmodSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { dataDirectory, runCommand, say, untilStopped } from "./command.ts";
import { startStack } from "./stack/index.ts";

const USAGE = "usage: npm run services [-- --env-file PATH]   (data in DATA_DIR, default .data)";

const envFile = readArguments();
if (envFile === undefined) {
  say(USAGE);
  process.exit(2);
}
await runCommand(async (stopping) => {
  const redisUrl = process.env["REDIS_URL"] || undefined;
  const dataDir = dataDirectory(process.env);
  await using stack = await startStack({ dataDir, redisUrl, supervise: true, log: say });
  if (stopping.aborted) return;
  const lines = [
    `REDIS_URL=${stack.redisUrl}`,
    `SUPABASE_URL=${stack.supabaseUrl}`,
    `SUPABASE_SERVICE_KEY=${stack.supabaseServiceKey}`,
    `DATABASE_URL=${stack.databaseUrl}`,
  ];
  if (envFile !== "") {
    writeFileSync(envFile, `${lines.join("\n")}\n`, { mode: 0o600 });
    // The mode above counts only for a new file.
    chmodSync(envFile, 0o600);
  }
  process.stdout.write(`${lines.join("\n")}\nready\n`);
  await untilStopped(stopping);
});

/** The file to write the variables to, empty for none; undefined when the arguments make no sense. */
function readArguments(): string | undefined {
  try {
    return parseArgs({ options: { "env-file": { type: "string", default: "" } } }).values["env-file"];
  } catch {
    return undefined;
  }
}
