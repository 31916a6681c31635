import { randomBytes } from "node:crypto";
import {
  type BinaryNode,
  Browsers,
  DisconnectReason,
  makeWASocket,
  type proto,
  type ReachoutTimelockState,
  type WASocket,
  type WAVersion,
} from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import { vendorWords } from "../../../../core/vendor-words.ts";
import type { AuthState } from "./auth-state.ts";
import type { Closing } from "./close-codes.ts";

export interface SocketOptions {
  url: string;
  version: WAVersion | undefined;
  auth: AuthState;
  log: Logger;
  /** What was sent under this id: for a recipient that could not decrypt it. */
  getMessage(id: string): Promise<proto.IMessage | undefined>;
  onQr(qr: string): void;
  onPaired(): void;
  onOpen(): void;
  /** WhatsApp restricts first contacts, or does so no longer. */
  onRestriction(restriction: ReachoutTimelockState): void;
  /** It is being closed: nothing can be sent any more. */
  onClosing(): void;
  /** Once, at the end; nothing is called after it. */
  onClose(closing: Closing): void;
}

/** From the first byte until WhatsApp offers a code or has logged the session in. */
const CONNECT_TIMEOUT_MS = 30_000;
/** How long the server may take to answer a close: one that is gone never does, and `ws` would wait 30 s. */
const CLOSE_TIMEOUT_MS = 1000;
const PING_TIMEOUT_MS = 5000;

/** A Baileys socket on its way to WhatsApp, with the work-arounds that it needs. */
export function openSocket(options: SocketOptions): WASocket {
  const { auth, log } = options;
  const sock = makeWASocket({
    waWebSocketUrl: options.url,
    ...(options.version ? { version: options.version } : {}),
    auth: auth.state,
    logger: quietLogger(log),
    // Another name is refused when pairing by code: https://github.com/WhiskeySockets/Baileys/issues/2769
    browser: Browsers.windows("Chrome"),
    // The phone goes on showing notifications.
    markOnlineOnConnect: false,
    emitOwnEvents: false,
    syncFullHistory: false,
    // A preview would have this process fetch whatever address a text contains.
    generateHighQualityLinkPreview: false,
    // A lease that is lost refuses every write: no use in trying for half a minute.
    transactionOpts: { maxCommitRetries: 3, delayBetweenTriesMs: 300 },
    getMessage: async ({ id }) => (id ? options.getMessage(id) : undefined),
  });

  const ws = sock.ws as unknown as { close(): Promise<void>; socket: { terminate(): void } | null };
  const close = ws.close.bind(ws);
  ws.close = async () => {
    options.onClosing();
    const timer = setTimeout(() => ws.socket?.terminate(), CLOSE_TIMEOUT_MS);
    await close().finally(() => clearTimeout(timer));
  };
  // WhatsApp's servers answer 503 now and then; Baileys drops that answer, and would wait for ever. Whatever the status
  // is, it is no word of WhatsApp's about the session: a proxy's 401 must not cost a pairing.
  sock.ws.on("unexpected-response", (_request: unknown, response: { statusCode?: number }) => {
    const output = { statusCode: DisconnectReason.unavailableService };
    const words = `WhatsApp's server answered HTTP ${response.statusCode ?? "without a status"}`;
    void sock.end(Object.assign(new Error(words), { output }));
  });
  // Nor does it give up on a server that accepts the connection and says nothing.
  const overdue = setTimeout(() => {
    void endSocket(sock, "WhatsApp did not answer in time");
  }, CONNECT_TIMEOUT_MS);

  const save = (): void => {
    auth.saveCreds().catch((error: unknown) => {
      // What is not written would be missing after a restart: better to connect again from what is.
      log.warn({ err: error }, "the session's credentials could not be written");
      void sock.end(error as Error);
    });
  };
  let advRefreshed = false;
  let lastQr: string | undefined;
  const offer = (qr: string): void => {
    lastQr = qr;
    options.onQr(advRefreshed ? withAdv(qr, auth.state.creds.advSecretKey) : qr);
  };
  // Mid-2026 WhatsApp began to interrupt pairing with this notification, which Baileys drops:
  // https://github.com/WhiskeySockets/Baileys/issues/2737
  sock.ws.on("CB:notification,type:companion_reg_refresh", () => {
    advRefreshed = true;
    sock.ev.emit("creds.update", { advSecretKey: randomBytes(32).toString("base64") });
    // What is shown now is worth nothing any more, and the next would come in up to a minute.
    if (lastQr !== undefined) offer(lastQr);
  });
  sock.ev.on("creds.update", (update) => {
    Object.assign(auth.state.creds, update);
    save();
  });
  sock.ev.on("connection.update", ({ connection, qr, isNewLogin, lastDisconnect, reachoutTimeLock }) => {
    if (qr || isNewLogin || connection === "open" || connection === "close") clearTimeout(overdue);
    if (qr) offer(qr);
    if (isNewLogin) options.onPaired();
    if (reachoutTimeLock) options.onRestriction(reachoutTimeLock);
    if (connection === "open") options.onOpen();
    if (connection === "close") options.onClose(closingOf(lastDisconnect?.error));
  });
  return sock;
}

/** Ends it as if WhatsApp had, so that the session connects again. */
export function endSocket(sock: WASocket, words: string, statusCode = DisconnectReason.timedOut): Promise<void> {
  return sock.end(Object.assign(new Error(words), { output: { statusCode } }));
}

/** Whether the server answers a ping. */
export async function isThere(sock: WASocket): Promise<boolean> {
  const attrs = { to: "s.whatsapp.net", type: "get", xmlns: "w:p", id: sock.generateMessageTag() };
  const ping: BinaryNode = { tag: "iq", attrs, content: [{ tag: "ping", attrs: {} }] };
  const answer = (await sock.query(ping, PING_TIMEOUT_MS).catch(() => undefined)) as BinaryNode | undefined;
  return answer !== undefined;
}

/** Baileys goes on building codes with the key that it began with: the last field but one (ref, noise, identity, key, platform). */
function withAdv(qr: string, advSecretKey: string): string {
  const fields = qr.split(",");
  return fields.with(fields.length - 2, advSecretKey).join(",");
}

function closingOf(error: unknown): Closing {
  const boom = error as { output?: { statusCode?: number }; message?: string } | undefined;
  return {
    code: boom?.output?.statusCode ?? DisconnectReason.connectionClosed,
    words: vendorWords(boom?.message ?? "Connection closed"),
  };
}

/** Of what Baileys says, words only, and those for whoever looks for a fault: the rest is keys, addresses and texts. */
function quietLogger(log: Logger) {
  const say = (item: unknown, words?: string): void => {
    const text = words ?? (typeof item === "string" ? item : undefined);
    if (text !== undefined) log.debug({ words: vendorWords(text) }, "baileys");
  };
  const nothing = (): void => {};
  const logger = {
    level: "warn",
    trace: nothing,
    debug: nothing,
    info: nothing,
    warn: say,
    error: say,
    child: () => logger,
  };
  return logger;
}
