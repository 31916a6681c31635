import type { Arena, Bench } from "./arena.ts";
import { startChild } from "./child.ts";
import type { BareApiTask } from "./children/bare-api.ts";
import type { LoadResult, LoadTask } from "./children/load.ts";
import { startMeter, type Usage } from "./meter.ts";
import { ratio, type Section, type Series } from "./report.ts";
import { HEADERS } from "./service.ts";

const CONNECTIONS = 32;
const WARM_UP_MS = 1000;
const MEASURE_MS = 4000;
const MESSAGE = "Bonjour, votre annonce est-elle toujours disponible ?";

const CALLS = {
  "single SMS": {
    path: "/api/phone/sms",
    body: (accountId: string) => ({ recipientPhone: "+33612{{i}}", accountId, message: MESSAGE }),
  },
  "hunt of 10": {
    path: "/api/hunt/execute",
    body: (accountId: string) => ({
      huntId: "hunt_{{i}}",
      accountId,
      contacts: Array.from({ length: 10 }, (_, i) => ({
        adId: `ad_${i}`,
        recipientPhone: `+3361${i}{{i}}`,
        channel: "sms",
        message: MESSAGE,
      })),
    }),
  },
};

/** Accepting work, against Express and `queue.add` alone. */
export async function api(bench: Bench): Promise<Section> {
  const section: Section = { name: "api", title: `API, ${CONNECTIONS} connections`, series: [], ratios: [], notes: [] };
  await using arena = await bench.openArena();
  for (const name of ["sms", "hunt"]) await arena.queue(name).pause();
  // The hunts that wait for the paused planner are no orphans to look for again and again.
  const service = await arena.startService({ SWEEP_MS: "3600000" });
  const task: BareApiTask = { redisUrl: arena.redisUrl, prefix: arena.prefix };
  await using bareProcess = await startChild<BareApiTask, { url: string }>("bare-api", task);
  const bareUrl = (await bareProcess.go()).url;

  let from = 0;
  for (const [name, { path, body }] of Object.entries(CALLS)) {
    const both = { service: seriesOf(`service, ${name}`), bare: seriesOf(`bare Express + queue.add, ${name}`) };
    for (let round = 0; round < bench.rounds; round++) {
      for (const [side, base] of [
        ["service", service.url],
        ["bare", bareUrl],
      ] as const) {
        const pid = side === "service" ? service.pid : bareProcess.pid;
        const { result, usage } = await load(arena, pid, base + path, JSON.stringify(body(arena.accountId)), from);
        from += 100_000;
        if (result.refused > 0) throw new Error(`${path}: ${result.refused} of ${result.requests} answers were no 202`);
        both[side].rate.rounds.push(result.perSecond);
        both[side].p50.rounds.push(result.p50Ms);
        both[side].p99.rounds.push(result.p99Ms);
        both[side].cost.push({ requests: result.allRequests, usage });
      }
      bench.say(`api, ${name}, round ${round + 1}: ${Math.round(both.service.rate.rounds.at(-1) ?? 0)} requests/s`);
    }
    for (const { rate, p50, p99, cost } of [both.service, both.bare])
      section.series.push(rate, p50, p99, ...costOf(rate.name, cost));
    section.ratios.push(ratio(`requests/s, service / bare, ${name}`, both.service.rate, both.bare.rate, 0.7));
    section.ratios.push(ratio(`p99, bare / service, ${name}`, both.bare.p99, both.service.p99, 0.5));
  }
  section.series.push({ name: "peak memory of the service", unit: "MB", rounds: [service.peakMb()] });
  section.notes.push(
    "workers paused, sweeper at rest; the load comes from a third process; a service's 202 means: in the ledger and in the queue",
  );
  await assertKept(arena);
  return section;
}

interface Cost {
  requests: number;
  usage: Usage;
}

function seriesOf(name: string): { rate: Series; p50: Series; p99: Series; cost: Cost[] } {
  return {
    rate: { name, unit: "requests/s", rounds: [] },
    p50: { name: `${name}, p50`, unit: "ms", rounds: [] },
    p99: { name: `${name}, p99`, unit: "ms", rounds: [] },
    cost: [],
  };
}

/** Processor time a request of each process, that of the load too: it takes its part of the cores. */
function costOf(name: string, cost: readonly Cost[]): Series[] {
  const series = (what: string, of: (usage: Usage) => number): Series => ({
    name: `${name}: processor, ${what}`,
    unit: "µs",
    rounds: cost.map(({ requests, usage }) => (1e6 * of(usage)) / requests),
  });
  const processes = Object.keys(cost[0]?.usage.cpu ?? {});
  return [
    ...processes.map((process) => series(process, ({ cpu }) => cpu[process] ?? 0)),
    series("all", ({ cpu }) => Object.values(cpu).reduce((sum, seconds) => sum + seconds, 0)),
  ];
}

async function load(
  arena: Arena,
  pid: number,
  url: string,
  body: string,
  from: number,
): Promise<{ result: LoadResult; usage: Usage }> {
  const task: LoadTask = {
    url,
    headers: HEADERS,
    body,
    from: from % 1_000_000,
    connections: CONNECTIONS,
    warmUpMs: WARM_UP_MS,
    measureMs: MEASURE_MS,
  };
  await using child = await startChild<LoadTask, LoadResult>("load", task);
  const used = await startMeter(arena, { process: pid, load: child.pid });
  const result = await child.go();
  return { result, usage: await used() };
}

/** Whatever was measured has to be there. */
async function assertKept(arena: Arena): Promise<void> {
  const { rows } = await arena.database.sql.query<{ messages: number }>(
    "select count(*)::integer as messages from messages",
  );
  const queued = await arena.unfinished(["sms"]);
  if (rows[0]?.messages !== queued)
    throw new Error(`${rows[0]?.messages} messages in the ledger, ${queued} in the queue`);
}
