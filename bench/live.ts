import { setTimeout as delay } from "node:timers/promises";
import type { Bench } from "./arena.ts";
import { startChild } from "./child.ts";
import type { ReadersResult, ReadersTask } from "./children/readers.ts";
import type { Section, Series } from "./report.ts";
import { HEADERS } from "./service.ts";

const READERS = 1000;
const EVENTS = 200;
const PER_SECOND = 20;

/** A thousand readers of one account's live events, of which some happen all the time. */
export async function live(bench: Bench): Promise<Section> {
  const connecting: Series = { name: `${READERS} readers connected`, unit: "s", rounds: [] };
  const p50: Series = { name: "from the event to a reader, median", unit: "ms", rounds: [] };
  const p99: Series = { name: "from the event to a reader, p99", unit: "ms", rounds: [] };
  const processor: Series = { name: "processor of the service meanwhile", unit: "%", rounds: [] };
  const memory: Series = { name: "memory of the service", unit: "MB", rounds: [] };
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    const service = await arena.startService();
    const task: ReadersTask = {
      url: `${service.url}/api/events?accountId=${arena.accountId}`,
      headers: HEADERS,
      readers: READERS,
      events: EVENTS,
    };
    const since = performance.now();
    await using child = await startChild<ReadersTask, ReadersResult>("readers", task);
    connecting.rounds.push((performance.now() - since) / 1000);
    const cpu = service.cpuSeconds();
    const begun = performance.now();
    const result = child.go();
    for (let i = 0; i < EVENTS; i++) {
      await arena.database.sql.query(
        "insert into events (account_id, type, data) values ($1, 'message.sent', jsonb_build_object('no', $2::int, 'sentAt', $3::bigint))",
        [arena.accountId, i, Date.now()],
      );
      await delay(1000 / PER_SECOND);
    }
    const { received, p50Ms, p99Ms, maxMs } = await result;
    const seconds = (performance.now() - begun) / 1000;
    if (received !== READERS * EVENTS) throw new Error(`${received} events arrived of ${READERS * EVENTS}`);
    p50.rounds.push(p50Ms);
    p99.rounds.push(p99Ms);
    processor.rounds.push((100 * (service.cpuSeconds() - cpu)) / seconds);
    memory.rounds.push(service.memoryMb());
    bench.say(`live, round ${round + 1}: ${Math.round(p50Ms)} ms, at most ${Math.round(maxMs)} ms`);
  }
  return {
    name: "live",
    title: `${PER_SECOND} events a second to ${READERS} readers`,
    series: [connecting, p50, p99, processor, memory],
    ratios: [],
    notes: ["every reader got every event; the process looks for events three times a second, for all readers at once"],
  };
}
