import { setTimeout as delay } from "node:timers/promises";
import { startFakeTwilio } from "../test/fakes/twilio/fake-twilio.ts";
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

/** Hunts that run beside each other in one service, and what keeps them to their pace. */
interface Case {
  name: string;
  channel: ChannelName;
  hunts: { accountId: string; name: string; n: number }[];
}

/** Cases of one service share neither an account, nor a queue, nor a limit. */
const alone = (n: number): Case[] => [
  { name: "paced by its provider", channel: "ringless_voice", hunts: [{ accountId: "acc_provider", name: "it", n }] },
  { name: "paced by its account's limit", channel: "sms", hunts: [{ accountId: "acc_limit", name: "it", n }] },
];
const shared = (n: number): Case[] =>
  (
    [
      ["two accounts from one paced number", "sms"],
      ["two accounts in one queue", "ringless_voice"],
    ] as const
  ).map(([name, channel]) => ({
    name,
    channel,
    hunts: [
      { accountId: `acc_big_${channel}`, name: "the bigger", n: Math.round(0.8 * n) },
      { accountId: `acc_small_${channel}`, name: "the smaller", n: Math.round(0.2 * n) },
    ],
  }));

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
  const lines = String(Math.max(1, Math.round((perSecond * LATENCY_MS) / 1000)));
  await using twilio = await startFakeTwilio();
  const series = new Map<string, Series>();
  const add = (name: string, unit: string, value: number): void => {
    const one = series.get(name) ?? { name, unit, rounds: [] };
    one.rounds.push(value);
    series.set(name, one);
  };
  for (let round = 0; round < bench.rounds; round++) {
    for (const [cases, environment] of [
      [alone(n), {}],
      [
        shared(n),
        {
          SMS_PROVIDER: "twilio",
          TWILIO_ACCOUNT_SID: twilio.accountSid,
          TWILIO_AUTH_TOKEN: twilio.authToken,
          TWILIO_FROM: "+33987650000",
          TWILIO_API_BASE_URL: twilio.url,
          SMS_RATE_MAX: String(perSecond),
        },
      ],
    ] as const) {
      await using arena = await bench.openArena();
      await arena.database.sql.query(
        "insert into accounts (id, limits) select a.id, case when a.id = 'acc_limit' then $2::jsonb end from unnest($1::text[]) a (id)",
        [
          cases.flatMap(({ hunts }) => hunts.map(({ accountId }) => accountId)),
          JSON.stringify([{ channel: "sms", sender: "*", perSecond }]),
        ],
      );
      const service = await arena.startService({
        SANDBOX_LATENCY_MS: String(LATENCY_MS),
        WORKER_CONCURRENCY_VOICE: lines,
        ...environment,
      });
      await Promise.all(
        cases.flatMap(({ name, channel, hunts }) =>
          hunts.map(async (hunt) => {
            const { seconds, deviations } = await follow(arena, service, { channel, ...hunt });
            const which = hunts.length > 1 ? `${name}, ${hunt.name}` : name;
            add(`${which}: first message to the end`, "s", seconds);
            SHARES.forEach((share, i) =>
              add(`${which}: etaSeconds at ${100 * share} %, off by`, "%", 100 * (deviations[i] ?? Number.NaN)),
            );
            const words = deviations.map((deviation) => `${(100 * deviation).toFixed(0)} %`).join(", ");
            bench.say(`eta, ${which}, round ${round + 1}: ${words}`);
          }),
        ),
      );
    }
  }
  return {
    name: "eta",
    title: `etaSeconds of a hunt of ${n} at ${perSecond} a second; where two share that, the bigger has four fifths`,
    series: [...series.values()],
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
