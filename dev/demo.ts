/** `npm run demo`: a whole hunt on a machine with only Node: HTTP, Redis, workers, Postgres, and what became of everybody. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { createClient, type Client, type HuntStatus, type Message, type NewHunt, type Result } from "../src/client.ts";
import { ROOT, runCommand, say, untilStopped } from "./command.ts";
import { type Ledger, openLedger, type Reply } from "./demo/ledger.ts";
import { createProgress } from "./demo/progress.ts";
import { jsonOf, plural, printAddresses, printNotes, printTable } from "./demo/report.ts";
import { createScreen, type Screen } from "./demo/screen.ts";
import { startDemoService } from "./demo/service.ts";
import { clearPrefix } from "./demo/shared-redis.ts";
import { startStack } from "./stack/index.ts";
import { StackError, wordsOf } from "./stack/stack-error.ts";

const USAGE = `usage: npm run demo [-- --keep] [--json] [--whatsapp]
  --keep      leave everything running to look at, until Ctrl-C
  --json      print the result as one JSON object, the last line of standard output
  --whatsapp  instead: pair a number and hold a conversation, with a fake WhatsApp`;

const HUNT_FILE = join("examples", "hunt.json");
const POLL_MS = 50;
const HUNT_TIMEOUT_MS = 120_000;
/** The sandbox sends receipts a quarter of a second after the message. */
const RECEIPTS_TIMEOUT_MS = 5000;
/** Of the sandbox: whoever has such a number answers STOP. */
const REPLIES = "0006";
const INTERRUPTED = 130;

const { keep, json, whatsapp } = readArguments();
await runCommand(async (stopping) => {
  // Standard output belongs to the JSON then.
  const screen = createScreen(json ? process.stderr : process.stdout);
  try {
    // Only when it is wanted: the fake comes with Baileys.
    if (whatsapp) await (await import("./demo/whatsapp.ts")).whatsappDemo(screen, stopping);
    else await demo(screen, stopping);
  } catch (error) {
    screen.keep();
    if (!stopping.aborted) throw error;
    say("stopped before the hunt was over");
    process.exit(INTERRUPTED);
  }
});

async function demo(screen: Screen, stopping: AbortSignal): Promise<void> {
  const hunt = readHunt();
  const contacts = plural(hunt.contacts.length, "contact");
  screen.line(
    screen.paint("bold", `A hunt for ${contacts} of ${HUNT_FILE}; the sandbox carries it, nobody is written to.`),
  );
  screen.line();
  const result = await runStarted(hunt, screen, stopping);
  if (keep) return;
  screen.line(`  Done in ${secondsSinceStart().toFixed(1)} s; everything that was started is stopped.`);
  screen.line();
  screen.line("  To look around: npm run demo -- --keep");
  screen.line("  leaves it running, with the console (/admin), Bull Board, the API docs (/docs) and /health.");
  if (json) process.stdout.write(`${result}\n`);
}

/** All that needs the servers; they are stopped when it is over, one way or the other. Resolves to the JSON. */
async function runStarted(hunt: NewHunt, screen: Screen, stopping: AbortSignal): Promise<string> {
  const step = stepper(screen);
  const id = randomBytes(6).toString("hex");
  const [apiSecret, redisPrefix] = [`demo-${id}`, `{demo-${id}}`];
  await using resources = new AsyncDisposableStack();
  const redisUrl = process.env["REDIS_URL"] || undefined;
  const stack = resources.use(await startStack({ durable: false, redisUrl, log: say }));
  if (redisUrl !== undefined) resources.defer(() => clearPrefix(stack.redisUrl, redisPrefix));
  step("Redis, Postgres and PostgREST are up, the database is migrated");
  stopping.throwIfAborted();

  const service = resources.use(await startDemoService({ stack, apiSecret, redisPrefix }, stopping));
  step("the service is up");
  const ledger = resources.use(await openLedger(stack.databaseUrl));
  await ledger.seed(hunt.accountId);

  const client = createClient({ baseUrl: service.url, apiSecret });
  const signal = AbortSignal.any([stopping, service.died, AbortSignal.timeout(HUNT_TIMEOUT_MS)]);
  const found = await carryOut(hunt, { client, ledger, screen, step, signal }).catch((error: unknown) => {
    if (stopping.aborted || service.died.aborted) throw error;
    const words = signal.aborted ? `the hunt was not over after ${HUNT_TIMEOUT_MS / 1000} s` : wordsOf(error);
    throw new StackError(`${words}; the end of the service's log:\n  ${service.tail()}`, { cause: error });
  });
  screen.line();
  printTable(screen, found.status, found.messages);
  screen.line();
  printNotes(screen, found.messages, found.replies);
  const result = JSON.stringify(jsonOf(found.status, found.messages, secondsSinceStart()));
  if (!keep) return result;

  const { url, logFile } = service;
  screen.line();
  printAddresses(screen, { url, logFile, apiSecret, databaseUrl: stack.databaseUrl, accountId: hunt.accountId });
  screen.line();
  screen.line("  Everything is left running: Ctrl-C stops it.");
  if (json) process.stdout.write(`${result}\n`);
  await untilStopped(AbortSignal.any([stopping, service.died]));
  if (!stopping.aborted) throw service.died.reason as Error;
  return result;
}

