import type { Arena, Bench, ChannelName } from "./arena.ts";
import { startChild } from "./child.ts";
import type { BareWorkerTask } from "./children/bare-worker.ts";
import type { StraightforwardTask } from "./children/straightforward.ts";
import { planHunt, queuesOf, sendAll, SPREADS } from "./hunts.ts";
import { bareAdd, samplesOf } from "./planning.ts";
import { ratio, type Section, type Series } from "./report.ts";

/** The straightforward way is too slow for all N; rates are compared. */
const STRAIGHTFORWARD_SHARE = 10;

/** Messages from queued to sent in the ledger, against a worker that does nothing and against the straightforward way. */
export async function sending(bench: Bench): Promise<Section> {
  const { n, concurrency } = bench;
  const few = Math.max(200, Math.round(n / STRAIGHTFORWARD_SHARE));
  const section: Section = { name: "sending", title: `Sending ${n} messages`, series: [], ratios: [], notes: [] };
  const peak: Series = { name: "peak memory of the service", unit: "MB", rounds: [] };

  for (const [spread, channels] of Object.entries(SPREADS)) {
    const service: Series = { name: `service, ${spread}`, unit: "messages/s", rounds: [] };
    const cpu: Series = { name: `processor time of the service, ${spread}`, unit: "s", rounds: [] };
    const bare: Series = { name: `bare worker, ${spread}`, unit: "jobs/s", rounds: [] };
    const straight: Series = { name: `straightforward, ${spread}`, unit: "messages/s", rounds: [] };
    for (let round = 0; round < bench.rounds; round++) {
      let samples: Awaited<ReturnType<typeof samplesOf>>;
      {
        await using arena = await bench.openArena();
        const process = await arena.startService();
        await planHunt(arena, process, n, channels);
        samples = await samplesOf(arena, channels);
        process.resetPeak();
        const before = process.cpuSeconds();
        const seconds = await sendAll(arena, queuesOf(channels));
        service.rounds.push(n / seconds);
        cpu.rounds.push(process.cpuSeconds() - before);
        peak.rounds.push(process.peakMb());
        await assertSent(arena, n);
      }
      const common = { redisUrl: "", prefix: "", queues: queuesOf(channels), concurrency };
      {
        await using arena = await bench.openArena();
        await prepare(arena, n, samples);
        const task = { ...common, redisUrl: arena.redisUrl, prefix: arena.prefix };
        await using _child = await startChild<BareWorkerTask, null>("bare-worker", task);
        bare.rounds.push(n / (await drain(arena, channels, n)));
      }
      await using arena = await bench.openArena();
      await prepare(arena, few, samples);
      const { supabaseUrl, supabaseServiceKey } = arena.database;
      const task = { ...common, redisUrl: arena.redisUrl, prefix: arena.prefix, supabaseUrl, supabaseServiceKey };
      await using _child = await startChild<StraightforwardTask, null>("straightforward", task);
      straight.rounds.push(few / (await drain(arena, channels, few)));
      await assertSent(arena, few);
      bench.say(`sending, ${spread}, round ${round + 1}: ${Math.round(service.rounds.at(-1) ?? 0)} messages/s`);
    }
    section.series.push(service, cpu, bare, straight);
    section.ratios.push(ratio(`service / bare worker, ${spread}`, service, bare, 0.7));
    section.ratios.push(ratio(`service / straightforward, ${spread}`, service, straight, 10));
  }
  section.series.push(peak);
  section.notes.push(
    `concurrency ${concurrency} a queue everywhere; sandbox at 0 ms, no receipts; the service is fed from the ledger, and ends there; the others find all jobs in Redis`,
    `straightforward: a worker with one insert and one update a message through supabase-js, ${few} messages`,
  );
  return section;
}

export async function prepare(arena: Arena, n: number, samples: Parameters<typeof bareAdd>[2]): Promise<void> {
  for (const { queue } of samples) await arena.queue(queue).pause();
  await bareAdd(arena, n, samples);
}

/** Lets paused queues go; seconds until every job is done. */
export async function drain(arena: Arena, channels: readonly ChannelName[], n: number): Promise<number> {
  const queues = queuesOf(channels);
  const queued = await arena.unfinished(queues);
  if (queued !== n) throw new Error(`${queued} jobs wait instead of ${n}`);
  const since = performance.now();
  await Promise.all(queues.map((name) => arena.queue(name).resume()));
  return ((await arena.until(queues, (unfinished) => unfinished === 0)) - since) / 1000;
}

export async function assertSent(arena: Arena, n: number): Promise<void> {
  const { rows } = await arena.database.sql.query<{ sent: number }>(
    "select count(*)::integer as sent from messages where status = 'sent'",
  );
  if (rows[0]?.sent !== n) throw new Error(`the ledger has ${rows[0]?.sent} sent messages instead of ${n}`);
}
