import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench, ChannelName } from "./arena.ts";
import { huntBody } from "./hunts.ts";
import type { Section, Series } from "./report.ts";
import { HEADERS, type ServiceProcess } from "./service.ts";

/** How long a hunt takes, by its provider's pace or by its account's limit. */
const SECONDS = 60;
const MOST = 6000;
const LATENCY_MS = 200;
const POLL_MS = 100;
const SHARES = [0.1, 0.25, 0.5, 0.75] as const;

/** A hunt, and what keeps it to its pace. */
interface Case {
  name: string;
  channel: ChannelName;
  accountId: string;
}

const CASES: Case[] = [
  { name: "paced by its provider", channel: "ringless_voice", accountId: "acc_provider" },
  { name: "paced by its account's limit", channel: "sms", accountId: "acc_limit" },
];

interface Status {
  total: number;
  counts: Record<string, number>;
  state: string;
  etaSeconds: number | null;
}

/** The status' `etaSeconds` on the way, against how long it really took from there. */
export async function eta(bench: Bench): Promise<Section> {
  const n = Math.min(bench.n, MOST);
  const perSecond = Math.max(1, Math.round(n / SECONDS));
  const measured = CASES.map((each) => ({
    ...each,
    took: { name: `${each.name}: first message to the end`, unit: "s", rounds: [] } as Series,
    off: SHARES.map((share): Series => ({
      name: `${each.name}: etaSeconds at ${100 * share} %, off by`,
      unit: "%",
      rounds: [],
    })),
  }));
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    await arena.database.sql.query("insert into accounts (id, limits) values ($1, null), ($2, $3)", [
      ...CASES.map(({ accountId }) => accountId),
      JSON.stringify([{ channel: "sms", sender: "*", perSecond }]),
    ]);
    const service = await arena.startService({
      SANDBOX_LATENCY_MS: String(LATENCY_MS),
      WORKER_CONCURRENCY_VOICE: String(Math.max(1, Math.round((perSecond * LATENCY_MS) / 1000))),
    });
    // Beside each other: they share neither an account, nor a queue, nor a limit.
    const answers = await Promise.all(
      measured.map(({ channel, accountId }) => follow(arena, service, { channel, accountId, n })),
    );
    measured.forEach(({ name, took, off }, no) => {
      const { seconds, deviations } = answers[no]!;
      took.rounds.push(seconds);
      off.forEach((series, i) => series.rounds.push(100 * (deviations[i] ?? Number.NaN)));
      const words = deviations.map((deviation) => `${(100 * deviation).toFixed(0)} %`).join(", ");
      bench.say(`eta, ${name}, round ${round + 1}: ${words}`);
    });
  }
  return {
    name: "eta",
    title: `etaSeconds of a hunt of ${n} at ${perSecond} a second`,
    series: measured.flatMap(({ took, off }) => [took, ...off]),
    ratios: [],
    notes: ["over what it really took from there; less than nothing: it took longer; aim: within 20 %"],
  };
}

/** Submits a hunt and reads its status until its end; answers by what part of the truth each estimate was off. */
async function follow(
  arena: Arena,
  service: ServiceProcess,
  { channel, accountId, n }: { channel: ChannelName; accountId: string; n: number },
): Promise<{ seconds: number; deviations: number[] }> {
  const { jobId } = (await service.post("/api/hunt/execute", huntBody(accountId, n, [channel]))) as { jobId: string };
  const read = async (): Promise<Status> =>
    (await (await fetch(`${service.url}/api/hunt/status/${jobId}`, { headers: HEADERS })).json()) as Status;
  const seen: { at: number; etaSeconds: number }[] = [];
  let begun: number | undefined;
  for (;;) {
    const status = await read();
    const now = performance.now();
    const { queued = 0, sending = 0 } = status.counts;
    const done = status.total - queued - sending;
    if (done > 0) begun ??= now;
    const share = SHARES[seen.length];
    if (share !== undefined && status.total === n && done >= share * n && done < n) {
      seen.push({ at: now, etaSeconds: status.etaSeconds ?? Number.NaN });
    }
    if (status.state === "finished") {
      const { rows } = await arena.database.sql.query<{ ago: number }>(
        "select extract(epoch from clock_timestamp() - max(settled_at))::float as ago from messages where account_id = $1",
        [accountId],
      );
      const end = performance.now() - 1000 * (rows[0]?.ago ?? 0);
      const deviations = seen.map(({ at, etaSeconds }) => {
        const left = (end - at) / 1000;
        return (etaSeconds - left) / left;
      });
      return { seconds: (end - (begun ?? end)) / 1000, deviations };
    }
    service.assertAlive();
    await delay(POLL_MS);
  }
}
