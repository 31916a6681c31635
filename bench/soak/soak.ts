import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { pathToFileURL } from "node:url";
import { ROOT } from "../../dev/command.ts";
import { StackError } from "../../dev/stack/stack-error.ts";
import { createClient } from "../../src/client.ts";
import { openBench, type Arena } from "../arena.ts";
import { phoneOf, SPREADS } from "../hunts.ts";
import { SECRET } from "../service.ts";
import type { Inside } from "./probe.ts";
import type { Sample } from "./samples.ts";

export interface SoakOptions {
  minutes: number;
  /** Messages a second. */
  rate: number;
  stopping: AbortSignal;
  say(line: string): void;
}

export interface SoakResult {
  minutes: number;
  rate: number;
  accepted: number;
  delivered: number;
  /** Submissions that were refused or never answered. */
  refused: number;
  samples: Sample[];
}

/** Hunts a second: the contacts of each come at once, as from the web app. */
const HUNTS_A_SECOND = 2;
const SAMPLE_MS = 3000;
const QUIET_TIMEOUT_MS = 60_000;
const POLL_MS = 250;
const TEXT = "Bonjour, votre annonce est-elle toujours disponible ?";
const UNFINISHED_QUEUES = ["hunt", "sms", "whatsapp", "voice"];

/** A steady load with receipts on one process of the service, looked at every few seconds. */
export async function soak({ minutes, rate, stopping, say }: SoakOptions): Promise<SoakResult> {
  await using bench = await openBench({ n: 0, rounds: 1, concurrency: 100, say });
  await using arena = await bench.openArena();
  await using undo = new AsyncDisposableStack();
  const directory = undo.adopt(mkdtempSync(join(tmpdir(), "soak-")), (path) => rmSync(path, { recursive: true }));
  const probeFile = join(directory, "probe.jsonl");
  const service = await arena.startService({
    SANDBOX_LATENCY_MS: "20",
    SANDBOX_RECEIPT_DELAY_MS: "500",
    // So that the queues hold as many ended jobs as they ever will before the run is judged.
    KEEP_COMPLETED_COUNT: "200",
    SOAK_PROBE_FILE: probeFile,
    NODE_OPTIONS: `--import=${pathToFileURL(join(ROOT, "bench/soak/probe.ts")).href}`,
  });
  const client = createClient({ baseUrl: service.url, apiSecret: SECRET });
  const enough = AbortSignal.any([stopping, AbortSignal.timeout(minutes * 60_000)]);
  const result: SoakResult = { minutes, rate, accepted: 0, delivered: 0, refused: 0, samples: [] };
  const began = performance.now();

  async function load(): Promise<void> {
    const channels = SPREADS["three channels"] ?? [];
    const unanswered = new Set<Promise<void>>();
    let people = 0;
    for (let no = 0; !enough.aborted; no++) {
      await until(began + (no / HUNTS_A_SECOND) * 1000, enough);
      const size = Math.round(((no + 1) * rate) / HUNTS_A_SECOND) - Math.round((no * rate) / HUNTS_A_SECOND);
      const contacts = Array.from({ length: size }, (_, i) => ({
        adId: `ad_${i}`,
        recipientPhone: phoneOf(people++),
        channel: channels[i % channels.length] ?? "sms",
        message: TEXT,
      }));
      const call = client.executeHunt({ huntId: `hunt_${no}`, accountId: arena.accountId, contacts });
      const answered = call.then((answer) => {
        if (answer.ok) result.accepted += answer.value.accepted;
        else result.refused += 1;
        unanswered.delete(answered);
      });
      unanswered.add(answered);
    }
    await Promise.all(unanswered);
  }

  async function look(): Promise<void> {
    while (!enough.aborted) {
      await until(performance.now() + SAMPLE_MS, enough);
      service.assertAlive();
      result.samples.push({
        minutes: (performance.now() - began) / 60_000,
        values: await valuesOf(arena, probeFile, service.url),
      });
      const { values } = result.samples.at(-1) as Sample;
      const [rss, waiting] = [values["memory (RSS), MB"] ?? 0, values["messages not settled"] ?? 0];
      say(
        `${result.samples.at(-1)?.minutes.toFixed(1)} min: ${result.accepted} accepted, ${waiting} open, ${rss.toFixed(0)} MB`,
      );
    }
  }

  await Promise.all([load(), look()]);
  if (stopping.aborted) throw new StackError("stopped before the end");
  const deadline = performance.now() + QUIET_TIMEOUT_MS;
  const count = "select count(*)::int as n from messages where status = 'delivered'";
  while (result.delivered < result.accepted && performance.now() < deadline && !stopping.aborted) {
    await delay(POLL_MS);
    result.delivered = await numberOf(arena, count);
  }
  return result;
}

async function valuesOf(arena: Arena, probeFile: string, url: string): Promise<Record<string, number>> {
  const open = await numberOf(arena, "select count(*)::int as n from messages where status in ('queued', 'sending')");
  const oldest = `select coalesce(extract(epoch from now() - min(created_at)), 0)::float as n
    from messages where status in ('queued', 'sending')`;
  const asked = performance.now();
  const answer = await fetch(`${url}/ready`);
  await answer.body?.cancel();
  const latencyMs = performance.now() - asked;
  const inside = lastLine(probeFile);
  const memory = /used_memory:(\d+)/.exec(await arena.redis.info("memory"));
  return {
    "memory (RSS), MB": inside.rssMb,
    "live heap, MB": inside.liveMb,
    handles: inside.handles,
    "event loop lag p99, ms": inside.lagP99Ms,
    "event loop lag max, ms": inside.lagMaxMs,
    "latency of /ready, ms": latencyMs,
    "Redis keys": await arena.redis.dbsize(),
    "Redis memory, MB": Number(memory?.[1]) / 2 ** 20,
    "jobs not finished": await arena.unfinished(UNFINISHED_QUEUES),
    "messages not settled": open,
    "oldest of them, s": await numberOf(arena, oldest),
  };
}

function lastLine(file: string): Inside {
  const lines = readFileSync(file, "utf8").trimEnd().split("\n");
  return JSON.parse(lines.at(-1) ?? "{}") as Inside;
}

async function numberOf(arena: Arena, sql: string): Promise<number> {
  const { rows } = await arena.database.sql.query<{ n: number }>(sql);
  return rows[0]?.n ?? Number.NaN;
}

async function until(at: number, signal: AbortSignal): Promise<void> {
  await delay(Math.max(0, at - performance.now()), undefined, { signal }).catch(() => {});
}