interface Tools {
  client: Client;
  ledger: Ledger;
  screen: Screen;
  step(text: string): void;
  signal: AbortSignal;
}

/** Submits the hunt and waits for all that comes of it, receipts and replies included. */
async function carryOut(hunt: NewHunt, { client, ledger, screen, step, signal }: Tools) {
  const valueOf = <T>(result: Result<T>): T => {
    if (result.ok) return result.value;
    signal.throwIfAborted();
    const faults = result.error.errors.map(({ pointer, detail }) => `\n  ${pointer}: ${detail}`).join("");
    throw new StackError(`the service does not carry out the hunt: ${result.error.detail}${faults}`);
  };
  const { jobId, huntId, accepted } = valueOf(await client.executeHunt(hunt, { signal }));
  step(`the hunt is accepted: ${plural(accepted, "contact")}`);
  screen.line();
  const progress = createProgress(screen);
  const onStatus = (found: HuntStatus): void => progress.show(found);
  let status = valueOf(await client.waitForHunt(jobId, { pollMs: POLL_MS, signal, onStatus }));

  const deadline = performance.now() + RECEIPTS_TIMEOUT_MS;
  const unsettled = async (look: () => Promise<boolean>): Promise<void> => {
    while ((await look()) && performance.now() < deadline) {
      await delay(POLL_MS);
      signal.throwIfAborted();
    }
  };
  await unsettled(async () => {
    status = valueOf(await client.huntStatus(jobId, { signal }));
    progress.show(status);
    return status.counts.sent > 0;
  });
  progress.end();

  const messages: Message[] = [];
  for await (const message of client.eachHuntMessage(huntId, { signal })) messages.push(valueOf(message));
  const expected = messages.filter(({ recipientPhone, sentAt }) => sentAt !== null && recipientPhone.endsWith(REPLIES));
  let replies: Reply[] = [];
  await unsettled(async () => {
    replies = await ledger.replies(hunt.accountId);
    return replies.length < expected.length;
  });
  return { status, messages, replies };
}

/** Says each step with the time that it took. */
function stepper(screen: Screen): (text: string) => void {
  let since = 0;
  return (text) => {
    const now = performance.now();
    const seconds = `${((now - since) / 1000).toFixed(1)} s`;
    screen.line(`  ${screen.paint("dim", seconds.padStart(6))}  ${text}`);
    since = now;
  };
}

function secondsSinceStart(): number {
  return Math.round(performance.now() / 10) / 100;
}

function readHunt(): NewHunt {
  try {
    return JSON.parse(readFileSync(join(ROOT, HUNT_FILE), "utf8")) as NewHunt;
  } catch (error) {
    throw new StackError(`${HUNT_FILE} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

function readArguments(): { keep: boolean; json: boolean; whatsapp: boolean } {
  try {
    const options = {
      keep: { type: "boolean" },
      json: { type: "boolean" },
      whatsapp: { type: "boolean" },
      help: { type: "boolean", short: "h" },
    } as const;
    const { values } = parseArgs({ options, strict: true });
    if (values.help !== true) {
      const { keep = false, json = false, whatsapp = false } = values;
      if (!whatsapp || (!keep && !json)) return { keep, json, whatsapp };
      throw new Error("--whatsapp goes with neither");
    }
    process.stdout.write(`${USAGE}\n`);
    process.exit(0);
  } catch {
    say(USAGE);
    process.exit(2);
  }
}
