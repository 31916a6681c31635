import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { commandLineOf, identityOf } from "../../dev/stack/identity.ts";
import { freePort } from "../../dev/stack/ports.ts";
import { type ProcessRecord, recorded } from "../../dev/stack/run-directory.ts";
import type { HuntStatus, NewHunt } from "../../src/client.ts";
import { keepFile } from "../helpers/output.ts";

const ROOT = join(import.meta.dirname, "..", "..");
/** Each starts three servers and the service: on a machine that has other work, that takes its time. */
vi.setConfig({ testTimeout: 60_000 });
const PATIENCE = { timeout: 40_000, interval: 10 };
const SERVERS = ["postgres", "postgrest", "redis", "service"];

/** `npm run demo` as a process of its own, with its temporary files in a directory of its own. */
function startDemo(args: readonly string[], extra: Record<string, string> = {}) {
  const temporary = realpathSync(mkdtempSync(join(tmpdir(), "demo-test-")));
  // As root, Postgres runs as a user who has to pass through.
  chmodSync(temporary, 0o711);
  const env = { ...process.env, REDIS_URL: "", FORCE_COLOR: "1", TMPDIR: temporary, ...extra };
  const child = spawn(process.execPath, ["--", join(ROOT, "dev", "demo.ts"), ...args], {
    env,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const closed = once(child, "close").then(([code]) => code as number | null);
  onTestFinished(async () => {
    child.kill("SIGTERM");
    await closed;
    rmSync(temporary, { recursive: true, force: true });
  });

  const seen = new Map<string, ProcessRecord>();
  const look = (): string[] => {
    for (const name of readdirSync(temporary)) {
      try {
        for (const record of recorded(join(temporary, name, "run"))) seen.set(record.name, record);
      } catch (error) {
        // Between making its directory and claiming it, or after removing it.
        if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      }
    }
    return [...seen.keys()].toSorted();
  };
  return {
    stdout: () => stdout,
    stderr: () => stderr,
    /** The exit code, once all output has been read. */
    closed,
    kill: (signal: NodeJS.Signals) => child.kill(signal),
    /** Settles when all four servers have been seen; remembers them. */
    async allStarted() {
      await expect.poll(look, PATIENCE).toEqual(SERVERS);
      for (const name of readdirSync(temporary)) {
        const log = join(temporary, name, "logs", "service.log");
        if (existsSync(log)) keepFile(log);
      }
    },
    server: (name: string) => seen.get(name)!,
    /** What it has started and not stopped: by its records, and by its temporary directory in a command line. */
    leftRunning(): string[] {
      const records = [...seen.values()].filter(({ pid, identity }) => identityOf(pid) === identity);
      const others = pids()
        .map(commandLineOf)
        .filter((command) => command.includes(temporary));
      return [...records.map(({ name }) => name), ...others];
    },
    leftBehind: () => readdirSync(temporary),
  };
}

function pids(): number[] {
  const names =
    process.platform === "linux"
      ? readdirSync("/proc")
      : execFileSync("ps", ["-A", "-o", "pid="], { encoding: "utf8" }).split("\n");
  return names.map(Number).filter((pid) => pid > 0);
}

function sum(counts: Record<string, number>): number {
  return Object.values(counts).reduce((total, count) => total + count, 0);
}

const hunt = JSON.parse(readFileSync(join(ROOT, "examples", "hunt.json"), "utf8")) as NewHunt;

test("a demo with --json carries out the whole hunt, says so in its last line and leaves nothing behind", async () => {
  const demo = startDemo(["--json"]);
  await demo.allStarted();
  expect(await demo.closed).toBe(0);

  const result = JSON.parse(demo.stdout().trimEnd().split("\n").at(-1) ?? "") as HuntStatus & { seconds: number };
  expect(result).toMatchObject({
    total: hunt.contacts.length,
    counts: {
      queued: 0,
      sending: 0,
      sent: 0,
      delivered: 49,
      read: 0,
      failed: 6,
      skipped: 14,
      cancelled: 0,
      unknown: 3,
    },
    reasons: { duplicate: 6, invalid_number: 4, suppressed: 2, no_credit: 2 },
    codes: { sandbox_refused: 3, undelivered: 3, ambiguous: 3 },
  });
  expect(sum(result.counts)).toBe(result.total);
  const contacts = Map.groupBy(hunt.contacts, ({ channel }) => channel);
  expect(Object.fromEntries(Object.entries(result.byChannel).map(([name, counts]) => [name, sum(counts)]))).toEqual(
    Object.fromEntries([...contacts].map(([name, group]) => [name, group.length])),
  );
  expect(result.seconds).toBeGreaterThan(0);

  expect(demo.stderr()).toContain("1 reply: STOP → suppressed: biz_yoga_5204");
  // It was given no terminal: no colour, nothing drawn twice.
  // oxlint-disable-next-line no-control-regex
  expect(demo.stdout() + demo.stderr()).not.toMatch(/[\u001b\r]/);
  expect(
    demo
      .stderr()
      .split("\n")
      .filter((line) => line.length > 100),
  ).toEqual([]);
  expect(demo.leftRunning()).toEqual([]);
  expect(demo.leftBehind()).toEqual([]);
});

test("with --keep its addresses work, until SIGTERM stops everything and it exits with 0", async () => {
  const demo = startDemo(["--keep"]);
  await demo.allStarted();
  await expect.poll(demo.stdout, PATIENCE).toContain("Ctrl-C stops it");
  const addressOf = (path: string): string => new RegExp(`http://\\S+${path}`).exec(demo.stdout())?.[0] ?? "";
  expect(await (await fetch(addressOf("/health"))).json()).toMatchObject({ status: "ok" });
  expect((await fetch(addressOf("/docs"))).status).toBe(200);

  const secret = /the secret to enter: (\S+)/.exec(demo.stdout())?.[1] ?? "";
  const board = addressOf("/admin/queues");
  const login = await fetch(board.replace("/queues", "/login"), {
    method: "POST",
    body: new URLSearchParams({ secret }),
    redirect: "manual",
  });
  const cookie = login.headers.get("set-cookie")?.split(";")[0] ?? "";
  expect((await fetch(board, { headers: { cookie, accept: "text/html" } })).status).toBe(200);

  // As the shell reads the line, a stand-in for curl prints what it would be given.
  const line =
    /curl [^]*?'\n/.exec(demo.stdout().slice(demo.stdout().indexOf("curl ")).replace(" \\\n", " "))?.[0] ?? "";
  const printed = execFileSync("sh", ["-c", `curl() { printf '%s\\n' "$@"; }; ${line}`], { encoding: "utf8" });
  const [, url = "", , authorization = "", , type = "", , body = ""] = printed.split("\n");
  const headers = Object.fromEntries([authorization, type].map((header) => header.split(": ") as [string, string]));
  expect((await fetch(url, { method: "POST", headers, body })).status).toBe(202);

  demo.kill("SIGTERM");
  expect(await demo.closed).toBe(0);
  expect(demo.leftRunning()).toEqual([]);
  expect(demo.leftBehind()).toEqual([]);
});

test("Ctrl-C in the middle of the hunt stops everything and is no success", async () => {
  const demo = startDemo([]);
  await demo.allStarted();
  await expect.poll(demo.stdout, PATIENCE).toContain("the hunt is accepted");
  demo.kill("SIGINT");
  expect(await demo.closed).toBe(130);
  expect(demo.stdout()).not.toContain("Done in");
  expect(demo.leftRunning()).toEqual([]);
  expect(demo.leftBehind()).toEqual([]);
});

test("a service that dies in the middle of the hunt ends the demo in plain words, with all else stopped", async () => {
  const demo = startDemo([]);
  await demo.allStarted();
  await expect.poll(demo.stdout, PATIENCE).toContain("the hunt is accepted");
  process.kill(demo.server("service").pid, "SIGKILL");
  expect(await demo.closed).toBe(1);
  expect(demo.stderr()).toMatch(/^error: the service stopped by itself \(signal SIGKILL\)/);
  expect(demo.stderr()).not.toMatch(/^\s+at /m);
  expect(demo.leftRunning()).toEqual([]);
  expect(demo.leftBehind()).toEqual([]);
});

test("a REDIS_URL at which nobody answers is told in words and leaves nothing behind", async () => {
  const demo = startDemo([], { REDIS_URL: `redis://127.0.0.1:${await freePort()}` });
  expect(await demo.closed).toBe(1);
  expect(demo.stderr()).toMatch(/^error: REDIS_URL names 127\.0\.0\.1:\d+, and no Redis answers there/);
  expect(demo.stderr()).not.toMatch(/^\s+at /m);
  expect(demo.leftRunning()).toEqual([]);
  expect(demo.leftBehind()).toEqual([]);
});

test("an option that it does not know gets the usage and starts nothing", async () => {
  const demo = startDemo(["--kep"]);
  expect(await demo.closed).toBe(2);
  expect(demo.stderr()).toContain("usage: npm run demo");
  expect(demo.leftBehind()).toEqual([]);
});
