import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import { huntBody, phoneOf, TEXT } from "./hunts.ts";
import type { Section, Series } from "./report.ts";

const SMALL = 10;
const PRIORITIES = ["normal", "high", "low"] as const;
const OTHER_ACCOUNT = "acc_bench_small";
/** How long the big hunt has the service to itself, and how long it has it between two small ones, milliseconds. */
const HEAD_START_MS = 1000;
const LATENCY_MS = 100;
const POLL_MS = 20;
const TIMEOUT_MS = 120_000;

/** Hunts of ten of one account that come a second after one of N of another, at a provider that takes its time. */
export async function fairness(bench: Bench): Promise<Section> {
  const { n } = bench;
  const seriesOf = (name: string, unit = "s"): Series => ({ name, unit, rounds: [] });
  const small = PRIORITIES.map((priority) => ({
    priority,
    first: seriesOf(`request of the ten to the first sent, ${priority}`),
    last: seriesOf(`request of the ten to the last sent, ${priority}`),
  }));
  const left = seriesOf("of the others still open then", "messages");
  const redis = seriesOf("Redis memory with all of them waiting", "MB");
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    await arena.database.sql.query("insert into accounts (id) values ($1)", [OTHER_ACCOUNT]);
    const service = await arena.startService({ SANDBOX_LATENCY_MS: String(LATENCY_MS) });
    await service.post("/api/hunt/execute", huntBody(arena.accountId, n, ["sms"]));
    for (const { priority, first, last } of small) {
      await delay(HEAD_START_MS);
      const asked = performance.now();
      await service.post("/api/hunt/execute", smallHunt(priority));
      await sent(arena, priority, 1);
      first.rounds.push((performance.now() - asked) / 1000);
      await sent(arena, priority, SMALL);
      last.rounds.push((performance.now() - asked) / 1000);
    }
    left.rounds.push(n - (await settled(arena, arena.accountId)));
    redis.rounds.push(Number(/used_memory:(\d+)/.exec(await arena.redis.info("memory"))?.[1]) / 2 ** 20);
    const words = small.map(({ priority, last }) => `${priority} ${last.rounds.at(-1)?.toFixed(2)} s`);
    bench.say(`fairness, round ${round + 1}: last of ten after: ${words.join(", ")}`);
  }
  return {
    name: "fairness",
    title: `Ten messages behind ${n}`,
    series: [...small.flatMap(({ first, last }) => [first, last]), left, redis],
    ratios: [],
    notes: [
      `a provider that takes ${LATENCY_MS} ms, ${bench.concurrency} calls at once; the ten are another account's, and come ${HEAD_START_MS} ms after the 202 of the big hunt or the end of the ten before`,
      "aim: the first within 2 s",
    ],
  };
}

function smallHunt(priority: string): string {
  const contacts = Array.from({ length: SMALL }, (_, i) => ({
    adId: `ad_${i}`,
    recipientPhone: phoneOf(1_000_000 + i),
    channel: "sms",
    message: TEXT,
  }));
  return JSON.stringify({ huntId: priority, accountId: OTHER_ACCOUNT, priority, contacts });
}

async function sent(arena: Arena, huntId: string, wanted: number): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  const count = "select count(*)::int as n from messages where hunt_id = $1 and status = 'sent'";
  while ((await arena.database.sql.query<{ n: number }>(count, [huntId])).rows[0]!.n < wanted) {
    if (performance.now() > deadline) throw new Error("the small hunt is not sent");
    await delay(POLL_MS);
  }
}

async function settled(arena: Arena, accountId: string): Promise<number> {
  const count = "select count(*)::int as n from messages where account_id = $1 and settled_at is not null";
  return (await arena.database.sql.query<{ n: number }>(count, [accountId])).rows[0]!.n;
}
