import https from "node:https";
import {
  type AuthenticationCreds,
  type BaileysEventMap,
  type BinaryNode,
  type UserFacingSocketConfig,
  type WAMessage,
  initAuthCreds,
  makeWASocket,
  proto,
} from "@whiskeysockets/baileys";
import { memoryKeys } from "./memory-keys.ts";
import { silentLogger } from "./quiet.ts";
import type { FakeWhatsApp } from "./server.ts";

/** What a client keeps from one connection to the next. */
export interface PlainAuth {
  creds: AuthenticationCreds;
  keys: ReturnType<typeof memoryKeys>;
}

/** A new device, or with `creds` one that was linked before. */
export const plainAuth = (creds = initAuthCreds()): PlainAuth => ({ creds, keys: memoryKeys() });

/** A Baileys socket with nothing around it, and everything that it said. */
export class PlainClient implements AsyncDisposable {
  readonly sock: ReturnType<typeof makeWASocket>;
  readonly auth: PlainAuth;
  readonly qrs: string[] = [];
  readonly received: { message: WAMessage; type: string }[] = [];
  readonly updates: BaileysEventMap["messages.update"] = [];
  readonly connectionUpdates: Partial<BaileysEventMap["connection.update"]>[] = [];
  /** Resolves when the login is complete. */
  readonly opened: Promise<void>;
  /** Resolves to the status code of the end. */
  readonly closed: Promise<number | undefined>;

  constructor(
    fake: { url: string; media: { ca: string } },
    auth = plainAuth(),
    config: Partial<UserFacingSocketConfig> = {},
  ) {
    this.auth = auth;
    const { ca } = fake.media;
    const fixed = { waWebSocketUrl: fake.url, logger: silentLogger, fetchAgent: new https.Agent({ ca }) };
    // Own messages would otherwise come as `messages.upsert`, with the status folded in.
    this.sock = makeWASocket({ auth, emitOwnEvents: false, markOnlineOnConnect: false, ...fixed, ...config });
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<number | undefined>();
    this.opened = opened.promise;
    this.closed = closed.promise;
    // A client that never opens is a failure only for who waits for that.
    this.opened.catch(() => {});
    this.sock.ev.on("creds.update", (update) => void Object.assign(auth.creds, update));
    this.sock.ev.on("connection.update", (update) => {
      this.connectionUpdates.push(update);
      if (update.qr) this.qrs.push(update.qr);
      if (update.connection === "open") opened.resolve();
      if (update.connection !== "close") return;
      const error = update.lastDisconnect?.error as { output?: { statusCode?: number } } | undefined;
      opened.reject(error);
      closed.resolve(error?.output?.statusCode);
    });
    this.sock.ev.on("messages.upsert", ({ messages, type }) => {
      for (const message of messages) this.received.push({ message, type });
    });
    this.sock.ev.on("messages.update", (updates) => void this.updates.push(...updates));
  }

  /** Sends a text with an id that is known before, and returns the server's answer: undefined when none came. */
  async sendText(to: string, text: string, id: string, timeoutMs = 5_000): Promise<BinaryNode | undefined> {
    const answer: Promise<BinaryNode | undefined> = this.sock.waitForMessage(id, timeoutMs);
    // It rejects when the connection ends first, with whatever the socket said.
    const settled = answer.catch(() => undefined);
    await this.sock.sendMessage(to, { text, linkPreview: null }, { messageId: id });
    return await settled;
  }

  /** The statuses that were reported for a message, in order. */
  statusesOf(id: string): (number | null | undefined)[] {
    return this.updates.filter(({ key }) => key.id === id).map(({ update }) => update.status);
  }

  textOf(id: string): string | null | undefined {
    const message = this.received.findLast(({ message }) => message.key.id === id)?.message.message;
    return message?.conversation ?? message?.extendedTextMessage?.text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.sock.end(undefined);
  }
}

/** Connects a device that is linked already and waits until it is logged in. */
export async function connectPaired(
  fake: FakeWhatsApp,
  phone: string,
  config?: Partial<UserFacingSocketConfig>,
): Promise<PlainClient> {
  const client = new PlainClient(fake, plainAuth(fake.pairedCreds(phone)), config);
  await client.opened;
  return client;
}

export const STATUS = proto.WebMessageInfo.Status;
