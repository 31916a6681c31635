/** `npm run dev`: the embedded stack and the service, reloaded when a source file changes, until Ctrl-C. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { dataDirectory, ROOT, runCommand, say, untilStopped } from "./command.ts";
import { startServiceProcess, untilAnswers } from "./service-process.ts";
import { startStack, type Stack } from "./stack/index.ts";
import { isFree } from "./stack/ports.ts";
import { redisAnswers } from "./stack/redis.ts";
import { StackError } from "./stack/stack-error.ts";

const DEFAULT_SECRET = "dev-secret";
const SLOW_START_MS = 15_000;

if (process.argv.length > 2) {
  say("usage: npm run dev   (PORT, API_SECRET, DATA_DIR and the like from the environment or .env)");
  process.exit(2);
}

await runCommand(async (stopping) => {
  const dotenv = join(ROOT, ".env");
  // What the environment already has wins.
  if (existsSync(dotenv)) process.loadEnvFile(dotenv);
  const { env } = process;
  const port = portOf(env["PORT"] || "3000");
  if (!(await isFree(port))) {
    throw new StackError(`port ${port} is taken by another program: stop it, or set PORT to another one`);
  }
  await using stack = await startStack({
    dataDir: dataDirectory(env),
    redisUrl: await usableRedis(env["REDIS_URL"]),
    supervise: true,
    log: say,
  });
  if (stopping.aborted) return;
  await addDemoAccount(stack.databaseUrl);
  if (env["SUPABASE_URL"] && env["SUPABASE_URL"] !== stack.supabaseUrl) {
    say("SUPABASE_URL is not used: npm run dev keeps to its own database; npm start uses yours");
  }
  const secret = env["API_SECRET"] || DEFAULT_SECRET;
  const service = await startServiceProcess({
    entry: join(ROOT, "src", "index.ts"),
    cwd: ROOT,
    env: {
      ...env,
      NODE_ENV: env["NODE_ENV"] || "development",
      PORT: String(port),
      // The default secret is no secret: nobody else on the network may use it.
      HOST: env["HOST"] || "127.0.0.1",
      API_SECRET: secret,
      SUPPRESSION_SALT: env["SUPPRESSION_SALT"] || stack.suppressionSalt,
      // So that webhooks can be received by a web app beside it. Production refuses it.
      ...(env["NODE_ENV"] === "production" ? {} : { WEBHOOK_ALLOW_LOOPBACK: env["WEBHOOK_ALLOW_LOOPBACK"] || "true" }),
      REDIS_URL: stack.redisUrl,
      SUPABASE_URL: stack.supabaseUrl,
      SUPABASE_SERVICE_KEY: stack.supabaseServiceKey,
    },
    run: stack.run,
  });
  const url = `http://localhost:${port}`;
  const slow = AbortSignal.timeout(SLOW_START_MS);
  if (await untilAnswers(`${url}/health`, AbortSignal.any([stopping, slow]))) announce(url, secret, stack);
  else if (!stopping.aborted)
    say(`the service does not answer on ${url} yet: see above; it starts again when a file changes`);
  await Promise.race([untilStopped(stopping), service.exited]);
  await service.stop();
  if (!stopping.aborted) throw new StackError("the service and its watcher have ended; everything else is stopped too");
});

/** The account that the README's first call names. */
async function addDemoAccount(databaseUrl: string): Promise<void> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  await client.query("insert into accounts (id) values ('demo') on conflict do nothing");
  await client.end();
}

function portOf(text: string): number {
  const port = Number(text);
  if (Number.isInteger(port) && port > 0 && port < 65_536) return port;
  throw new StackError(`PORT is ${text}: write a number from 1 to 65535`);
}

/** An address from a copied .env where nothing answers must not keep a newcomer from starting. */
async function usableRedis(redisUrl: string | undefined): Promise<string | undefined> {
  if (!redisUrl || !URL.canParse(redisUrl)) return undefined;
  if (await redisAnswers(redisUrl)) return redisUrl;
  say(`no Redis answers at REDIS_URL (${new URL(redisUrl).host}): starting one`);
  return undefined;
}

function announce(url: string, secret: string, stack: Stack): void {
  const rows = [
    ["API", `${url}   (Authorization: Bearer ${secret === DEFAULT_SECRET ? secret : "<your API_SECRET>"})`],
    ["Health", `${url}/health`],
    ["Docs", `${url}/docs`],
    ["OpenAPI", `${url}/openapi.json`],
    ["Console", `${url}/admin`],
    ["Queues", `${url}/admin/queues`],
    ["Account", "demo"],
    ["Database", `psql ${stack.databaseUrl}`],
    ["Supabase", `${stack.supabaseUrl}/rest/v1`],
    ["Redis", stack.redisUrl],
    ["Data", stack.dataDir],
  ];
  say(
    [
      "",
      ...rows.map(([name = "", value = ""]) => `  ${name.padEnd(9)} ${value}`),
      "",
      "  Ctrl-C stops everything.",
      "",
    ].join("\n"),
  );
}
