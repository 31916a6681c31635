import { rmSync } from "node:fs";
import { join } from "node:path";
import { freshLogDirectory, openDataDirectory } from "./data-directory.ts";
import { loadSecrets } from "./keys.ts";
import { migrate } from "./migrate.ts";
import { choosePorts, type Ports, rememberedPorts, withFreshPorts } from "./ports.ts";
import { startPostgres } from "./postgres.ts";
import type { PostgresSearch } from "./postgres-binaries.ts";
import { startPostgrest } from "./postgrest.ts";
import { redisAnswers, type RedisSearch, startRedis } from "./redis.ts";
import { claimRun, releaseRun, type Run, stopRecorded } from "./run-directory.ts";
import { StackError } from "./stack-error.ts";
import { startWatchdog } from "./watchdog.ts";

export interface StackOptions {
  /** Where data, ports and secrets stay from one start to the next; default a temporary directory, removed at the end. */
  readonly dataDir?: string | undefined;
  /** Default the repository's supabase/migrations. */
  readonly migrationsDir?: string | undefined;
  /** Ports on 127.0.0.1; default those of the last start, else free ones. */
  readonly ports?: Partial<Ports> | undefined;
  /** A Redis that runs already, used in place of one of our own. */
  readonly redisUrl?: string | undefined;
  /** Start a server again when it dies; default false. */
  readonly supervise?: boolean | undefined;
  /** Whether every write must outlive a kill of the servers; default true. A `dataDir` outlives the machine's crash too. */
  readonly durable?: boolean | undefined;
  /** Receives plain lines about what happens; default none. */
  readonly log?: ((line: string) => void) | undefined;
  /** Where to look for Redis and whether to install it. */
  readonly redisSearch?: RedisSearch | undefined;
  /** Where to look for Postgres. */
  readonly postgresSearch?: PostgresSearch | undefined;
}

/** A running Redis, Postgres and PostgREST, migrated. */
export interface Stack extends AsyncDisposable {
  readonly redisUrl: string;
  /** For supabase-js: PostgREST answers under `/rest/v1`; there is no auth, storage or realtime. */
  readonly supabaseUrl: string;
  readonly supabaseServiceKey: string;
  readonly supabaseAnonKey: string;
  /** Of the superuser, for psql and tests. */
  readonly databaseUrl: string;
  readonly jwtSecret: string;
  /** For the service; stays with the data. */
  readonly suppressionSalt: string;
  readonly dataDir: string;
  /** What the stack's processes are recorded under; test databases add theirs. */
  readonly run: Run;
  /** Stops every server in order; removes a temporary directory. Idempotent. */
  stop(): Promise<void>;
}

/**
 * Starts the stack. When this process dies without stopping it, a watchdog does, and the next start on the same
 * directory stops what even that has missed.
 *
 * @throws {StackError} an expected fault, in words: no binary, a port taken, another launcher on the same directory, a
 *   migration that fails
 */
export function startStack(options: StackOptions = {}): Promise<Stack> {
  return withFreshPorts(() => startOnce(options));
}

async function startOnce(options: StackOptions): Promise<Stack> {
  const { log = () => {}, supervise = false, durable = true } = options;
  const { dataDir, temporary } = openDataDirectory(options.dataDir);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => {
    for (const path of temporary) rmSync(path, { recursive: true, force: true });
  });
  const run = await claimRun(join(dataDir, "run"), log);
  undo.defer(() => releaseRun(run));
  undo.defer(startWatchdog(run, temporary));
  // What a test database has left running: its test may have died before it could drop it.
  undo.defer(async () => void (await stopRecorded(run.directory, (record) => record.runId === run.id)));
  const logDirectory = freshLogDirectory(dataDir);
  const redisUrl = externalRedis(dataDir, options.redisUrl);
  const ports = await choosePorts(dataDir, options.ports);
  const { jwtSecret, databasePassword, suppressionSalt } = loadSecrets(dataDir);
  const common = { dataDir, run, durable, flush: temporary.length === 0, supervise, log };

  async function database() {
    const postgres = await startPostgres({
      ...common,
      port: ports.postgres,
      password: databasePassword,
      search: options.postgresSearch,
    });
    undo.defer(() => postgres.stop());
    const { databaseUrl } = postgres;
    await migrate({ databaseUrl, migrationsDir: options.migrationsDir });
    const api = await startPostgrest({
      databaseUrl,
      jwtSecret,
      run,
      logDirectory,
      supervise,
      log,
      port: ports.postgrest,
      proxyPort: ports.supabase,
      poolSize: 20,
    });
    undo.defer(() => api.stop());
    const { supabaseUrl, supabaseServiceKey, supabaseAnonKey } = api;
    return { databaseUrl, supabaseUrl, supabaseServiceKey, supabaseAnonKey };
  }

  async function redis(): Promise<string> {
    if (redisUrl !== undefined) return await reachable(redisUrl);
    const server = await startRedis({ ...common, port: ports.redis, search: options.redisSearch });
    undo.defer(() => server.stop());
    return server.redisUrl;
  }

  // Both have to settle before a fault of one may undo the other.
  const [started, found] = await Promise.allSettled([database(), redis()]);
  if (found.status === "rejected") throw found.reason;
  if (started.status === "rejected") throw started.reason;
  const resources = undo.move();
  let stopped: Promise<void> | undefined;
  const stop = (): Promise<void> => (stopped ??= resources.disposeAsync());
  const given = { jwtSecret, suppressionSalt, dataDir, run };
  return { ...started.value, ...given, redisUrl: found.value, stop, [Symbol.asyncDispose]: stop };
}

/** The given Redis, unless it is the stack's own of an earlier start, which an env file brought back in. */
function externalRedis(dataDir: string, redisUrl: string | undefined): string | undefined {
  if (redisUrl === undefined) return undefined;
  if (!URL.canParse(redisUrl)) throw new StackError("REDIS_URL is not a URL: write redis://HOST:PORT, or unset it");
  return new URL(redisUrl).host === `127.0.0.1:${rememberedPorts(dataDir).redis}` ? undefined : redisUrl;
}

async function reachable(redisUrl: string): Promise<string> {
  if (await redisAnswers(redisUrl)) return redisUrl;
  throw new StackError(
    `REDIS_URL names ${new URL(redisUrl).host}, and no Redis answers there: start it, or unset REDIS_URL to get one started`,
  );
}
