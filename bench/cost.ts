import { availableParallelism } from "node:os";
import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import { startChild } from "./child.ts";
import type { BareAddTask } from "./children/bare-add.ts";
import type { BareWorkerTask } from "./children/bare-worker.ts";
import { huntBody, queuesOf, sendAll } from "./hunts.ts";
import { startMeter, type Usage } from "./meter.ts";
import { samplesOf } from "./planning.ts";
import { median, ratio, type Section, type Series } from "./report.ts";
import { assertSent, drain } from "./sending.ts";
import type { ServiceProcess } from "./service.ts";

const CHANNELS = ["sms"] as const;
/** Commands and functions that are told by name, the dearest first. */
const TOLD = 8;
/** Each look is a request of the bench's own. */
const POLL_MS = 50;

/** What one message costs: commands, requests and each process' time; the service and BullMQ alone. */
export async function cost(bench: Bench): Promise<Section> {
  const { n, concurrency } = bench;
  const used: Record<string, Usage[]> = {
    "planning, service": [],
    "planning, bare addBulk": [],
    "sending, service": [],
    "sending, bare worker": [],
  };
  for (let round = 0; round < bench.rounds; round++) {
    let samples: Awaited<ReturnType<typeof samplesOf>>;
    {
      await using arena = await bench.openArena();
      const service = await arena.startService();
      for (const name of queuesOf(CHANNELS)) await arena.queue(name).pause();
      const process = { process: service.pid };
      used["planning, service"]?.push(await during(arena, process, () => plan(arena, service, n)));
      samples = await samplesOf(arena, CHANNELS);
      used["sending, service"]?.push(await during(arena, process, () => sendAll(arena, queuesOf(CHANNELS))));
      await assertSent(arena, n);
    }
    await using arena = await bench.openArena();
    const { redisUrl, prefix } = arena;
    {
      for (const name of queuesOf(CHANNELS)) await arena.queue(name).pause();
      await using child = await startChild<BareAddTask, unknown>("bare-add", { redisUrl, prefix, samples, n });
      used["planning, bare addBulk"]?.push(await during(arena, { process: child.pid }, () => child.go()));
    }
    const task = { redisUrl, prefix, queues: queuesOf(CHANNELS), concurrency };
    await using child = await startChild<BareWorkerTask, null>("bare-worker", task);
    used["sending, bare worker"]?.push(await during(arena, { process: child.pid }, () => drain(arena, CHANNELS, n)));
    bench.say(`cost, round ${round + 1}: done`);
  }
  const all = Object.entries(used).map(([what, usages]) => ({ what, usages, series: seriesOf(what, usages, n) }));
  const whole = (what: string): Series => all.find((side) => side.what === what)?.series.whole as Series;
  const both = (side: string, [first, second]: [string, string]): Series => ({
    name: `planning and sending, ${side}: processor, all`,
    unit: "µs",
    rounds: whole(first).rounds.map((value, round) => value + (whole(second).rounds[round] ?? Number.NaN)),
  });
  const service = both("service", ["planning, service", "sending, service"]);
  const bare = both("bare", ["planning, bare addBulk", "sending, bare worker"]);
  return {
    name: "cost",
    title: `What a message costs, of ${n} over one channel`,
    series: [...all.flatMap(({ series }) => [...series.parts, series.whole]), service, bare],
    ratios: [ratio("processor time of all, planning and sending, service / bare", service, bare)],
    notes: [
      ...all.flatMap(({ what, usages }) => wordsOf(what, usages, n)),
      "the service's jobs come into Redis while it sends, the bare worker's when they are planned",
      "Redis' commands include those that scripts call, and a script's time includes theirs; PostgREST works beside a proxy in the bench's own process, which also looks whether the end has come",
    ],
  };
}

async function during(arena: Arena, processes: Record<string, number>, work: () => Promise<unknown>): Promise<Usage> {
  const used = await startMeter(arena, processes);
  await work();
  return await used();
}

/** Until each contact is in the ledger; looks there, so that Redis' commands are the service's. */
async function plan(arena: Arena, service: ServiceProcess, n: number): Promise<void> {
  await service.post("/api/hunt/execute", huntBody(arena.accountId, n, CHANNELS));
  for (let open = true; open;) {
    await delay(POLL_MS);
    service.assertAlive();
    const one = await arena.database.sql.query("select 1 from hunt_submissions where planned_at is null");
    open = one.rowCount !== 0;
  }
}

function seriesOf(what: string, usages: readonly Usage[], n: number): { parts: Series[]; whole: Series } {
  const series = (name: string, unit: string, of: (usage: Usage) => number): Series => ({
    name: `${what}: ${name}`,
    unit,
    rounds: usages.map((usage) => of(usage) / n),
  });
  const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);
  const scripts = ({ redis }: Usage): number => sum([redis["evalsha"]?.calls ?? 0, redis["eval"]?.calls ?? 0]);
  // What these have not used, they have no part in.
  const processes = Object.keys(usages[0]?.cpu ?? {}).filter((name) => !name.startsWith("P") || hasRequests(usages));
  const calls = ({ redis }: Usage): number => sum(Object.values(redis).map((command) => command.calls));
  const wholeSeconds = ({ cpu }: Usage): number => sum(processes.map((name) => cpu[name] ?? 0));
  return {
    parts: [
      series("Redis, scripts", "a message", scripts),
      series("Redis, all commands", "a message", calls),
      ...(hasRequests(usages)
        ? [series("requests to PostgREST", "of 1000 messages", ({ requests }) => 1000 * sum(Object.values(requests)))]
        : []),
      ...processes.map((name) => series(`processor, ${name}`, "µs", ({ cpu }) => 1e6 * (cpu[name] ?? 0))),
      {
        name: `${what}: processors in use, of ${availableParallelism()}`,
        unit: "",
        rounds: usages.map((usage) => wholeSeconds(usage) / usage.seconds),
      },
    ],
    whole: series("processor, all", "µs", (usage) => 1e6 * wholeSeconds(usage)),
  };
}

function hasRequests(usages: readonly Usage[]): boolean {
  return usages.some(({ requests }) => Object.values(requests).some((count) => count > 0));
}

/** The dearest commands and the most frequent functions, by the medians of the rounds. */
function wordsOf(what: string, usages: readonly Usage[], n: number): string[] {
  const among = <T>(pick: (usage: Usage) => Record<string, T>, size: (value: T | undefined) => number) => {
    const names = [...new Set(usages.flatMap((usage) => Object.keys(pick(usage))))];
    return names
      .map((name) => ({ name, value: median(usages.map((usage) => size(pick(usage)[name]))) / n }))
      .filter(({ value }) => value > 0)
      .toSorted((a, b) => b.value - a.value)
      .slice(0, TOLD);
  };
  const callsOf = (name: string): number => median(usages.map(({ redis }) => redis[name]?.calls ?? 0)) / n;
  const commands = among(
    ({ redis }) => redis,
    (command) => command?.micros ?? 0,
  ).map(({ name, value }) => `${name} ${value.toFixed(2)} µs (${callsOf(name).toFixed(2)} ×)`);
  const requests = among(
    ({ requests }) => requests,
    (count) => count ?? 0,
  ).map(({ name, value }) => `${name} ${(1000 * value).toFixed(2)}`);
  return [
    `${what}: Redis a message: ${commands.join(", ")}`,
    ...(requests.length === 0 ? [] : [`${what}: requests to PostgREST, of 1000 messages: ${requests.join(", ")}`]),
  ];
}
