import { copyFileSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { StackError } from "../../dev/stack/stack-error.ts";
import { audit, type Audit } from "./audit.ts";
import { ACCOUNTS, CHANNELS, SENDERS, TEXT } from "./bodies.ts";
import type { Account } from "./double-process.ts";
import { Endpoints } from "./endpoints.ts";
import { startDoubles, VENDOR_NAMES, type Doubles } from "./doubles.ts";
import { openJobs, type Jobs } from "./jobs.ts";
import { seeded } from "./random.ts";
import { type Servers, startServers } from "./servers.ts";
import { HOLD_MS, SETTINGS, SHUTDOWN_TIMEOUT_MS } from "./settings.ts";
import { Slot, type Dependency } from "./slot.ts";
import { SECRET, startSubmitter, type Promised } from "./submitter.ts";
import { makeTrouble, type Damage } from "./trouble.ts";
import type { VendorName } from "./vendors/index.ts";
import { Watch } from "./watch.ts";
import { startWhatsApp, type WhatsAppSender } from "./whatsapp.ts";
import { startFileServer } from "../../test/fakes/twilio-voice/file-server.ts";

export interface ChaosOptions {
  minutes: number;
  seed: number;
  /** Contacts a second. */
  rate: number;
  stopping: AbortSignal;
  say(line: string): void;
  /** For `NODE_COMPILE_CACHE` of the processes; default: a directory of the run's own, empty at first. */
  compileCache?: string | undefined;
  /** Where the logs of the services and servers are copied to at the end. */
  logs?: string | undefined;
}

export interface ChaosResult {
  minutes: number;
  seed: number;
  audit: Audit;
  damage: Damage;
  requests: Omit<Promised, "hunts" | "singles">;
  crashes: string[];
  /** From the last fault's end until nothing was open; undefined when that was not within the limit. */
  quietMs: number | undefined;
  /** And until each kind of thing was last seen open; of jobs only those that outlived everything else. */
  openMs: Record<string, number>;
}

const PREFIX = "{chaos}";
const SERVICES = 2;
const QUIET_TIMEOUT_MS = 150_000;
/** How much may be open at once: in a run of ten minutes, and so many seconds of what is submitted in any. */
const MAX_OPEN = 2500;
const LEAST_OPEN_SECONDS = 8;
const POLL_MS = 250;

/** One run: load, trouble, quiet, count. */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { minutes, seed, stopping, say } = options;
  const random = seeded(seed);
  await using undo = new AsyncDisposableStack();
  const servers = undo.use(await startServers());
  undo.defer(() => keepLogs(servers.dataDir, options.logs));
  const compileCache = options.compileCache ?? join(servers.dataDir, "compile-cache");
  const doubles = await startDoubles(seed, undo, compileCache);
  // By the name under which VoicePartner's double has it.
  const recordings = undo.use(await startFileServer({ "/offre.mp3": { body: "ID3, and then music" } }));
  const watch = undo.use(new Watch(servers.databaseUrl));
  await openAccounts(watch);
  const whatsapp = undo.use(
    await startWhatsApp({
      run: servers.run,
      logFile: join(servers.dataDir, "logs", "fake-whatsapp.log"),
      // About as slow as WhatsApp, so that a kill finds messages under way.
      latencyMs: 100,
      receipts: "delivered",
    }),
  );
  const senders: WhatsAppSender[] = [];
  for (const [id, phone] of Object.entries(SENDERS)) senders.push(await whatsapp.pair(watch.sql, id, phone));
  const slots: Slot[] = [];
  for (let i = 0; i < SERVICES; i++) {
    const slot = await Slot.open({
      name: `service-${i}`,
      run: servers.run,
      logFile: join(servers.dataDir, "logs", `service-${i}.log`),
      targets: {
        redis: servers.ports.redis,
        database: servers.ports.supabase,
        ...portsOf({ ...doubles, whatsapp }),
      },
      environment: environment(servers, compileCache, options.logs === undefined ? "warn" : "debug"),
    });
    slots.push(undo.use(slot));
  }
  const urls = slots.map(({ url }) => url);
  await Promise.all(Object.values(doubles).map((double) => double.reach(urls)));
  await Promise.all(slots.map((slot) => slot.start()));
  const endpoints = undo.use(await Endpoints.open(random.fork("endpoints")));
  for (const accountId of Object.keys(ACCOUNTS)) await endpoints.register(urls[0] ?? "", SECRET, accountId);

  const scale = Math.min(1, minutes / 10);
  const enough = AbortSignal.any([stopping, AbortSignal.timeout(minutes * 60_000)]);
  const { promised, finished } = startSubmitter({
    urls,
    audioUrl: `${recordings.publicUrl}/offre.mp3`,
    random: random.fork("submitter"),
    rate: options.rate,
    open: () => watch.open,
    maxOpen: Math.max(MAX_OPEN * scale, LEAST_OPEN_SECONDS * options.rate),
    enough,
    stopping,
  });
  const trouble = { servers, slots, doubles, whatsapp, random, watch, say, signal: enough };
  const damage = await makeTrouble({
    ...trouble,
    scale,
    holdMs: HOLD_MS,
    shutdownTimeoutMs: SHUTDOWN_TIMEOUT_MS,
  });
  if (stopping.aborted) throw new StackError("stopped before the end");

  say(`the faults are over, ${watch.open} open: waiting for quiet`);
  const since = performance.now();
  await Promise.all(Object.values(doubles).map((double) => double.hurry()));
  endpoints.isWell = true;
  const lanes = senders.map(({ sessionId }) => `whatsapp.${sessionId}`);
  await using jobs = openJobs(`redis://127.0.0.1:${servers.ports.redis}`, PREFIX, lanes);
  const openMs: Record<string, number> = {};
  const seen = (what: string): void => void (openMs[what] = performance.now() - since);
  const isQuiet = await untilQuiet({ sql: watch.sql, jobs, doubles, finished, stopping, seen });
  const quietMs = isQuiet ? performance.now() - since : undefined;
  const accounts = await accountsOf(doubles);
  const result = await audit({
    jobs,
    promised,
    watch,
    accounts,
    whatsapp: await whatsapp.received(),
    endpoints,
    heard: [TEXT, `${recordings.publicUrl}/offre.mp3`],
    redisLosses: damage.redisLosses,
    killed: damage.killed,
  });
  for (const [name, { faults }] of Object.entries(accounts)) {
    damage.complaints.push(...faults.map((fault) => `the double of ${name}: ${fault}`));
  }
  damage.complaints.push(...(await whatsapp.faults()).map((fault) => `the fake WhatsApp: ${fault}`));
  const { hunts: _, singles: __, ...requests } = promised;
  const crashes = slots.flatMap((slot) => slot.crashes);
  return { minutes, seed, audit: result, damage, requests, crashes, quietMs, openMs };
}

