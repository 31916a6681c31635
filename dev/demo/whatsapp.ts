import { randomBytes } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { toString as qrOf } from "qrcode";
import { createClient, type Client, type Message, type Result, type WhatsAppSession } from "../../src/client.ts";
import { startFakeWhatsApp, type FakeWhatsApp } from "../../test/fakes/whatsapp/server.ts";
import { say } from "../command.ts";
import { startStack } from "../stack/index.ts";
import { StackError } from "../stack/stack-error.ts";
import { openLedger, type Ledger } from "./ledger.ts";
import type { Screen } from "./screen.ts";
import { startDemoService } from "./service.ts";

const ACCOUNT = "demo";
const OURS = "+33639980900";
const POLL_MS = 50;
const STEP_TIMEOUT_MS = 30_000;
/** Long enough to see the code, which a phone of the fake then scans. */
const LOOK_MS = 1500;

/** Whom the hunt writes to, and what they do. */
const PEOPLE = [
  {
    adId: "apt_lyon_3101",
    phone: "+33639980107",
    name: "Madame Ferrand",
    answers: "Bonjour, oui, il est libre. Demain 18 h ?",
  },
  { adId: "apt_paris_3201", phone: "+33639980207", name: "Monsieur Aubertin", answers: "STOP" },
  { adId: "apt_lille_3401", phone: "+33639980307", name: "Agence du Nord", answers: undefined },
] as const;
/** She has no WhatsApp. */
const ABSENT = PEOPLE[2].phone;
const TEXT = "Bonjour, votre appartement est-il encore à louer ? Nous avons un dossier complet.";

/** Pairing and a conversation, with a fake WhatsApp in place of the real one: its server, and everybody's phones. */
export async function whatsappDemo(screen: Screen, stopping: AbortSignal): Promise<void> {
  screen.line(
    screen.paint("bold", "A WhatsApp number is paired, and writes to three people; server and phones are fakes."),
  );
  screen.line();
  await using resources = new AsyncDisposableStack();
  const stack = resources.use(
    await startStack({ durable: false, redisUrl: process.env["REDIS_URL"] || undefined, log: say }),
  );
  const fake = resources.use(await startFakeWhatsApp());
  fake.notOnWhatsApp(ABSENT);
  const id = randomBytes(6).toString("hex");
  const apiSecret = `demo-${id}`;
  const service = resources.use(
    await startDemoService({ stack, apiSecret, redisPrefix: `{demo-${id}}`, environment: environment(fake) }, stopping),
  );
  const ledger = resources.use(await openLedger(stack.databaseUrl));
  await ledger.seed(ACCOUNT);
  screen.line("  Redis, Postgres, PostgREST, the service and the fake WhatsApp are up.");

  const client = createClient({ baseUrl: service.url, apiSecret });
  const story: Story = { screen, fake, client, ledger, signal: AbortSignal.any([stopping, service.died]) };
  await pairNumber(story);
  await converse(story);
}

interface Story {
  screen: Screen;
  fake: FakeWhatsApp;
  client: Client;
  ledger: Ledger;
  signal: AbortSignal;
}

const environment = (fake: FakeWhatsApp): Record<string, string> => ({
  WHATSAPP_ENCRYPTION_KEY: randomBytes(32).toString("base64"),
  WHATSAPP_WS_URL: fake.url,
  // As careful as for a real number, only faster.
  WHATSAPP_MESSAGES_PER_MINUTE: "60",
  WHATSAPP_MIN_GAP_MS: "300",
  WHATSAPP_MAX_GAP_MS: "900",
});

async function pairNumber({ screen, fake, client, signal }: Story): Promise<void> {
  const { id } = valueOf(await client.pairWhatsApp({ accountId: ACCOUNT, phone: OURS }));
  const session = (): Promise<WhatsAppSession> => client.whatsAppSession(id).then(valueOf);
  const { qr = "" } = await until("the QR code", session, ({ qr }) => qr !== undefined, signal);
  screen.line(`  An operator asks to pair ${OURS}, and gets this to scan (also at …/sessions/${id}/qr.png):`);
  screen.line();
  if (screen.isTerminal) screen.line(await qrOf(qr, { type: "terminal", small: true }));
  else screen.line(`    ${qr.slice(0, 60)}…`);
  await delay(screen.isTerminal ? LOOK_MS : 0, undefined, { signal });
  await fake.scanQr(OURS, qr);
  await until("the session", session, ({ state }) => state === "open", signal);
  screen.line(`  ${screen.paint("green", "The phone has scanned it: the session is open.")}`);
  screen.line();
}

async function converse({ screen, fake, client, ledger, signal }: Story): Promise<void> {
  const { jobId, huntId } = valueOf(
    await client.executeHunt({
      huntId: "hunt_whatsapp",
      accountId: ACCOUNT,
      contacts: PEOPLE.map(({ adId, phone }) => ({
        adId,
        recipientPhone: phone,
        channel: "whatsapp_text" as const,
        message: TEXT,
      })),
    }),
  );
  for (const { name, phone, answers } of PEOPLE) {
    if (answers === undefined) continue;
    const message = await fake.waitForMessage(({ to }) => to === phone, STEP_TIMEOUT_MS);
    const typed = fake.chatStates.some(({ to, state }) => to === phone && state === "composing") ? " (typing…)" : "";
    screen.line(`  us →  ${name}${screen.paint("dim", typed)}: ${message.text ?? ""}`);
    fake.receipt(message.id, "delivered");
    fake.receipt(message.id, "read");
    await fake.reply(phone, OURS, answers);
    screen.line(`  ${screen.paint("cyan", `${name} →  us: ${answers}`)}`);
    if (answers !== "STOP") continue;
    const confirmed = await fake.waitForMessage(({ to, id }) => to === phone && id !== message.id, STEP_TIMEOUT_MS);
    screen.line(`  us →  ${name}: ${confirmed.text ?? ""}`);
  }
  const all = async (): Promise<Message[]> => {
    const messages: Message[] = [];
    for await (const message of client.eachHuntMessage(huntId, { signal })) messages.push(valueOf(message));
    return messages;
  };
  valueOf(await client.waitForHunt(jobId, { pollMs: POLL_MS, signal }));
  const messages = await until(
    "what became of them",
    all,
    (found) => found.every(({ status }) => status !== "sent" && status !== "delivered"),
    signal,
  );
  const replies = await until(
    "the replies",
    () => ledger.replies(ACCOUNT),
    (found) => found.length >= 2,
    signal,
  );
  screen.line();
  for (const { name, adId } of PEOPLE) {
    const message = messages.find((each) => each.adId === adId);
    const reply = replies.find((each) => each.adId === adId);
    const answer = reply && (reply.suppressed ? "said stop: not contacted again" : "answered: the lead has replied");
    screen.line(`  ${name.padEnd(18)} ${[message?.status, message?.reason, answer].filter(Boolean).join(", ")}`);
  }
  screen.line();
  screen.line("  Everything that was started is stopped.");
}

async function until<T>(
  what: string,
  read: () => Promise<T>,
  wished: (value: T) => boolean,
  signal: AbortSignal,
): Promise<T> {
  const deadline = performance.now() + STEP_TIMEOUT_MS;
  for (;;) {
    const value = await read();
    if (wished(value)) return value;
    if (performance.now() > deadline) throw new StackError(`${what} did not come within ${STEP_TIMEOUT_MS / 1000} s`);
    await delay(POLL_MS, undefined, { signal });
  }
}

function valueOf<T>(result: Result<T>): T {
  if (result.ok) return result.value;
  throw new StackError(`the service refuses: ${result.error.detail}`);
}
