import { availableParallelism } from "node:os";
import type { Arena, Bench } from "./arena.ts";
import { startChild } from "./child.ts";
import type { BareWorkerTask } from "./children/bare-worker.ts";
import { planHunt, queuesOf, sendAll } from "./hunts.ts";
import { samplesOf } from "./planning.ts";
import { ratio, type Section, type Series } from "./report.ts";
import { assertSent, drain, prepare } from "./sending.ts";
import type { ServiceProcess } from "./service.ts";

const CHANNELS = ["sms"] as const;
const COUNTS = [1, 2] as const;
/** What a real provider is like: the workers wait for it, and their processors are idle. */
const SLOW = { latencyMs: 200, concurrency: 50, messages: 3000 };

/** Two worker processes against one, beside an API process; and BullMQ alone with as many. */
export async function replicas(bench: Bench): Promise<Section> {
  const { n, concurrency } = bench;
  const sides = COUNTS.map((count) => ({ count, ...seriesFor(count) }));
  for (let round = 0; round < bench.rounds; round++) {
    for (const { count, planned, sent, cpu, bare, slow } of sides) {
      let samples: Awaited<ReturnType<typeof samplesOf>>;
      {
        await using arena = await bench.openArena();
        const api = await arena.startService({ ROLE: "api" });
        const workers = await startWorkers(arena, count, {});
        const { planSeconds } = await planHunt(arena, api, n, CHANNELS);
        planned.rounds.push(n / planSeconds);
        samples = await samplesOf(arena, CHANNELS);
        const used = (): number => workers.reduce((sum, worker) => sum + worker.cpuSeconds(), 0);
        const before = used();
        sent.rounds.push(n / (await sendAll(arena, queuesOf(CHANNELS))));
        cpu.rounds.push(used() - before);
        await assertSent(arena, n);
      }
      await using arena = await bench.openArena();
      await prepare(arena, n, samples);
      const { redisUrl, prefix } = arena;
      const task: BareWorkerTask = { redisUrl, prefix, queues: queuesOf(CHANNELS), concurrency };
      await using children = new AsyncDisposableStack();
      for (let i = 0; i < count; i++) children.use(await startChild<BareWorkerTask, null>("bare-worker", task));
      bare.rounds.push(n / (await drain(arena, CHANNELS, n)));
      slow.rounds.push(await withSlowProvider(bench, count));
      bench.say(`replicas, ${count}, round ${round + 1}: ${Math.round(sent.rounds.at(-1) ?? 0)} messages/s`);
    }
  }
  const [one, two] = sides as [(typeof sides)[0], (typeof sides)[0]];
  return {
    name: "replicas",
    title: `Two worker processes against one, ${n} messages`,
    series: sides.flatMap(({ planned, sent, cpu, bare, slow }) => [planned, sent, cpu, bare, slow]),
    ratios: [
      ratio("two / one, service, planning", two.planned, one.planned),
      ratio("two / one, service, sending", two.sent, one.sent),
      ratio("two / one, bare worker", two.bare, one.bare),
      ratio("two / one, service, a slow provider", two.slow, one.slow),
    ],
    notes: [
      `${availableParallelism()} cores for all: the workers, the process with ROLE=api, Redis, Postgres, PostgREST and its proxy; with as few cores a second process has hardly any of its own`,
      `one channel, concurrency ${concurrency} in each process; the slow provider takes ${SLOW.latencyMs} ms, of ${SLOW.concurrency} messages of each process at once`,
    ],
  };
}

/** Messages a second where the processors are not what is short. */
async function withSlowProvider(bench: Bench, count: number): Promise<number> {
  const n = Math.min(bench.n, SLOW.messages);
  await using arena = await bench.openArena();
  const api = await arena.startService({ ROLE: "api" });
  await startWorkers(arena, count, {
    SANDBOX_LATENCY_MS: String(SLOW.latencyMs),
    WORKER_CONCURRENCY: String(SLOW.concurrency),
  });
  await planHunt(arena, api, n, CHANNELS);
  const seconds = await sendAll(arena, queuesOf(CHANNELS));
  await assertSent(arena, n);
  return n / seconds;
}

function seriesFor(count: number): Record<"planned" | "sent" | "cpu" | "bare" | "slow", Series> {
  const words = count === 1 ? "one worker" : "two workers";
  return {
    planned: { name: `${words}, service, planning`, unit: "contacts/s", rounds: [] },
    sent: { name: `${words}, service, sending`, unit: "messages/s", rounds: [] },
    cpu: { name: `${words}, service, sending: their processor time`, unit: "s", rounds: [] },
    bare: { name: `${words}, bare`, unit: "jobs/s", rounds: [] },
    slow: { name: `${words}, service, sending over a slow provider`, unit: "messages/s", rounds: [] },
  };
}

async function startWorkers(
  arena: Arena,
  count: number,
  environment: Record<string, string>,
): Promise<ServiceProcess[]> {
  const workers: ServiceProcess[] = [];
  while (workers.length < count) workers.push(await arena.startService({ ...environment, ROLE: "worker" }));
  return workers;
}
