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

/** Two worker processes against one, beside an API process; and BullMQ alone with as many. */
export async function replicas(bench: Bench): Promise<Section> {
  const { n, concurrency } = bench;
  const sides = COUNTS.map((count) => ({ count, ...seriesFor(count) }));
  for (let round = 0; round < bench.rounds; round++) {
    for (const { count, planned, sent, cpu, bare } of sides) {
      let samples: Awaited<ReturnType<typeof samplesOf>>;
      {
        await using arena = await bench.openArena();
        const api = await arena.startService({ ROLE: "api" });
        const workers = await startWorkers(arena, count);
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
      bench.say(`replicas, ${count}, round ${round + 1}: ${Math.round(sent.rounds.at(-1) ?? 0)} messages/s`);
    }
  }
  const [one, two] = sides as [(typeof sides)[0], (typeof sides)[0]];
  return {
    name: "replicas",
    title: `Two worker processes against one, ${n} messages`,
    series: sides.flatMap(({ planned, sent, cpu, bare }) => [planned, sent, cpu, bare]),
    ratios: [
      ratio("two / one, service, planning", two.planned, one.planned),
      ratio("two / one, service, sending", two.sent, one.sent),
      ratio("two / one, bare worker", two.bare, one.bare),
    ],
    notes: [
      `${availableParallelism()} cores for all: the workers, the process with ROLE=api, Redis, Postgres, PostgREST and its proxy; with as few cores a second process has hardly any of its own`,
      `one channel, concurrency ${concurrency} in each process`,
    ],
  };
}

function seriesFor(count: number): Record<"planned" | "sent" | "cpu" | "bare", Series> {
  const words = count === 1 ? "one worker" : "two workers";
  return {
    planned: { name: `${words}, service, planning`, unit: "contacts/s", rounds: [] },
    sent: { name: `${words}, service, sending`, unit: "messages/s", rounds: [] },
    cpu: { name: `${words}, service, sending: their processor time`, unit: "s", rounds: [] },
    bare: { name: `${words}, bare`, unit: "jobs/s", rounds: [] },
  };
}

async function startWorkers(arena: Arena, count: number): Promise<ServiceProcess[]> {
  const workers: ServiceProcess[] = [];
  while (workers.length < count) workers.push(await arena.startService({ ROLE: "worker" }));
  return workers;
}
