import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import { ENVIRONMENT, type WhatsAppDouble, type WhatsAppSender } from "./chaos/whatsapp.ts";
import { startChild } from "./child.ts";
import type { BareWhatsAppResult, BareWhatsAppTask } from "./children/bare-whatsapp.ts";
import { huntBody } from "./hunts.ts";
import { ratio, type Section, type Series } from "./report.ts";
import type { ServiceProcess } from "./service.ts";

const MESSAGES = 500;
/** The service's default. */
const CONCURRENCY = 30;
const IDLE_SESSIONS = 50;
const BROKEN = { messages: 1000, every: 50, codes: [428, 440, 503, 515] as const };
const POLL_MS = 10;
/** For what a process does after it has started. */
const REST_MS = 4000;
const TIMEOUT_MS = 120_000;

/** WhatsApp over real Baileys against a fake server in a process of its own. */
export async function whatsapp(bench: Bench): Promise<Section> {
  const series = (name: string, unit: string): Series => ({ name, unit, rounds: [] });
  const first = series("service, first contacts", "messages/s");
  const again = series("service, known contacts", "messages/s");
  const bareFirst = series("bare Baileys, first contacts", "messages/s");
  const bareAgain = series("bare Baileys, known contacts", "messages/s");
  const cpu = series("processor time of the service, both", "s");
  const idle = series(`memory for each of ${IDLE_SESSIONS} idle sessions`, "MB");
  const takeover = series("kill -9 of the owner to the next one's first message", "s");
  const broken = series(`${BROKEN.messages} messages, disconnected every ${BROKEN.every}`, "s");
  const notes: string[] = [];

  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    await using fake = await arena.startWhatsApp();
    const [own, other] = [await open(arena, fake, 1), await fake.link(phoneOfSender(90))];
    {
      await using service = await arena.startService(environmentOf(fake));
      await isOpen(arena, 1);
      const before = service.cpuSeconds();
      first.rounds.push(MESSAGES / (await hunt(arena, service, own)));
      again.rounds.push(MESSAGES / (await hunt(arena, service, own)));
      cpu.rounds.push(service.cpuSeconds() - before);
    }
    const task: BareWhatsAppTask = { url: fake.url, creds: other, n: MESSAGES, concurrency: CONCURRENCY };
    await using child = await startChild<BareWhatsAppTask, BareWhatsAppResult>("bare-whatsapp", task);
    const { firstSeconds, againSeconds } = await child.go();
    bareFirst.rounds.push(MESSAGES / firstSeconds);
    bareAgain.rounds.push(MESSAGES / againSeconds);
    bench.say(
      `whatsapp, round ${round + 1}: ${words(first, again)} messages/s, bare Baileys ${words(bareFirst, bareAgain)}`,
    );
  }
  for (let round = 0; round < bench.rounds; round++) {
    idle.rounds.push(await idleMemory(bench));
    takeover.rounds.push(await takeOver(bench));
    bench.say(`whatsapp, round ${round + 1}: ${words(idle)} MB a session, taken over after ${words(takeover)} s`);
  }
  for (let round = 0; round < bench.rounds; round++) {
    const { seconds, lost, twice, unknown, again: relays } = await disconnected(bench);
    broken.rounds.push(seconds);
    const counted = `lost ${lost}, twice ${twice}, unknown ${unknown}, ${relays} given again under the same id`;
    notes.push(`${broken.name}, round ${round + 1}: ${counted}`);
    bench.say(notes.at(-1) ?? "");
  }
  return {
    name: "whatsapp",
    title: `WhatsApp over Baileys, one session, ${MESSAGES} messages`,
    series: [first, bareFirst, again, bareAgain, cpu, idle, takeover, broken],
    ratios: [
      ratio("service / bare Baileys, first contacts", first, bareFirst, 0.8),
      ratio("service / bare Baileys, known contacts", again, bareAgain, 0.8),
    ],
    notes: [
      ...notes,
      `no pace; ${CONCURRENCY} messages at once on both sides, each until the fake's server has confirmed it`,
      "bare Baileys: sendMessage with keys in memory, no look-up of numbers, nothing recorded",
      "lease 15 s, the default",
    ],
  };
}

const words = (...all: Series[]): string => all.map(({ rounds }) => (rounds.at(-1) ?? 0).toFixed(1)).join(" and ");

const environmentOf = (fake: WhatsAppDouble): Record<string, string> => ({
  ...ENVIRONMENT,
  WHATSAPP_PROVIDER: "baileys",
  WHATSAPP_WS_URL: fake.url,
});

