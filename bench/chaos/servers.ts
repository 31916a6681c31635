import { rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { freshLogDirectory, openDataDirectory } from "../../dev/stack/data-directory.ts";
import { loadSecrets } from "../../dev/stack/keys.ts";
import { migrate } from "../../dev/stack/migrate.ts";
import { choosePorts, type Ports } from "../../dev/stack/ports.ts";
import { startPostgres } from "../../dev/stack/postgres.ts";
import { startPostgrest } from "../../dev/stack/postgrest.ts";
import { startRedis } from "../../dev/stack/redis.ts";
import { claimRun, recorded, releaseRun, type Run, stopRecorded } from "../../dev/stack/run-directory.ts";
import { startWatchdog } from "../../dev/stack/watchdog.ts";

export type ServerName = "redis" | "postgres" | "postgrest";

/** A server that can be taken away and brought back, on the same port and the same files. */
export interface Server {
  readonly name: ServerName;
  /** In order: it closes its connections and writes what it has. */
  stop(): Promise<void>;
  /** kill -9. */
  kill(): Promise<void>;
  /** Tries until it is there again. */
  start(): Promise<void>;
}

/** The embedded stack, with each of its servers in the harness' hands. */
export interface Servers extends AsyncDisposable {
  readonly redis: Server;
  readonly postgres: Server;
  readonly postgrest: Server;
  readonly ports: Ports;
  readonly databaseUrl: string;
  readonly serviceKey: string;
  readonly run: Run;
  readonly dataDir: string;
}

const START_RETRY_MS = 200;
const START_TIMEOUT_MS = 40_000;
const POOL_SIZE = 20;

/** Starts Redis (with its append-only file), Postgres and PostgREST in a temporary directory. */
export async function startServers(): Promise<Servers> {
  const { dataDir, temporary } = openDataDirectory(undefined);
  await using undo = new AsyncDisposableStack();
  undo.defer(() => {
    for (const path of temporary) rmSync(path, { recursive: true, force: true });
  });
  const log = (): void => {};
  const run = await claimRun(join(dataDir, "run"), log);
  undo.defer(() => releaseRun(run));
  undo.defer(startWatchdog(run, temporary));
  undo.defer(async () => void (await stopRecorded(run.directory, (record) => record.runId === run.id)));
  const logDirectory = freshLogDirectory(dataDir);
  const ports = await choosePorts(dataDir);
  const { jwtSecret, databasePassword } = loadSecrets(dataDir);
  // No flush to the disk: processes die here, the machine does not.
  const common = { dataDir, run, durable: true, flush: false, supervise: false, log };
  let databaseUrl = "";
  let serviceKey = "";

  const redis = serverOf("redis", run, () => startRedis({ ...common, port: ports.redis }));
  const postgres = serverOf("postgres", run, async () => {
    const server = await startPostgres({ ...common, port: ports.postgres, password: databasePassword });
    databaseUrl = server.databaseUrl;
    return server;
  });
  const postgrest = serverOf("postgrest", run, async () => {
    const server = await startPostgrest({
      databaseUrl,
      jwtSecret,
      run,
      logDirectory,
      log,
      port: ports.postgrest,
      proxyPort: ports.supabase,
      poolSize: POOL_SIZE,
    });
    serviceKey = server.supabaseServiceKey;
    return server;
  });
  for (const server of [redis, postgres, postgrest]) undo.defer(() => server.stop());
  await Promise.all([redis.start(), postgres.start().then(() => migrate({ databaseUrl }))]);
  await postgrest.start();
  const resources = undo.move();
  return {
    redis,
    postgres,
    postgrest,
    ports,
    databaseUrl,
    serviceKey,
    run,
    dataDir,
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

function serverOf(name: ServerName, run: Run, launch: () => Promise<{ stop(): Promise<void> }>): Server {
  let handle: { stop(): Promise<void> } | undefined;
  const stop = async (): Promise<void> => {
    await handle?.stop();
    handle = undefined;
  };
  return {
    name,
    stop,
    async kill() {
      const record = recorded(run.directory).find((found) => found.name === name && found.runId === run.id);
      if (record) process.kill(record.pid, "SIGKILL");
    },
    async start() {
      await stop();
      const deadline = performance.now() + START_TIMEOUT_MS;
      while (handle === undefined) {
        try {
          handle = await launch();
        } catch (error) {
          // The backends of a postmaster that was killed take a moment to leave.
          if (performance.now() > deadline) throw error;
          await delay(START_RETRY_MS);
        }
      }
    },
  };
}
