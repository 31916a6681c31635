import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Client, DatabaseError } from "pg";
import { lineAt, splitStatements, type Statement } from "./sql-statements.ts";
import { StackError, wordsOf } from "./stack-error.ts";

/** Any number, so that two migrations of one database wait for each other. */
const LOCK = 7_220_111;

/** The first of the files that were once arranged anew, and the last, which has kept its version. */
const BEFORE = { first: "20261121000001", last: "20261122000120" };

/** The repository's own migrations. */
const MIGRATIONS_DIR = fileURLToPath(new URL("../../supabase/migrations/", import.meta.url));

export interface MigrateOptions {
  /** Of a superuser; `authenticator` gets the same password when it is made. */
  readonly databaseUrl: string;
  /** Default the repository's supabase/migrations; a missing or empty one is no fault. */
  readonly migrationsDir?: string | undefined;
}

/**
 * Makes a database what a hosted Supabase project is before the first migration, then applies the `*.sql` files that are
 * not in `supabase_migrations.schema_migrations`, by name, each in a transaction, and has PostgREST read the schema again.
 *
 * @returns the file names that were applied now
 * @throws {StackError} naming the file and the line of the statement that failed; the files before it stay applied. Or a
 *   database that has some of the files of before their arrangement, and not all
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const directory = options.migrationsDir ?? MIGRATIONS_DIR;
  const files = existsSync(directory) ? readdirSync(directory).filter((file) => file.endsWith(".sql")) : [];
  const client = new Client({ connectionString: options.databaseUrl });
  await client.connect();
  try {
    await client.query("select pg_advisory_lock($1)", [LOCK]);
    await prepareDatabase(client, decodeURIComponent(new URL(options.databaseUrl).password));
    const done = await client.query<{ version: string }>("select version from supabase_migrations.schema_migrations");
    const versions = new Set(done.rows.map((row) => row.version));
    if (versions.has(BEFORE.first) && !versions.has(BEFORE.last)) {
      throw new StackError(
        "this database was made by an older release and lacks some of its migrations, which have been arranged anew since: " +
          "bring it up to date with the release before this one, or remove it if nothing in it matters",
      );
    }
    const pending = files.toSorted().filter((file) => !versions.has(partsOf(file).version));
    for (const file of pending) await apply(client, file, readFileSync(join(directory, file), "utf8"));
    if (pending.length > 0) await client.query(`notify pgrst, 'reload schema'`);
    return pending;
  } finally {
    await client.end();
  }
}

async function prepareDatabase(client: Client, password: string): Promise<void> {
  await inTransaction(client, async () => {
    await client.query(`set local client_min_messages = warning`);
    await client.query(`select set_config('stack.password', $1, true)`, [password]);
    await client.query(readFileSync(new URL("./roles.sql", import.meta.url), "utf8"));
  });
}

async function apply(client: Client, file: string, sql: string): Promise<void> {
  const statements = splitStatements(sql);
  const { version, name } = partsOf(file);
  await inTransaction(client, async () => {
    for (const statement of statements) {
      await client.query(statement.text).catch((error: unknown) => {
        throw new StackError(`migration ${file}, line ${lineOf(statement, error)}: ${wordsOf(error)}`, {
          cause: error,
        });
      });
    }
    const texts = statements.map((statement) => statement.text);
    await client.query(
      "insert into supabase_migrations.schema_migrations (version, statements, name) values ($1, $2, $3)",
      [version, texts, name],
    );
  });
  // A migration may have changed the session: search_path, role.
  await client.query("reset all");
}

async function inTransaction(client: Client, work: () => Promise<void>): Promise<void> {
  await client.query("begin");
  try {
    await work();
    await client.query("commit");
  } catch (error) {
    await client.query("rollback");
    throw error;
  }
}

/** The Supabase CLI reads `<version>_<name>.sql` so. */
function partsOf(file: string): { version: string; name: string } {
  const [, version = file, name = ""] = /^([^_]+)_?(.*)\.sql$/.exec(file) ?? [];
  return { version, name };
}

function lineOf(statement: Statement, error: unknown): number {
  const position = error instanceof DatabaseError && error.position !== undefined ? Number(error.position) : 1;
  return statement.line + lineAt(statement.text, position - 1) - 1;
}
