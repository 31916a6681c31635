import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Redis } from "ioredis";
import { Client } from "pg";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { commandLineOf, identityOf } from "../../dev/stack/identity.ts";
import { startStack } from "../../dev/stack/index.ts";
import { loadSecrets } from "../../dev/stack/keys.ts";
import { relocatedHome } from "../../dev/stack/postgres-cluster.ts";
import { recorded, stopRecorded } from "../../dev/stack/run-directory.ts";
import { runServices, startServices } from "./services-process.ts";

const SERVERS = ["redis", "postgres", "postgrest"];
const isRoot = process.getuid?.() === 0;
const TIMEOUT_MS = 20_000;

let base: string;
let dataDir: string;

beforeEach(() => {
  base = mkdtempSync(join(tmpdir(), "auto-prospect-test-"));
  dataDir = join(base, "data");
  // The user that root's Postgres runs as has to pass through.
  mkdirSync(dataDir, { mode: 0o755 });
  chmodSync(base, 0o755);
});

afterEach(() => {
  rmSync(base, { recursive: true, force: true });
  rmSync(relocatedHome(dataDir), { recursive: true, force: true });
});

describe("npm run services", { timeout: TIMEOUT_MS }, () => {
  it("brings a killed server back at the same address with its data", async () => {
    await using services = await startServices(dataDir);
    await writeEverywhere(services.env);
    for (const server of SERVERS) {
      const pid = services.pidOf(server);
      process.kill(pid, "SIGKILL");
      await expect.poll(() => services.stderr(), { timeout: 5_000 }).toContain(`${server} is back`);
      expect(services.pidOf(server)).not.toBe(pid);
    }
    await expect.poll(() => readEverywhere(services.env).catch(() => undefined), { timeout: 5_000 }).toEqual(KEPT);
  });

  it("leaves nothing running when it is killed, and starts again on the same data and ports", async () => {
    const first = await startServices(dataDir);
    await writeEverywhere(first.env);
    const pids = SERVERS.map((server) => first.pidOf(server));
    first.kill("SIGKILL");
    await first.exitCode;
    await expect.poll(() => pids.filter((pid) => identityOf(pid)), { timeout: 5_000 }).toEqual([]);

    await using second = await startServices(dataDir);
    expect(second.env).toEqual(first.env);
    expect(await readEverywhere(second.env)).toEqual(KEPT);
  });

  it("stops what a killed launcher and its killed watchdog left behind, then goes on", async () => {
    const first = await startServices(dataDir);
    await writeEverywhere(first.env);
    const pids = SERVERS.map((server) => first.pidOf(server));
    process.kill(await watchdogOf(first.pid), "SIGKILL");
    first.kill("SIGKILL");
    await first.exitCode;
    expect(pids.filter((pid) => identityOf(pid))).toEqual(pids);

    await using second = await startServices(dataDir);
    expect(pids.filter((pid) => identityOf(pid))).toEqual([]);
    expect(second.env).toEqual(first.env);
    expect(await readEverywhere(second.env)).toEqual(KEPT);
  });

  it("stops every process at SIGTERM and exits 0", async () => {
    await using services = await startServices(dataDir);
    const pids = [...SERVERS.map((server) => services.pidOf(server)), await watchdogOf(services.pid)];
    expect(pids.filter((pid) => identityOf(pid))).toEqual(pids);
    services.kill("SIGTERM");
    expect(await services.exitCode).toBe(0);
    await expect.poll(() => pids.filter((pid) => identityOf(pid))).toEqual([]);
    expect(recorded(join(dataDir, "run"))).toEqual([]);
  });

  it("refuses, in words, a data directory that another launcher holds", async () => {
    await using first = await startServices(dataDir);
    await using second = await runServices(dataDir);
    expect(await second.exitCode).toBe(1);
    expect(second.stderr()).toBe(
      `error: another launcher (pid ${first.pid}) is already running on ${dataDir}: stop it, or set DATA_DIR to another directory\n`,
    );
    expect(await readRedis(first.env)).toBeNull();
  });

  it("writes the variables to a file that only its owner can read", async () => {
    const file = join(base, "services.env");
    await using services = await startServices(dataDir, ["--env-file", file]);
    const written = readFileSync(file, "utf8").trim().split("\n");
    expect(written).toEqual(Object.entries(services.env).map(([name, value]) => `${name}=${value}`));
    expect(Object.keys(services.env)).toEqual(["REDIS_URL", "SUPABASE_URL", "SUPABASE_SERVICE_KEY", "DATABASE_URL"]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it("answers an unknown flag with a usage line and exit code 2", async () => {
    await using services = await runServices(dataDir, ["--colour"]);
    expect(await services.exitCode).toBe(2);
    expect(services.stderr()).toMatch(/^usage: .*\n$/);
  });
});

describe("secrets", () => {
  it("stay as they are; one that an older data directory does not have is made once", () => {
    const file = join(dataDir, "secrets.json");
    const older = { jwtSecret: "signs", databasePassword: "opens" };
    writeFileSync(file, JSON.stringify(older), { mode: 0o600 });
    const secrets = loadSecrets(dataDir);
    expect(secrets).toEqual({ ...older, suppressionSalt: expect.stringMatching(/^[\w-]{43}$/) });
    expect(loadSecrets(dataDir)).toEqual(secrets);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });
});

describe("startStack", { timeout: TIMEOUT_MS }, () => {
  it("removes a temporary stack without a trace", async () => {
    const stack = await startStack();
    const pids = recorded(stack.run.directory).map((record) => record.pid);
    expect(pids).toHaveLength(SERVERS.length);
    await stack.stop();
    expect(pids.filter((pid) => identityOf(pid))).toEqual([]);
    expect(existsSync(stack.dataDir)).toBe(false);
  });

  it("says what to do where there is no Redis and none may be installed", async () => {
    const start = startStack({ dataDir, redisSearch: { searchPath: base, install: false } });
    await expect(start).rejects.toThrow(/^no redis-server on this machine .* or set REDIS_URL/);
    expect(recorded(join(dataDir, "run"))).toEqual([]);
  });

  it("says what to do where there is no Postgres", async () => {
    const start = startStack({ dataDir, postgresSearch: { searchPath: base, embeddedDirectory: null } });
    await expect(start).rejects.toThrow(/^no Postgres that runs on this machine.*npm ci/);
  });

  it("says what to do where nothing answers at REDIS_URL", async () => {
    await expect(startStack({ dataDir, redisUrl: "redis://127.0.0.1:1" })).rejects.toThrow(
      /^REDIS_URL names 127\.0\.0\.1:1, and no Redis answers there/,
    );
  });

  it("starts although postmaster.pid names a live process that is no Postgres", async () => {
    const first = await startStack({ dataDir });
    await first.stop();
    const home = existsSync(join(dataDir, "postgres.location")) ? relocatedHome(dataDir) : join(dataDir, "postgres");
    writeFileSync(join(home, "cluster", "postmaster.pid"), `${process.pid}\n`);
    await using second = await startStack({ dataDir });
    expect(second.databaseUrl).toBe(first.databaseUrl);
  });

  it("runs on a data directory that other users cannot reach; as root, whose Postgres is another user, beside it", async () => {
    const hidden = join(base, "hidden");
    mkdirSync(hidden, { mode: 0o700 });
    const lines: string[] = [];
    await using stack = await startStack({ dataDir: join(hidden, "data"), log: (line) => lines.push(line) });
    const [inside, beside] = [join(stack.dataDir, "postgres"), relocatedHome(stack.dataDir)];
    try {
      const homes = [inside, beside].filter((home) => existsSync(join(home, "cluster", "PG_VERSION")));
      expect(homes).toEqual([isRoot ? beside : inside]);
      const said = lines.filter((line) => line.startsWith(`the database lives in ${beside}: `));
      expect(said).toHaveLength(isRoot ? 1 : 0);
      const client = new Client({ connectionString: stack.databaseUrl });
      await client.connect();
      expect((await client.query("select 1 as one")).rows).toEqual([{ one: 1 }]);
      await client.end();
      await stack.stop();
    } finally {
      rmSync(beside, { recursive: true, force: true });
    }
  });

  it("never signals a process that has the pid of a recorded one, but is another", async () => {
    const bystander = spawn("sleep", ["60"], { stdio: "ignore" });
    await once(bystander, "spawn");
    const pid = bystander.pid ?? 0;
    const entry = { name: "redis", pid, identity: "of an earlier process", runId: "old", stopSignal: "SIGTERM" };
    writeFileSync(join(dataDir, `redis-old-${pid}.json`), JSON.stringify(entry));
    expect(await stopRecorded(dataDir, () => true)).toEqual([]);
    expect(commandLineOf(pid)).toBe("sleep 60");
    bystander.kill("SIGKILL");
    await once(bystander, "exit");
    expect(identityOf(pid)).toBeUndefined();
  });
});

const KEPT = { key: "kept", row: "kept", api: [{ word: "kept" }] };

async function writeEverywhere(env: Record<string, string>): Promise<void> {
  await withDatabase(env, async (client) => {
    await client.query("create table if not exists launcher_test (word text)");
    await client.query(`insert into launcher_test values ('kept')`);
    await client.query(`notify pgrst, 'reload schema'`);
  });
  const redis = new Redis(env["REDIS_URL"] ?? "");
  await redis.set("launcher-test", "kept");
  redis.disconnect();
}

async function readEverywhere(env: Record<string, string>): Promise<object> {
  let row: unknown;
  await withDatabase(env, async (client) => {
    row = (await client.query<{ word: string }>("select word from launcher_test")).rows[0]?.word;
  });
  const response = await fetch(`${env["SUPABASE_URL"]}/rest/v1/launcher_test?select=word`, {
    headers: { authorization: `Bearer ${env["SUPABASE_SERVICE_KEY"]}` },
  });
  return { key: await readRedis(env), row, api: await response.json() };
}

async function readRedis(env: Record<string, string>): Promise<string | null> {
  const redis = new Redis(env["REDIS_URL"] ?? "");
  try {
    return await redis.get("launcher-test");
  } finally {
    redis.disconnect();
  }
}

async function withDatabase(env: Record<string, string>, work: (client: Client) => Promise<void>): Promise<void> {
  const client = new Client({ connectionString: env["DATABASE_URL"] });
  await client.connect();
  try {
    await work(client);
  } finally {
    await client.end();
  }
}

/** The child of a launcher that runs the watchdog's script. */
async function watchdogOf(launcher: number): Promise<number> {
  const ps = spawn("ps", ["-eo", "pid=,ppid=,command="], { stdio: ["ignore", "pipe", "inherit"] });
  let listing = "";
  for await (const chunk of ps.stdout) listing += String(chunk);
  const rows = listing.split("\n").map((line) => line.trim().split(/\s+/));
  const row = rows.find(
    ([, parent, ...command]) => parent === String(launcher) && command.join(" ").includes("watchdog"),
  );
  return Number(row?.[0]);
}
