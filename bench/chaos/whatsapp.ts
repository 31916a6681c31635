import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type pg from "pg";
import { ROOT } from "../../dev/command.ts";
import { launch } from "../../dev/stack/processes.ts";
import type { Run } from "../../dev/stack/run-directory.ts";
import type { DisconnectCode } from "../../test/fakes/whatsapp/disconnects.ts";
import type { SendRule } from "../../test/fakes/whatsapp/rules.ts";
import type { AutoReceipts, ReceivedMessage } from "../../test/fakes/whatsapp/world.ts";
import { presetSession } from "../../test/helpers/preset-session.ts";

/** What the recipients' phones have, an entry for each id; without `text` the phone could not read it. */
export type Received = Pick<ReceivedMessage, "id" | "from" | "to" | "text" | "relays" | "undecryptable">;

export interface WhatsAppSender {
  sessionId: string;
  phone: string;
}

/** A fake WhatsApp in a process of its own, which real Baileys sockets connect to. */
export interface WhatsAppDouble extends AsyncDisposable {
  /** Of its WebSocket. */
  readonly url: string;
  /** Links a device of a number; answers its credentials. */
  link(phone: string): Promise<string>;
  /** Links a device of a number and puts its session into the database. */
  pair(sql: pg.Pool, accountId: string, phone: string): Promise<WhatsAppSender>;
  /** What becomes of messages from now on; those that no rule is about are taken. */
  behave(rules: SendRule[]): Promise<void>;
  /** Answers false when it is not connected now. */
  disconnect(phone: string, code: DisconnectCode): Promise<boolean>;
  /** Refuses so many logins of a number. */
  refuse(phone: string, reason: number, times: number): Promise<void>;
  /** How each new connection is answered; null: as usual. */
  outage(status: number | "reset" | null): Promise<void>;
  received(): Promise<Received[]>;
  /** How many messages have arrived. */
  count(): Promise<number>;
  /** Errors of the fake itself. */
  faults(): Promise<string[]>;
}

export const ENCRYPTION_KEY = randomBytes(32).toString("base64");
export const ENVIRONMENT = {
  WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY,
  WHATSAPP_MESSAGES_PER_MINUTE: "none",
  WHATSAPP_MIN_GAP_MS: "0",
  WHATSAPP_MAX_GAP_MS: "0",
  WHATSAPP_TYPING: "false",
  WHATSAPP_NEW_CONTACTS_PER_DAY: "none",
};

const POLL_MS = 20;
const START_TIMEOUT_MS = 20_000;

export async function startWhatsApp(options: {
  run: Run;
  logFile: string;
  /** How long the server takes to confirm a message. */
  latencyMs: number;
  receipts: AutoReceipts["kind"];
}): Promise<WhatsAppDouble> {
  const { run, logFile, latencyMs, receipts } = options;
  const child = await launch({
    name: "fake-whatsapp",
    run,
    logFile,
    file: process.execPath,
    args: [join(ROOT, "test/fakes/whatsapp/cli.ts")],
    cwd: ROOT,
    env: { PATH: process.env["PATH"] ?? "" },
  });
  const { url, control } = await firstLine(logFile);
  async function ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await fetch(control + path, { method, ...(body ? { body: JSON.stringify(body) } : {}) });
    const answer = (await response.json()) as T & { error?: string };
    if (!response.ok) throw new Error(`the fake WhatsApp: ${answer.error}`);
    return answer;
  }
  const behave = async (rules: SendRule[]): Promise<void> => {
    await ask("DELETE", "/rules");
    await ask("POST", "/rules", { rules: [...rules, { outcome: "ack", delayMs: latencyMs }] });
  };
  await behave([]);
  await ask("POST", "/auto-receipts", { autoReceipts: { kind: receipts, delayMs: 20 } });
  const link = async (phone: string): Promise<string> =>
    (await ask<{ creds: string }>("POST", "/pair", { phone })).creds;
  return {
    url,
    link,
    async pair(sql, accountId, phone) {
      const creds = await link(phone);
      return { phone, sessionId: await presetSession(sql, { accountId, phone, creds, encryptionKey: ENCRYPTION_KEY }) };
    },
    behave,
    disconnect: (phone, code) =>
      ask("POST", "/disconnect", { phone, code }).then(
        () => true,
        () => false,
      ),
    refuse: (phone, reason, times) => ask("POST", "/refuse", { phone, reason, times }),
    outage: (status) => ask("POST", "/outage", status === null ? {} : { status }),
    received: async () => (await ask<{ messages: Received[] }>("GET", "/messages")).messages,
    count: async () => (await ask<{ messages: number }>("GET", "/state")).messages,
    faults: async () => (await ask<{ faults: string[] }>("GET", "/state")).faults,
    [Symbol.asyncDispose]: () => child.stop(),
  };
}

async function firstLine(logFile: string): Promise<{ url: string; control: string }> {
  const deadline = performance.now() + START_TIMEOUT_MS;
  while (performance.now() < deadline) {
    const line = /^\{.*\}$/m.exec(readFileSync(logFile, "utf8"))?.[0];
    if (line !== undefined) return JSON.parse(line) as { url: string; control: string };
    await delay(POLL_MS);
  }
  throw new Error("the fake WhatsApp did not listen in time");
}
