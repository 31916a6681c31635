import { once } from "node:events";
import { createServer } from "node:http";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { createClient } from "@supabase/supabase-js";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createTemplate, openTestDatabase, type TestStack } from "../../dev/stack/databases.ts";
import { identityOf } from "../../dev/stack/identity.ts";
import { type Stack, startStack } from "../../dev/stack/index.ts";
import { migrate } from "../../dev/stack/migrate.ts";
import { freePort, portOf } from "../../dev/stack/ports.ts";
import { startRestProxy } from "../../dev/stack/rest-proxy.ts";
import { recorded } from "../../dev/stack/run-directory.ts";
import { PortTakenError } from "../../dev/stack/stack-error.ts";

const FIRST = `-- One table; the semicolon here; ends nothing.
create table notes (id int primary key, word text not null);
alter table notes enable row level security;
create function shout(word text) returns text language plpgsql as $body$
begin
  return upper(word) || '; it''s loud';
end
$body$;
`;

let base: string;
let migrationsDir: string;
let stack: Stack;
let tests: TestStack;

beforeAll(async () => {
  base = mkdtempSync(join(tmpdir(), "auto-prospect-test-"));
  migrationsDir = join(base, "migrations");
  mkdirSync(migrationsDir);
  writeFileSync(join(migrationsDir, "20260101000000_notes.sql"), FIRST);
  stack = await startStack({ migrationsDir: join(base, "missing") });
  tests = await createTemplate(stack, migrationsDir);
});

afterAll(async () => {
  await stack.stop();
  rmSync(base, { recursive: true, force: true });
});

describe("openTestDatabase", () => {
  it("gives each caller a database of its own, which only the service role can read", async () => {
    await using one = await openTestDatabase(tests);
    await using two = await openTestDatabase(tests);
    const service = createClient(one.supabaseUrl, one.supabaseServiceKey);
    expect((await service.from("notes").insert({ id: 1, word: "émoi" })).error).toBeNull();
    expect((await service.from("notes").select()).data).toEqual([{ id: 1, word: "émoi" }]);
    expect((await service.rpc("shout", { word: "émoi" })).data).toBe(`ÉMOI; it's loud`);

    const anonymous = createClient(one.supabaseUrl, one.supabaseAnonKey);
    expect((await anonymous.from("notes").select()).data).toEqual([]);
    const other = createClient(two.supabaseUrl, two.supabaseServiceKey);
    expect((await other.from("notes").select()).data).toEqual([]);
  });

  it("refuses connections during a pause, and answers at the same address after it", async () => {
    await using database = await openTestDatabase(tests);
    const read = () =>
      fetch(`${database.supabaseUrl}/rest/v1/notes`, {
        headers: { authorization: `Bearer ${database.supabaseServiceKey}` },
      });
    expect((await read()).status).toBe(200);
    await database.pausePostgrest();
    await expect(read()).rejects.toThrow("fetch failed");
    expect((await database.sql.query("select 1 as up")).rows).toEqual([{ up: 1 }]);
    await database.resumePostgrest();
    expect(await (await read()).json()).toEqual([]);
  });

  it("leaves neither a database nor a process behind", async () => {
    const database = await openTestDatabase(tests);
    const name = new URL(database.databaseUrl).pathname.slice(1);
    expect(await traces(name)).toEqual({ databases: 1, processes: 1 });
    await database.drop();
    expect(await traces(name)).toEqual({ databases: 0, processes: 0 });
  });

  it("ends with the stack at the latest, whoever forgot to drop it", async () => {
    const brief = await startStack({ migrationsDir });
    const forgotten = await openTestDatabase(await createTemplate(brief, migrationsDir));
    const record = recorded(brief.run.directory).find(({ name }) => name.startsWith("postgrest-test_"));
    expect(record && identityOf(record.pid)).toBe(record?.identity);
    await brief.stop();
    expect(record && identityOf(record.pid)).toBeUndefined();
    await forgotten.sql.end();
  });
});