function environment(servers: Servers, compileCache: string, logLevel: string): Record<string, string> {
  return {
    ...SETTINGS,
    PATH: process.env["PATH"] ?? "",
    // Two hundred starts of a process: without it most of the machine goes into compiling.
    NODE_COMPILE_CACHE: compileCache,
    LOG_LEVEL: logLevel,
    API_SECRET: SECRET,
    REDIS_PREFIX: PREFIX,
    SUPABASE_SERVICE_KEY: servers.serviceKey,
  };
}

const portsOf = <Name extends Dependency>(of: Record<Name, { url: string }>): Record<Name, number> =>
  Object.fromEntries(
    Object.entries<{ url: string }>(of).map(([name, { url }]) => [name, Number(new URL(url).port)]),
  ) as Record<Name, number>;

async function accountsOf(doubles: Doubles): Promise<Record<VendorName, Account>> {
  const asked = VENDOR_NAMES.map(async (name) => [name, await doubles[name].account()] as const);
  return Object.fromEntries(await Promise.all(asked)) as Record<VendorName, Account>;
}

async function openAccounts({ sql }: Watch): Promise<void> {
  for (const [id, balance] of Object.entries(ACCOUNTS)) {
    await sql.query("insert into accounts (id) values ($1)", [id]);
    if (balance === undefined) continue;
    const credit = "insert into credits (account_id, channel, balance) values ($1, $2, $3)";
    for (const channel of CHANNELS) await sql.query(credit, [id, channel, balance]);
  }
}

/** Every request answered, every submission planned, every message settled, every webhook called and told, every job over. */
async function untilQuiet({
  sql,
  jobs,
  doubles,
  finished,
  stopping,
  seen,
}: {
  sql: Watch["sql"];
  jobs: Jobs;
  doubles: Doubles;
  finished: Promise<void>;
  stopping: AbortSignal;
  /** Told what is open at each look. */
  seen(what: string): void;
}): Promise<boolean> {
  const deadline = performance.now() + QUIET_TIMEOUT_MS;
  const answered = await Promise.race([
    finished.then(() => true),
    delay(QUIET_TIMEOUT_MS, false, { ref: false, signal: stopping }).catch(() => false),
  ]);
  if (!answered) return false;
  seen("requests");
  const open = `select (select count(*) from messages where status in ('queued', 'sending'))::int as messages,
    (select count(*) from hunt_submissions where planned_at is null)::int as submissions,
    (select count(*) from events where pos is null)::int as events,
    (select count(*) from webhook_deliveries where state = 'pending')::int as deliveries`;
  while (performance.now() < deadline && !stopping.aborted) {
    const { rows } = await sql.query<Record<string, number>>(open);
    const pending = await Promise.all(Object.values(doubles).map((double) => double.pending()));
    const counts = { ...rows[0], reports: pending.reduce((sum, n) => sum + n, 0) };
    const left = Object.entries(counts).flatMap(([what, n]) => (n > 0 ? [what] : []));
    // A job may outlive its message by an attempt's hold: it waits for a worker that has come back meanwhile.
    if (left.length === 0 && (await jobs.unfinished()) > 0) left.push("jobs");
    if (left.length === 0) return true;
    left.forEach(seen);
    await delay(POLL_MS);
  }
  return false;
}

function keepLogs(dataDir: string, target: string | undefined): void {
  if (target === undefined) return;
  mkdirSync(target, { recursive: true });
  const source = join(dataDir, "logs");
  for (const file of readdirSync(source)) copyFileSync(join(source, file), join(target, file));
}
