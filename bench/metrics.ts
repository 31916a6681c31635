import { randomBytes } from "node:crypto";
import { createThrottle } from "../src/queues/throttle.ts";
import type { Arena, Bench } from "./arena.ts";
import type { Section, Series } from "./report.ts";
import { HEADERS } from "./service.ts";

const LANES = 200;
const JOBS_A_LANE = 5;
const PACED_SENDERS = 200;
const READS = 100;
const PAUSE_MS = 20;

/** How long Prometheus waits for the page, with many WhatsApp numbers, each of which is a lane, and many paced senders. */
export async function metrics(bench: Bench): Promise<Section> {
  const seriesOf = (name: string): Series => ({ name, unit: "ms", rounds: [] });
  const [p50, p99, most] = [seriesOf("request to the whole page, p50"), seriesOf("p99"), seriesOf("longest")];
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    await fill(arena);
    const service = await arena.startService({
      WHATSAPP_PROVIDER: "baileys",
      WHATSAPP_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
      WHATSAPP_WS_URL: "ws://127.0.0.1:1/",
    });
    const times: number[] = [];
    for (let i = 0; i < READS; i++) {
      const began = performance.now();
      const text = await (await fetch(`${service.url}/metrics`, { headers: HEADERS })).text();
      times.push(performance.now() - began);
      const waiting = `auto_prospect_jobs{queue="whatsapp",state="waiting"} ${LANES * JOBS_A_LANE}\n`;
      if (!text.includes(waiting)) throw new Error(`the page does not say ${waiting}`);
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
    // The first reads of a process are compiled on the way.
    times.splice(0, READS / 10);
    times.sort((a, b) => a - b);
    const at = (quantile: number): number => times[Math.floor((times.length - 1) * quantile)] ?? Number.NaN;
    p50.rounds.push(at(0.5));
    p99.rounds.push(at(0.99));
    most.rounds.push(at(1));
    bench.say(`metrics, round ${round + 1}: p50 ${at(0.5).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms`);
  }
  return {
    name: "metrics",
    title: `/metrics, with ${LANES} lanes of ${JOBS_A_LANE} waiting messages and ${PACED_SENDERS} paced senders`,
    series: [p50, p99, most],
    ratios: [],
    notes: ["read anew from Redis and the database each time; aim: under 20 ms"],
  };
}

/** Numbers that their owners have logged out: their messages wait in their lanes, and nobody works them. */
async function fill(arena: Arena): Promise<void> {
  const { rows } = await arena.database.sql.query<{ id: string }>(
    `insert into whatsapp_sessions (account_id, phone, method, state, paired_at)
     select $1, '+336' || (10000000 + i), 'qr', 'logged-out', now() from generate_series(1, $2::integer) i returning id`,
    [arena.accountId, LANES],
  );
  for (const { id } of rows) {
    await arena
      .queue(`whatsapp.${id}`)
      .addBulk(Array.from({ length: JOBS_A_LANE }, () => ({ name: "whatsapp_text", data: {} })));
  }
  const throttle = createThrottle(arena.redis, arena.prefix);
  const pace = { min: 0.2, max: 10, step: 0.2, cut: 0.5, senderOf: () => "" };
  for (let i = 0; i < PACED_SENDERS; i++) {
    const sender = { provider: "twilio", sender: `+336${20_000_000 + i}`, pace };
    for (const id of ["a", "b", "c"]) await throttle.ask(sender, { id, patienceMs: Infinity });
  }
}