describe("migrate", () => {
  it("applies a file once, and records it as the Supabase CLI does", async () => {
    await using database = await openTestDatabase(tests, { listens: true });
    const { databaseUrl } = database;
    writeFileSync(join(migrationsDir, "20260102000000_more_notes.sql"), "alter table notes add column at timestamptz;");
    const [one, two] = await Promise.all([
      migrate({ databaseUrl, migrationsDir }),
      migrate({ databaseUrl, migrationsDir }),
    ]);
    expect([...one, ...two]).toEqual(["20260102000000_more_notes.sql"]);
    const { rows } = await database.sql.query("select * from supabase_migrations.schema_migrations order by version");
    expect(rows.map(({ version, name }) => [version, name])).toEqual([
      ["20260101000000", "notes"],
      ["20260102000000", "more_notes"],
    ]);
    expect(rows.map(({ statements }) => statements.length)).toEqual([3, 1]);
    // PostgREST hears of it without a restart.
    const client = createClient(database.supabaseUrl, database.supabaseServiceKey);
    await expect.poll(async () => (await client.from("notes").select("at")).error).toBeNull();
  });

  it("leaves a database alone that had every file of before their arrangement, and refuses one that had only some", async () => {
    await using database = await openTestDatabase(tests);
    const { databaseUrl, sql } = database;
    const record = (versions: string[]) =>
      sql.query("insert into supabase_migrations.schema_migrations (version) select unnest($1::text[])", [versions]);
    const known = async () => (await sql.query("select version from supabase_migrations.schema_migrations")).rowCount;
    const files = readdirSync(new URL("../../supabase/migrations", import.meta.url));
    const versions = files.map((file) => file.split("_", 1)[0] ?? file);
    await record(["20261121000001", ...versions.filter((version) => version < "20261122000120")]);
    const before = await known();
    await expect(migrate({ databaseUrl })).rejects.toThrow("bring it up to date with the release before this one");
    expect(await known()).toBe(before);
    await record(versions.filter((version) => version >= "20261122000120"));
    expect(await migrate({ databaseUrl })).toEqual([]);
    expect((await sql.query("select to_regclass('messages') as messages")).rows).toEqual([{ messages: null }]);
  });

  it.each([
    ["a fault of syntax", "create table a ();\n\ncreate tabel b ();\n", 3],
    ["an unknown column", "create table a (x int);\ncreate view b as\n  select x,\n    y\n  from a;\n", 4],
    ["a fault of the data", "create table a (x int primary key);\n/* two; */\ninsert into a values (1), (1);\n", 3],
  ])("names the file and the line of %s, and applies nothing of the file", async (_, sql, line) => {
    await using database = await openTestDatabase(tests);
    const directory = mkdtempSync(join(base, "faulty-"));
    writeFileSync(join(directory, "20260103000000_faulty.sql"), sql);
    const migration = migrate({ databaseUrl: database.databaseUrl, migrationsDir: directory });
    await expect(migration).rejects.toThrow(`migration 20260103000000_faulty.sql, line ${line}: `);
    expect((await database.sql.query(`select to_regclass('a') as a`)).rows).toEqual([{ a: null }]);
  });
});