const phoneOfSender = (i: number): string => `+3370000${String(1000 + i)}`;

/** Sessions that nobody has connected yet; answers the first. */
async function open(arena: Arena, fake: WhatsAppDouble, sessions: number): Promise<WhatsAppSender> {
  const all: WhatsAppSender[] = [];
  for (let i = 0; i < sessions; i++) all.push(await fake.pair(arena.database.sql, arena.accountId, phoneOfSender(i)));
  return all[0] as WhatsAppSender;
}

async function isOpen(arena: Arena, sessions: number): Promise<void> {
  const count = "select count(*)::int as n from whatsapp_sessions where state = 'open'";
  await until(async () => (await arena.database.sql.query<{ n: number }>(count)).rows[0]?.n === sessions);
}

/** Messages from their queue to the end of their jobs, seconds. */
async function hunt(arena: Arena, service: ServiceProcess, sender: WhatsAppSender, n = MESSAGES): Promise<number> {
  const lanes = [`whatsapp.${sender.sessionId}`];
  const [lane = ""] = lanes;
  await arena.queue(lane).pause();
  await service.post("/api/hunt/execute", huntBody(arena.accountId, n, ["whatsapp_text"]));
  await arena.until(lanes, (unfinished) => unfinished === n, service);
  const since = performance.now();
  await arena.queue(lane).resume();
  return ((await arena.until(lanes, (unfinished) => unfinished === 0, service)) - since) / 1000;
}

/** What a session adds to a process that does nothing else, MB. */
async function idleMemory(bench: Bench): Promise<number> {
  const rest = async (sessions: number): Promise<number> => {
    await using arena = await bench.openArena();
    await using fake = await arena.startWhatsApp();
    await open(arena, fake, sessions);
    await using service = await arena.startService(environmentOf(fake));
    await isOpen(arena, sessions);
    await delay(REST_MS);
    return service.memoryMb();
  };
  // One is there on both sides: the first brings Baileys' own code along.
  return ((await rest(1 + IDLE_SESSIONS)) - (await rest(1))) / IDLE_SESSIONS;
}

async function takeOver(bench: Bench): Promise<number> {
  await using arena = await bench.openArena();
  await using fake = await arena.startWhatsApp();
  const sender = await open(arena, fake, 1);
  await using owner = await arena.startService(environmentOf(fake));
  await isOpen(arena, 1);
  await using next = await arena.startService(environmentOf(fake));
  await arena.queue(`whatsapp.${sender.sessionId}`).pause();
  await next.post("/api/hunt/execute", huntBody(arena.accountId, 2000, ["whatsapp_text"]));
  await arena.until([`whatsapp.${sender.sessionId}`], (unfinished) => unfinished === 2000, next);
  await arena.queue(`whatsapp.${sender.sessionId}`).resume();
  await until(async () => (await fake.count()) > 100);
  process.kill(owner.pid, "SIGKILL");
  const since = performance.now();
  // What was on its way.
  await delay(500);
  const before = await fake.count();
  await until(async () => (await fake.count()) > before);
  return (performance.now() - since) / 1000;
}

async function disconnected(bench: Bench) {
  const { messages, every, codes } = BROKEN;
  await using arena = await bench.openArena();
  await using fake = await arena.startWhatsApp();
  const sender = await open(arena, fake, 1);
  await using service = await arena.startService(environmentOf(fake));
  await isOpen(arena, 1);
  const over = new AbortController();
  const breaking = (async () => {
    for (let at = every, turn = 0; at < messages && !over.signal.aborted; turn++) {
      if ((await fake.count()) < at) await delay(POLL_MS);
      else if (await fake.disconnect(sender.phone, codes[turn % codes.length] ?? 428)) at += every;
    }
  })();
  const seconds = await hunt(arena, service, sender, messages);
  over.abort();
  await breaking;
  const received = await fake.received();
  const people = new Map<string, number>();
  for (const { to, text } of received) if (text !== undefined) people.set(to, (people.get(to) ?? 0) + 1);
  const { rows } = await arena.database.sql.query<{ recipient: string; status: string }>(
    "select recipient, status from messages",
  );
  return {
    seconds,
    lost: rows.filter(({ recipient, status }) => status !== "unknown" && !people.has(recipient)).length,
    unknown: rows.filter(({ status }) => status === "unknown").length,
    twice: [...people.values()].filter((n) => n > 1).length,
    again: received.filter(({ relays }) => relays > 1).length,
  };
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + TIMEOUT_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`it did not come true within ${TIMEOUT_MS} ms: ${String(holds)}`);
    await delay(POLL_MS);
  }
}
