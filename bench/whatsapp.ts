import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Arena, Bench } from "./arena.ts";
import { ENVIRONMENT, type WhatsAppDouble, type WhatsAppSender } from "./chaos/whatsapp.ts";
import { startChild } from "./child.ts";
import type { BareWhatsAppResult, BareWhatsAppTask } from "./children/bare-whatsapp.ts";
import { huntBody, sendAll } from "./hunts.ts";
import { ratio, type Section, type Series } from "./report.ts";
import type { ServiceProcess } from "./service.ts";

const MESSAGES = 1000;
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
  const { first, again, notes: conditions } = await throughput(bench);
  const idle = series(`memory for each of ${IDLE_SESSIONS} idle sessions`, "MB");
  const takeover = series("kill -9 of the owner to the next one's first message", "s");
  const broken = series(`${BROKEN.messages} messages, disconnected every ${BROKEN.every}`, "s");
  const notes: string[] = [];

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
    series: [...first.series, ...again.series, idle, takeover, broken],
    ratios: [...first.ratios(), ...again.ratios()],
    notes: [...notes, ...conditions, "lease 15 s, the default"],
  };
}

/** One session of the service, and Baileys alone beside it, each against the same fake. */
async function throughput(bench: Bench) {
  const [first, again] = [comparison("first contacts"), comparison("known contacts")];
  for (let round = 0; round < bench.rounds; round++) {
    await using arena = await bench.openArena();
    await using fake = await arena.startWhatsApp();
    const own = await open(arena, fake, 1);
    {
      await using service = await arena.startService(environmentOf(fake));
      await isOpen(arena, 1);
      for (const { service: of } of [first, again]) {
        const before = service.cpuSeconds();
        const seconds = await hunt(arena, service, own);
        of.note({ seconds, cpuSeconds: service.cpuSeconds() - before });
      }
    }
    const directory = await mkdtemp(join(tmpdir(), "bench-whatsapp-"));
    for (const keys of ["memory", "files"] as const) {
      const task: BareWhatsAppTask = {
        url: fake.url,
        creds: await fake.link(phoneOfSender(keys === "files" ? 91 : 90)),
        n: MESSAGES,
        concurrency: CONCURRENCY,
        directory: keys === "files" ? directory : undefined,
      };
      await using child = await startChild<BareWhatsAppTask, BareWhatsAppResult>("bare-whatsapp", task);
      const sent = await child.go();
      first[keys].note(sent.first);
      again[keys].note(sent.again);
    }
    await rm(directory, { recursive: true });
    for (const { what, service, memory, files } of [first, again]) {
      const [own, bare, kept] = [service, memory, files].map(({ rate, cpu }) => words(rate, cpu));
      bench.say(`${what}, round ${round + 1}: ${own} (messages/s, ms); bare Baileys ${bare}, with files ${kept}`);
    }
  }
  return {
    first,
    again,
    notes: [
      `no pace; ${CONCURRENCY} messages at once on both sides, until the fake's server has confirmed all`,
      "service: numbers looked up, each message accepted, marked, kept and recorded in Postgres, keys sealed and kept there",
      "bare Baileys: sendMessage alone, keys in memory; keys in files: useMultiFileAuthState, as its documentation shows it",
      "processor time is that of the one process; Postgres, PostgREST, Redis and the fake work on the same cores",
    ],
  };
}

function comparison(what: string) {
  const sides = {
    service: side(`service, ${what}`),
    memory: side(`bare Baileys, ${what}`),
    files: side(`bare Baileys, keys in files, ${what}`),
  };
  const { service, memory, files } = sides;
  return {
    what,
    ...sides,
    series: [service, memory, files].flatMap(({ rate, cpu }) => [rate, cpu]),
    /** Of the rounds so far. */
    ratios: () => [
      ratio(`service / bare Baileys, ${what}`, service.rate, memory.rate, 0.8),
      ratio(`service / bare Baileys with keys in files, ${what}`, service.rate, files.rate),
    ],
  };
}

function side(name: string) {
  const rate = series(name, "messages/s");
  const cpu = series(`${name}: processor time a message`, "ms");
  const note = ({ seconds, cpuSeconds }: { seconds: number; cpuSeconds: number }): void => {
    rate.rounds.push(MESSAGES / seconds);
    cpu.rounds.push((1000 * cpuSeconds) / MESSAGES);
  };
  return { rate, cpu, note };
}

const series = (name: string, unit: string): Series => ({ name, unit, rounds: [] });

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
  const lane = `whatsapp.${sender.sessionId}`;
  await arena.queue(lane).pause();
  await service.post("/api/hunt/execute", huntBody(arena.accountId, n, ["whatsapp_text"]));
  await arena.until(["hunt"], (unfinished) => unfinished === 0, service);
  return sendAll(arena, [lane]);
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
  await open(arena, fake, 1);
  await using owner = await arena.startService(environmentOf(fake));
  await isOpen(arena, 1);
  await using next = await arena.startService(environmentOf(fake));
  await next.post("/api/hunt/execute", huntBody(arena.accountId, 2000, ["whatsapp_text"]));
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
