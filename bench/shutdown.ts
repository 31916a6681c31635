import type { Bench } from "./arena.ts";
import { planHunt, queuesOf } from "./hunts.ts";
import type { Section, Series } from "./report.ts";

const LATENCY_MS = 50;
const MESSAGES = 5000;
/** Done before the signal: the workers are at full speed by then. */
const WARM_UP = 500;

/** From SIGTERM to the exit while thousands of messages wait and each worker is full. */
export async function shutdown(bench: Bench): Promise<Section> {
  const n = Math.max(2 * WARM_UP, Math.min(bench.n, MESSAGES));
  const took: Series = { name: "SIGTERM to exit", unit: "ms", rounds: [] };
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const service = await arena.startService({ SANDBOX_LATENCY_MS: String(LATENCY_MS) });
    const channels = ["sms"] as const;
    await planHunt(arena, service, n, channels);
    await arena.queue("sms").resume();
    await arena.until(queuesOf(channels), (unfinished) => unfinished <= n - WARM_UP, service);
    const { ms, how } = await service.terminate();
    took.rounds.push(ms);
    if (how !== "exit code 0") throw new Error(`the service ended with ${how}`);

    const { rows } = await arena.database.sql.query<{ status: string; n: number }>(
      "select status, count(*)::integer as n from messages group by status",
    );
    const count = (status: string): number => rows.find((row) => row.status === status)?.n ?? 0;
    const left = await arena.unfinished(["sms"]);
    const active = await arena.queue("sms").getActiveCount();
    if (active > 0 || count("sent") + count("queued") !== n || count("queued") !== left) {
      throw new Error(`not everything was recorded: ${JSON.stringify({ rows, left, active })}`);
    }
    bench.say(`shutdown, round ${round + 1}: ${Math.round(ms)} ms, ${left} messages left for the next start`);
  }
  return {
    name: "shutdown",
    title: `Stopping with ${n} messages, ${LATENCY_MS} ms each`,
    series: [took],
    ratios: [],
    notes: ["exit code 0 each time; every message is sent and recorded, or queued with its job; none is in between"],
  };
}