describe("the /rest/v1 proxy", () => {
  it("answers 503 in JSON while PostgREST is away, and 404 beside its prefix", async () => {
    const proxy = await startRestProxy({ upstreamPort: await freePort(), port: 0 });
    const url = `http://127.0.0.1:${proxy.port}`;
    const away = await fetch(`${url}/rest/v1/notes`, { method: "POST", body: "x".repeat(5_000_000) });
    expect([away.status, await away.json()]).toMatchObject([503, { message: expect.stringContaining("ECONNREFUSED") }]);
    expect((await fetch(`${url}/auth/v1/user`)).status).toBe(404);
    expect((await fetch(`${url}/rest/v10`)).status).toBe(404);
    await proxy.stop();
  });

  it("passes path, headers and megabytes of body both ways", async () => {
    const echo = createServer((request, response) => {
      response.setHeader("x-path", request.url ?? "");
      request.pipe(response);
    }).listen(0, "127.0.0.1");
    await once(echo, "listening");
    const proxy = await startRestProxy({ upstreamPort: portOf(echo), port: 0 });
    const body = "0123456789".repeat(800_000);
    const answer = await fetch(`http://127.0.0.1:${proxy.port}/rest/v1/notes?id=eq.1`, { method: "POST", body });
    expect(answer.headers.get("x-path")).toBe("/notes?id=eq.1");
    expect((await answer.text()) === body).toBe(true);
    await proxy.stop();
    echo.closeAllConnections();
    echo.close();
  });

  it("passes requests that arrive byte by byte, a body in chunks, and one right after another", async () => {
    const echo = createServer((request, response) => {
      response.setHeader("x-path", request.url ?? "");
      request.pipe(response);
    }).listen(0, "127.0.0.1");
    await once(echo, "listening");
    const paths: string[] = [];
    const onRequest = (path: string): void => void paths.push(path);
    const proxy = await startRestProxy({ upstreamPort: portOf(echo), port: 0, onRequest });
    const client = connect(proxy.port, "127.0.0.1").setNoDelay();
    const chunks = "5;extra=1\r\nhello\r\n7\r\n, world\r\n0\r\nx-trailer: 1\r\n\r\n";
    const requests =
      `POST /rest/v1/a HTTP/1.1\r\nhost: x\r\nTransfer-Encoding: chunked\r\n\r\n${chunks}` +
      "POST /rest/v1?b HTTP/1.1\r\nhost: x\r\nContent-Length: 3\r\n\r\nsec" +
      "GET /rest/v1/c HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    for (const byte of requests) client.write(byte);
    const answers = await text(client);
    expect(answers.match(/^x-path: .*$/gm)).toEqual(["x-path: /a", "x-path: /?b", "x-path: /c"]);
    expect(answers.replaceAll(/^[0-9a-f]+\r\n|\r\n/gm, "")).toMatch(/hello, world.*sec/s);
    expect(paths).toEqual(["/a", "?b", "/c"]);
    await proxy.stop();
    echo.closeAllConnections();
    echo.close();
  });

  it("answers 503 when PostgREST leaves before it has answered, and serves the next who asks", async () => {
    let leaves = true;
    const upstream = createServer((request, response) => {
      if (leaves) request.socket.destroy();
      else response.end("well");
    }).listen(0, "127.0.0.1");
    await once(upstream, "listening");
    const proxy = await startRestProxy({ upstreamPort: portOf(upstream), port: 0 });
    const url = `http://127.0.0.1:${proxy.port}/rest/v1/notes`;
    expect((await fetch(url)).status).toBe(503);
    leaves = false;
    expect(await (await fetch(url)).text()).toBe("well");
    await proxy.stop();
    upstream.closeAllConnections();
    upstream.close();
  });

  it("says of a port that another program has taken meanwhile that it is worth another try", async () => {
    const port = await freePort();
    await using other = createServer().listen(port, "127.0.0.1");
    await once(other, "listening");
    await expect(startRestProxy({ upstreamPort: port, port })).rejects.toBeInstanceOf(PortTakenError);
  });
});

describe("freePort", () => {
  it("gives none that somebody is promised", async () => {
    const even = Array.from({ length: 6_000 }, (_, i) => 20_000 + 2 * i);
    const given = await Promise.all(Array.from({ length: 20 }, () => freePort(even)));
    expect(given.filter((port) => port % 2 === 0)).toEqual([]);
  });
});

async function traces(name: string): Promise<{ databases: number; processes: number }> {
  const admin = new Client({ connectionString: tests.adminDatabaseUrl });
  await admin.connect();
  const { rowCount } = await admin.query("select from pg_database where datname = $1", [name]);
  await admin.end();
  const processes = recorded(tests.run.directory).filter((record) => record.name.includes(name)).length;
  return { databases: rowCount ?? 0, processes };
}
