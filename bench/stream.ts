import { once } from "node:events";
import { request } from "node:http";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import type { Section, Series } from "./report.ts";
import { HEADERS, type ServiceProcess } from "./service.ts";

/** For how long a backlog is looked at, seconds. */
const WATCHED_SECONDS = 20;

/** One NDJSON stream of contacts for one slow sender, and what they cost while they wait. */
export async function stream(bench: Bench): Promise<Section> {
  const { n } = bench;
  const series = (name: string, unit: string): Series => ({ name, unit, rounds: [] });
  const accept = series("first byte to 202", "s");
  const plan = series("202 to the last contact in the ledger", "s");
  const atStart = series("memory of the service before", "MB");
  const taking = series("peak memory of the service until the 202", "MB");
  const peak = series("peak memory of the service while it plans", "MB");
  const redis = series("Redis, a waiting contact of a hunt for later", "bytes");
  const slow = series("Redis, a waiting contact of a sender with 1 a second", "bytes");
  const cpu = series("processor time of the service, all of them waiting", "% of a core");
  const slowCpu = series("processor time of the service, at 1 a second", "% of a core");
  const idle = series("processor time of the service, nothing waiting", "% of a core");

  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const service = await arena.startService();
    await delay(5000);
    idle.rounds.push(await load(service));
    const before = await usedBytes(arena);
    atStart.rounds.push(service.memoryMb());
    service.resetPeak();
    const startedAt = performance.now();
    await submit(arena, service, n);
    const acceptedAt = performance.now();
    taking.rounds.push(service.peakMb());
    service.resetPeak();
    await arena.until(["hunt"], (left) => left === 0, service);
    accept.rounds.push((acceptedAt - startedAt) / 1000);
    plan.rounds.push((performance.now() - acceptedAt) / 1000);
    peak.rounds.push(service.peakMb());
    // The jobs of planning stay for inspection; they are no contact's.
    await arena.queue("hunt").obliterate({ force: true });
    redis.rounds.push(((await usedBytes(arena)) - before) / n);
    cpu.rounds.push(await load(service));
    await arena.database.sql.query(
      `update accounts set limits = '[{"channel":"sms","sender":"*","perSecond":1}]' where id = $1`,
      [arena.accountId],
    );
    await arena.database.sql.query("update flows set due_at = now()");
    slowCpu.rounds.push(await load(service));
    slow.rounds.push(((await usedBytes(arena)) - before) / n);
    bench.say(`stream, round ${round + 1}: ${Math.round(peak.rounds.at(-1) ?? 0)} MB`);
  }
  return {
    name: "stream",
    title: `${n} contacts by one NDJSON stream`,
    series: [accept, plan, atStart, taking, peak, redis, slow, idle, cpu, slowCpu],
    ratios: [],
    notes: [`processor times over ${WATCHED_SECONDS} s; the service alone, without Postgres`],
  };
}

async function submit(arena: Arena, service: ServiceProcess, n: number): Promise<void> {
  const sendAt = new Date(Date.now() + 86_400_000).toISOString();
  function* lines(): Generator<string> {
    yield `${JSON.stringify({ huntId: "hunt_stream", accountId: arena.accountId, sendAt })}\n`;
    for (let i = 0; i < n; i++) {
      const recipientPhone = `+336${String(10_000_000 + i)}`;
      yield `${JSON.stringify({ adId: `ad_${i}`, recipientPhone, channel: "sms", message: `Bonjour ${i}, votre bien est-il libre ?` })}\n`;
    }
  }
  const sent = request(`${service.url}/api/hunt/execute`, {
    method: "POST",
    headers: { ...HEADERS, "content-type": "application/x-ndjson" },
  });
  Readable.from(lines()).pipe(sent);
  const [response] = (await once(sent, "response")) as [NodeJS.ReadableStream & { statusCode: number }];
  response.resume();
  if (response.statusCode !== 202) throw new Error(`the stream was answered with ${response.statusCode}`);
}

async function load(service: ServiceProcess): Promise<number> {
  const before = service.cpuSeconds();
  await delay(WATCHED_SECONDS * 1000);
  return (100 * (service.cpuSeconds() - before)) / WATCHED_SECONDS;
}

async function usedBytes(arena: Arena): Promise<number> {
  return Number(/^used_memory:(\d+)/m.exec(await arena.redis.info("memory"))?.[1]);
}
