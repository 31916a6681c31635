import { existsSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { Client } from "pg";
import { type Account, postgresAccount } from "./account.ts";
import { commandLineOf, identityOf } from "./identity.ts";
import { findPostgres, type PostgresSearch } from "./postgres-binaries.ts";
import { openCluster } from "./postgres-cluster.ts";
import { type Child, launch, untilReady } from "./processes.ts";
import { type Run, stopPid } from "./run-directory.ts";
import { codeOf, StackError } from "./stack-error.ts";
import { type Service, supervised } from "./supervise.ts";

export interface PostgresOptions {
  readonly dataDir: string;
  readonly run: Run;
  readonly port: number;
  readonly password: string;
  /** False to lose the last commits when the server is killed. */
  readonly durable: boolean;
  /** Whether to survive a crash of the machine too, at the price of a disk flush a commit. */
  readonly flush: boolean;
  readonly supervise: boolean;
  readonly log: (line: string) => void;
  readonly search?: PostgresSearch | undefined;
}

/** A running Postgres on 127.0.0.1. */
export interface PostgresServer extends Service {
  /** Of the superuser `postgres`, on the database `postgres`. */
  readonly databaseUrl: string;
}

/**
 * Starts Postgres on the cluster of a data directory, made at the first start. Listens on 127.0.0.1 only, with a password.
 *
 * @throws {StackError} when there are no binaries, or the cluster is of another major version
 */
export async function startPostgres(options: PostgresOptions): Promise<PostgresServer> {
  const { dataDir, log, port, password } = options;
  const account = postgresAccount();
  const binaries = findPostgres(account, log, options.search);
  const cluster = await openCluster({ dataDir, binaries, account, password, log });
  const databaseUrl = `postgresql://postgres:${password}@127.0.0.1:${port}/postgres`;
  const service = await supervised({
    name: "postgres",
    supervise: options.supervise,
    log,
    async start(stopping) {
      await stopStrayPostmaster(cluster, log);
      const child = await launchPostgres(options, { file: binaries.postgres, account, cluster });
      await untilReady(child, () => answers(databaseUrl), stopping);
      return child;
    },
  });
  return { databaseUrl, stop: () => service.stop() };
}

function launchPostgres(
  options: PostgresOptions,
  { file, account, cluster }: { file: string; account: Account | undefined; cluster: string },
): Promise<Child> {
  const settings: Record<string, string | number> = {
    listen_addresses: "127.0.0.1",
    port: options.port,
    unix_socket_directories: "",
    // Room for some twenty PostgREST pools of ten connections.
    max_connections: 300,
    synchronous_commit: options.durable ? "on" : "off",
    wal_level: "minimal",
    max_wal_senders: 0,
    jit: "off",
    timezone: "UTC",
    log_timezone: "UTC",
    ...(options.flush ? {} : { fsync: "off", full_page_writes: "off" }),
  };
  return launch({
    name: "postgres",
    file,
    args: ["-D", cluster, ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`])],
    account,
    logFile: join(options.dataDir, "logs", "postgres.log"),
    // SIGINT closes the clients' sessions and stops in order; SIGTERM would wait for the clients to leave.
    stopSignal: "SIGINT",
    run: options.run,
  });
}

/** A postmaster that no record tells of: Postgres would refuse to start while its pid file names a live process. */
async function stopStrayPostmaster(cluster: string, log: (line: string) => void): Promise<void> {
  const file = join(cluster, "postmaster.pid");
  if (!existsSync(file)) return;
  const pid = Number.parseInt(readFileSync(file, "utf8"), 10);
  const identity = Number.isInteger(pid) && pid > 0 ? identityOf(pid) : undefined;
  // Of a dead process, Postgres itself removes the file, and checks first that no backend of it is left.
  if (identity === undefined) return;
  const command = commandLineOf(pid);
  if (command.includes("postgres") && command.includes(cluster)) {
    await stopPid(pid, identity, "SIGINT");
    log(`stopped postgres (pid ${pid}), left behind by an earlier launcher`);
  } else rmSync(file);
}

async function answers(databaseUrl: string): Promise<boolean> {
  const client = new Client({ connectionString: databaseUrl, connectionTimeoutMillis: 2_000 });
  client.on("error", () => {});
  try {
    await client.connect();
    return true;
  } catch (error) {
    if (codeOf(error) !== "28P01") return false;
    throw new StackError("the password in secrets.json is not the one of this database: remove the data directory", {
      cause: error,
    });
  } finally {
    await client.end().catch(() => {});
  }
}
