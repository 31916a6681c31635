import { createClient } from "@supabase/supabase-js";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(() => database.drop());

const client = (key: string) => createClient(database.supabaseUrl, key, { auth: { persistSession: false } });

async function tables(): Promise<string[]> {
  const { rows } = await database.sql.query("select tablename from pg_tables where schemaname = 'public' order by 1");
  return rows.map(({ tablename }) => tablename);
}

async function functions(): Promise<{ name: string; args: string[] }[]> {
  const { rows } = await database.sql.query(
    `select proname as name, coalesce(proargnames[1:pronargs], '{}') as args from pg_proc
     where pronamespace = 'public'::regnamespace and prorettype <> 'trigger'::regtype order by 1`,
  );
  return rows;
}

test("every table → has row-level security on and no policy", async () => {
  const { rows } = await database.sql.query(
    `select c.relname from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
       and (not c.relrowsecurity or exists (select 1 from pg_policy p where p.polrelid = c.oid))`,
  );
  expect(rows).toEqual([]);
  expect((await tables()).length).toBeGreaterThan(10);
});

test("the anonymous key → reads, writes and empties no table", async () => {
  const anonymous = client(database.supabaseAnonKey);
  for (const table of await tables()) {
    const read = await anonymous.from(table).select("*").limit(1);
    expect({ table, code: read.error?.code }).toEqual({ table, code: "42501" });
    const write = await anonymous.from(table).insert({});
    expect({ table, code: write.error?.code }).toEqual({ table, code: "42501" });
    const empty = await anonymous.from(table).delete().not("created_at", "is", null);
    expect({ table, refused: empty.error !== null }).toEqual({ table, refused: true });
  }
});

test.each(["anon", "authenticated"])(
  "the role %s → may call no function and touch no table or sequence",
  async (role) => {
    const { rows: callable } = await database.sql.query(
      `select proname from pg_proc where pronamespace = 'public'::regnamespace and has_function_privilege($1, oid, 'execute')`,
      [role],
    );
    expect(callable).toEqual([]);
    const { rows: touchable } = await database.sql.query(
      `select relname from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'v', 'm', 'p')
       and has_table_privilege($1, oid, 'select, insert, update, delete, truncate, references, trigger')`,
      [role],
    );
    expect(touchable).toEqual([]);
    const { rows: sequences } = await database.sql.query(
      `with sequences as materialized (
       select relname, oid from pg_class where relnamespace = 'public'::regnamespace and relkind = 'S'
     )
     select relname from sequences where has_sequence_privilege($1, oid, 'usage, select, update')`,
      [role],
    );
    expect(sequences).toEqual([]);
  },
);

test("a role without rights in public by default → cannot see messages even with a grant on the table", async () => {
  await database.sql.query("insert into suppressions (phone) values ('+33612345678')");
  await database.sql.query("begin; grant select on suppressions to anon; commit");
  const { data } = await client(database.supabaseAnonKey).from("suppressions").select("*");
  await database.sql.query("revoke select on suppressions from anon");
  expect(data).toEqual([]);
});

test("the anonymous key → calls no function", async () => {
  const anonymous = client(database.supabaseAnonKey);
  const all = await functions();
  expect(all.length).toBeGreaterThan(15);
  for (const { name, args } of all) {
    const { error } = await anonymous.rpc(name, Object.fromEntries(args.map((arg) => [arg, null])));
    expect({ name, code: error?.code }).toEqual({ name, code: "42501" });
  }
});

test("the service key → does both", async () => {
  const service = client(database.supabaseServiceKey);
  expect((await service.rpc("ping")).data).toBe("pong");
  expect((await service.from("accounts").select("id")).data).toEqual([{ id: "acc" }]);
});

// A body in standard SQL is bound when it is created: the caller's search path cannot change what it means.
test("every function → has a fixed search path or a bound body", async () => {
  const { rows } = await database.sql.query(
    `select proname from pg_proc where pronamespace = 'public'::regnamespace and prosqlbody is null
       and not coalesce(array_to_string(proconfig, ',') like '%search_path=%', false)`,
  );
  expect(rows).toEqual([]);
});
