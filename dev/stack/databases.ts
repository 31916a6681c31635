import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { Client, Pool } from "pg";
import type { Stack } from "./index.ts";
import { migrate } from "./migrate.ts";
import { startPostgrest } from "./postgrest.ts";
import type { Run } from "./run-directory.ts";

const TEMPLATE = "test_template";

/** What a test file needs to open a database of its own. Plain data, so that vitest can `provide` it. */
export interface TestStack {
  readonly redisUrl: string;
  /** Of the superuser, on the database `postgres`. */
  readonly adminDatabaseUrl: string;
  readonly jwtSecret: string;
  /** The migrated database that test databases are copied from. */
  readonly template: string;
  /** Where the processes of test databases are recorded: they end with the stack at the latest. */
  readonly run: Run;
  readonly logDirectory: string;
}

/** A database with the migrations applied and nothing in it, and a PostgREST on it. */
export interface TestDatabase extends AsyncDisposable {
  /** Of the superuser. */
  readonly databaseUrl: string;
  readonly supabaseUrl: string;
  readonly supabaseServiceKey: string;
  readonly supabaseAnonKey: string;
  /** Connections of the superuser, to arrange and to look; at most 4. */
  readonly sql: Pool;
  /** An outage: `supabaseUrl` refuses connections and cuts the open ones. The database itself stays up. */
  pausePostgrest(): Promise<void>;
  /** Ends the outage, at the same address. */
  resumePostgrest(): Promise<void>;
  /** Stops PostgREST and drops the database. Idempotent. */
  drop(): Promise<void>;
}

export interface TestDatabaseOptions {
  /** Connections of PostgREST; default 10. */
  readonly poolSize?: number;
  /** The most rows of one answer; default unlimited. A hosted project's default is 1,000. */
  readonly maxRows?: number;
  /** Whether PostgREST hears of a schema that has changed; default false. */
  readonly listens?: boolean;
  /** Told the path of each request to PostgREST, e.g. `/rpc/feed`. */
  readonly onRequest?: (path: string) => void;
}

/**
 * Makes the database that test databases are copied from, migrated. Once a stack, in vitest's globalSetup.
 *
 * @param migrationsDir default the repository's supabase/migrations
 * @throws {StackError} a migration that fails, by file and line
 */
export async function createTemplate(stack: Stack, migrationsDir?: string): Promise<TestStack> {
  await query(stack.databaseUrl, `create database ${TEMPLATE}`);
  await migrate({ databaseUrl: onDatabase(stack.databaseUrl, TEMPLATE), migrationsDir });
  // Most of a small test's time in Postgres is planning, five times for each statement of each function and connection.
  await query(stack.databaseUrl, "alter role authenticator set plan_cache_mode = force_generic_plan");
  // A template with a session on it cannot be copied.
  await query(stack.databaseUrl, `alter database ${TEMPLATE} with is_template true allow_connections false`);
  return {
    redisUrl: stack.redisUrl,
    adminDatabaseUrl: stack.databaseUrl,
    jwtSecret: stack.jwtSecret,
    template: TEMPLATE,
    run: stack.run,
    logDirectory: join(stack.dataDir, "logs"),
  };
}

/** Opens a fresh database with a PostgREST of its own; takes about half a second. */
export async function openTestDatabase(stack: TestStack, options: TestDatabaseOptions = {}): Promise<TestDatabase> {
  const name = `test_${randomBytes(6).toString("hex")}`;
  const databaseUrl = onDatabase(stack.adminDatabaseUrl, name);
  await using undo = new AsyncDisposableStack();
  await query(stack.adminDatabaseUrl, `create database ${name} template ${stack.template} strategy file_copy`);
  undo.defer(() => query(stack.adminDatabaseUrl, `drop database if exists ${name} with (force)`));
  const { jwtSecret, run, logDirectory } = stack;
  const api = await startPostgrest({
    name: `postgrest-${name}`,
    databaseUrl,
    jwtSecret,
    run,
    logDirectory,
    // Its schema stays as the template's, and reading it is half of what a database costs.
    listens: false,
    ...options,
  });
  undo.defer(() => api.stop());
  const sql = new Pool({ connectionString: databaseUrl, max: 4 });
  // An idle connection that breaks, as when the stack stops first, is no fault of the test.
  sql.on("error", () => {});
  undo.defer(() => sql.end());
  const resources = undo.move();
  let dropped: Promise<void> | undefined;
  const drop = (): Promise<void> => (dropped ??= resources.disposeAsync());
  const { supabaseUrl, supabaseServiceKey, supabaseAnonKey } = api;
  return {
    databaseUrl,
    supabaseUrl,
    supabaseServiceKey,
    supabaseAnonKey,
    sql,
    drop,
    pausePostgrest: () => api.pause(),
    resumePostgrest: () => api.resume(),
    [Symbol.asyncDispose]: drop,
  };
}

function onDatabase(databaseUrl: string, name: string): string {
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  return url.href;
}

async function query(databaseUrl: string, sql: string): Promise<void> {
  const client = new Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}
