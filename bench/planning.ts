import type { Arena, Bench, ChannelName, NewJob } from "./arena.ts";
import { startChild } from "./child.ts";
import type { BareAddTask } from "./children/bare-add.ts";
import { planHunt, queuesOf, sampleJob, SPREADS } from "./hunts.ts";
import { ratio, type Section, type Series } from "./report.ts";

/** Contacts through the whole hunt path, against the same jobs put into Redis and nothing else. */
export async function planning(bench: Bench): Promise<Section> {
  const { n } = bench;
  const section: Section = { name: "planning", title: `Planning ${n} contacts`, series: [], ratios: [], notes: [] };
  const peak: Series = { name: "peak memory of the service", unit: "MB", rounds: [] };
  const accept: Series = { name: "request to 202", unit: "s", rounds: [] };

  for (const [spread, channels] of Object.entries(SPREADS)) {
    const service: Series = { name: `service, ${spread}`, unit: "contacts/s", rounds: [] };
    const cpu: Series = { name: `processor time of the service, ${spread}`, unit: "s", rounds: [] };
    const bare: Series = { name: `bare addBulk, ${spread}`, unit: "jobs/s", rounds: [] };
    for (let round = 0; round < bench.rounds; round++) {
      let samples: Samples;
      {
        await using arena = await bench.openArena();
        const process = await arena.startService();
        const before = process.cpuSeconds();
        const { acceptSeconds, planSeconds } = await planHunt(arena, process, n, channels);
        service.rounds.push(n / planSeconds);
        cpu.rounds.push(process.cpuSeconds() - before);
        accept.rounds.push(acceptSeconds);
        peak.rounds.push(process.peakMb());
        samples = await samplesOf(arena, channels);
      }
      await using arena = await bench.openArena();
      bare.rounds.push(n / (await bareAdd(arena, n, samples)));
      bench.say(`planning, ${spread}, round ${round + 1}: ${Math.round(service.rounds.at(-1) ?? 0)} contacts/s`);
    }
    section.series.push(service, cpu, bare);
    section.ratios.push(ratio(`service / bare, ${spread}`, service, bare, 0.75));
  }
  section.series.push(accept, peak);
  section.notes.push(
    "service: from the 202 to the last contact in the ledger, the channel queues paused; bare: addBulk of the same jobs, 500 at a time",
  );
  return section;
}

type Samples = { queue: string; sample: NewJob }[];

export function samplesOf(arena: Arena, channels: readonly ChannelName[]): Promise<Samples> {
  return Promise.all(queuesOf(channels).map(async (queue) => ({ queue, sample: await sampleJob(arena, queue) })));
}

/** Seconds. */
export async function bareAdd(arena: Arena, n: number, samples: Samples): Promise<number> {
  const task: BareAddTask = { redisUrl: arena.redisUrl, prefix: arena.prefix, samples, n };
  await using child = await startChild<BareAddTask, { seconds: number }>("bare-add", task);
  return (await child.go()).seconds;
}
