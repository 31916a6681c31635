import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import { huntBody, phoneOf, TEXT } from "./hunts.ts";
import type { Section, Series } from "./report.ts";

const SMALL = 10;
/** How long the big hunt has the service to itself, milliseconds. */
const HEAD_START_MS = 1000;
const POLL_MS = 20;
const TIMEOUT_MS = 120_000;

/** A hunt of ten that comes a second after one of N, at a provider that takes its time. */
export async function fairness(bench: Bench): Promise<Section> {
  const { n } = bench;
  const section: Section = { name: "fairness", title: `Ten messages behind ${n}`, series: [], ratios: [], notes: [] };
  const first: Series = { name: "request of the ten to the first sent", unit: "s", rounds: [] };
  const last: Series = { name: "request of the ten to the last sent", unit: "s", rounds: [] };
  const left: Series = { name: "of the others still waiting then", unit: "messages", rounds: [] };
  const redis: Series = { name: "Redis memory with all of them waiting", unit: "MB", rounds: [] };
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const service = await arena.startService({ SANDBOX_LATENCY_MS: "100" });
    await service.post("/api/hunt/execute", huntBody(arena.accountId, n, ["sms"]));
    await delay(HEAD_START_MS);
    const contacts = Array.from({ length: SMALL }, (_, i) => ({
      adId: `ad_${i}`,
      recipientPhone: phoneOf(1_000_000 + i),
      channel: "sms",
      message: TEXT,
    }));
    const asked = performance.now();
    await service.post("/api/hunt/execute", JSON.stringify({ huntId: "small", accountId: arena.accountId, contacts }));
    await sent(arena, 1);
    first.rounds.push((performance.now() - asked) / 1000);
    await sent(arena, SMALL);
    last.rounds.push((performance.now() - asked) / 1000);
    left.rounds.push(await count(arena, "hunt_id <> 'small' and settled_at is null"));
    redis.rounds.push(Number(/used_memory:(\d+)/.exec(await arena.redis.info("memory"))?.[1]) / 2 ** 20);
    bench.say(`fairness, round ${round + 1}: last of ten after ${last.rounds.at(-1)?.toFixed(2)} s`);
  }
  section.series.push(first, last, left, redis);
  section.notes.push(
    `a provider that takes 100 ms, ${bench.concurrency} calls at once; the ten come ${HEAD_START_MS} ms later`,
  );
  return section;
}

async function sent(arena: Arena, wanted: number): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while ((await count(arena, "hunt_id = 'small' and status <> 'queued' and settled_at is not null")) < wanted) {
    if (performance.now() > deadline) throw new Error("the small hunt is not sent");
    await delay(POLL_MS);
  }
}

async function count(arena: Arena, condition: string): Promise<number> {
  const { rows } = await arena.database.sql.query<{ n: number }>(
    `select count(*)::int as n from messages where ${condition}`,
  );
  return rows[0]?.n ?? 0;
}
