import { FakeTwilio } from "../test/fakes/twilio/fake-twilio.ts";
import type { Arena, Bench } from "./arena.ts";
import { startChild } from "./child.ts";
import type { WebhooksResult, WebhooksTask } from "./children/webhooks.ts";
import type { Section, Series } from "./report.ts";

const PER_SECOND = 200;
const WARM_UP_MS = 1000;
const MEASURE_MS = 10_000;
const PUBLIC_URL = "https://worker.example.com";

/** How long a vendor waits for its answer, at a steady load: Twilio's signed reports, each about a message of its own. */
export async function webhooks(bench: Bench): Promise<Section> {
  const seriesOf = (name: string): Series => ({ name, unit: "ms", rounds: [] });
  const [p50, p99, most] = [seriesOf("request to 204, p50"), seriesOf("p99"), seriesOf("longest")];
  const behind: Series = { name: "last 204 to the last report in the ledger", unit: "s", rounds: [] };
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const service = await arena.startService({
      PUBLIC_URL,
      // They are held, and nobody has to look after them.
      SWEEP_MS: "3600000",
      TWILIO_ACCOUNT_SID: FakeTwilio.ACCOUNT_SID,
      TWILIO_AUTH_TOKEN: FakeTwilio.AUTH_TOKEN,
      TWILIO_FROM: "+33987650000",
    });
    const n = (PER_SECOND * (WARM_UP_MS + MEASURE_MS)) / 1000;
    const messages = await putInFlight(arena, n);
    const task: WebhooksTask = {
      serviceUrl: service.url,
      publicUrl: PUBLIC_URL,
      accountSid: FakeTwilio.ACCOUNT_SID,
      authToken: FakeTwilio.AUTH_TOKEN,
      messages,
      perSecond: PER_SECOND,
      warmUpMs: WARM_UP_MS,
    };
    await using child = await startChild<WebhooksTask, WebhooksResult>("webhooks", task);
    const { times, refused } = await child.go();
    if (refused > 0) throw new Error(`${refused} of ${n} answers were no 204`);
    const answered = performance.now();
    behind.rounds.push(((await arena.until(["inbound"], (left) => left === 0, service)) - answered) / 1000);
    await assertTold(arena, n);
    const at = (quantile: number): number => times[Math.floor((times.length - 1) * quantile)] ?? Number.NaN;
    p50.rounds.push(at(0.5));
    p99.rounds.push(at(0.99));
    most.rounds.push(at(1));
    bench.say(`webhooks, round ${round + 1}: p50 ${at(0.5).toFixed(1)} ms, p99 ${at(0.99).toFixed(1)} ms`);
  }
  return {
    name: "webhooks",
    title: `Webhooks, ${PER_SECOND} signed reports a second`,
    series: [p50, p99, most, behind],
    ratios: [],
    notes: [
      "each answered when it is in the queue, and in the ledger a moment later; the load comes from a second process, and does not wait for answers; aim: under 50 ms",
    ],
  };
}

/** As if Twilio had been asked to send them and had not answered: its report is what settles them. */
async function putInFlight({ database, accountId }: Arena, n: number): Promise<WebhooksTask["messages"]> {
  const { rows } = await database.sql.query<{ messageId: string; attemptId: string; to: string }>(
    `insert into messages (id, account_id, channel, queue, recipient, content, status, provider, attempts, attempt_id,
       attempt_started_at, held_until)
     select gen_random_uuid(), $1, 'sms', 'sms', '+336' || (10000000 + i), '{"text": "Bonjour"}', 'sending', 'twilio', 1,
       gen_random_uuid(), now(), now() + interval '1 hour'
     from generate_series(1, $2::integer) i
     returning id as "messageId", attempt_id as "attemptId", recipient as "to"`,
    [accountId, n],
  );
  return rows;
}

/** Whatever was answered has to be there. */
async function assertTold({ database }: Arena, n: number): Promise<void> {
  const { rows } = await database.sql.query<{ delivered: number }>(
    "select count(*)::integer as delivered from messages where status = 'delivered'",
  );
  if (rows[0]?.delivered !== n) throw new Error(`${rows[0]?.delivered} of ${n} reports are in the ledger`);
}
