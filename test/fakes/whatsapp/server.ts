import { once } from "node:events";
import http, { STATUS_CODES } from "node:http";
import type { AddressInfo } from "node:net";
import { type AuthenticationCreds, BufferJSON, proto } from "@whiskeysockets/baileys";
import { Connection } from "./connection.ts";
import { type DisconnectCode, disconnect, unpair } from "./disconnects.ts";
import { Inbound, type InboundOptions, notify } from "./inbound.ts";
import { timelock } from "./iq.ts";
import { FakeMedia } from "./media.ts";
import { e164, el } from "./nodes.ts";
import { type ReceiptKind, sendReceipt } from "./outgoing.ts";
import { Pairing } from "./pairing.ts";
import { presetCreds } from "./preset-creds.ts";
import { quietLibsignal } from "./quiet.ts";
import { FAKE_WHATSAPP_ROOT, trustFakeWhatsApp } from "./root-key.ts";
import type { SendRule } from "./rules.ts";
import { Sessions } from "./sessions.ts";
import { ServerWebSocket } from "./web-socket.ts";
import { type AutoReceipts, type ReceivedMessage, World } from "./world.ts";

export interface FakeWhatsAppOptions {
  /** 0, a free one, by default. */
  port?: number;
  /** None by default. */
  autoReceipts?: AutoReceipts;
}

const TIMEOUT_MS = 15_000;

/**
 * WhatsApp's servers and everybody's phones, for real and unpatched Baileys sockets over a real WebSocket on loopback.
 *
 * Phone numbers are taken and given in E.164. People are made at the first contact; all of them are on WhatsApp unless
 * they were marked otherwise. Nothing is kept on a disk.
 */
export class FakeWhatsApp implements AsyncDisposable {
  readonly #world = new World();
  readonly #pairing = new Pairing(this.#world);
  readonly #inbound = new Inbound();
  readonly media = new FakeMedia();
  readonly #sessions = new Sessions(this.#world, this.#pairing, this.#inbound, this.media);
  readonly #server = http.createServer((_, response) => void response.writeHead(404).end());
  /** The root of the certificate chain, always the same. */
  readonly rootPublicKey = FAKE_WHATSAPP_ROOT;
  /** For `waWebSocketUrl`. */
  url = "";
  #outage: number | "reset" | undefined;

  constructor({ autoReceipts }: FakeWhatsAppOptions = {}) {
    if (autoReceipts) this.#world.autoReceipts = autoReceipts;
    this.#server.on("upgrade", (request: http.IncomingMessage, stream, head: Buffer) => {
      if (this.#outage === "reset") return stream.destroy();
      if (this.#outage !== undefined) {
        return stream.end(`HTTP/1.1 ${this.#outage} ${STATUS_CODES[this.#outage]}\r\nConnection: close\r\n\r\n`);
      }
      this.#world.connections.add(new Connection(new ServerWebSocket(request, stream, head), this.#sessions));
    });
  }

  /** Every message that the server took, in order; a message whose id came again is in here once. */
  get messages(): readonly ReceivedMessage[] {
    return this.#world.messages;
  }

  /** How many message stanzas came, whatever became of them; the client's requests to its own phone count too. */
  get stanzas(): number {
    return this.#world.stanzas;
  }

  /** The receipts that sessions sent: `type` undefined or `inactive` is delivery, `retry` a request to send again. */
  get receiptsFromClient() {
    return this.#world.receiptsFromClient;
  }

  /** What sessions acknowledged, `of` a receipt, message or notification; with an `error` it is a refusal. */
  get acksFromClient() {
    return this.#world.acksFromClient;
  }

  /** `composing` and `paused`, by recipient. */
  get chatStates() {
    return this.#world.chatStates;
  }

  /** `available` and `unavailable` of the sessions. */
  get presences() {
    return this.#world.presences;
  }

  /** Errors of the fake itself; should be empty at the end of a test. */
  get faults() {
    return this.#world.faults;
  }

  /** Queries that the fake answered with an empty result because it does not know them. */
  get unknownIqs() {
    return this.#world.unknownIqs;
  }

  /** Makes Baileys in this process trust the fake's certificate; see `trustFakeWhatsApp`. */
  trust(): void {
    trustFakeWhatsApp();
  }

  async listen(port = 0): Promise<void> {
    quietLibsignal();
    await this.media.listen();
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `ws://127.0.0.1:${(this.#server.address() as AddressInfo).port}/ws/chat`;
  }

  /** A phone scans a QR; resolves when the client was told to reconnect, rejects when linking fails. */
  scanQr(phone: string, qr: string): Promise<void> {
    return this.#pairing.scan(phone, qr);
  }

  /** A phone's owner types the code that a client asked for; rejects on a wrong one. */
  enterCode(phone: string, code: string): Promise<void> {
    return this.#pairing.enterCode(phone, code);
  }

  /** Whether a client has asked for a code for this number and is waiting for it. */
  codeAsked(phone: string): boolean {
    return this.#pairing.codeAsked(e164(phone));
  }

  /** The server sends `companion_reg_refresh`: for this QR at once, or without one at the next scan, which then fails. */
  interruptPairing(qr?: string): void {
    if (qr === undefined) this.#pairing.interruptNextScan = true;
    else this.#pairing.interrupt(qr);
  }

  /** How many QR codes a client gets from now on, 6 by default; with none left it gives up at once. */
  qrCodes(count: number): void {
    this.#pairing.refCount = count;
  }

  /** Breaks the connections of all clients that want to be linked. */
  breakPairings(): void {
    this.#pairing.break();
  }

  /** Credentials of a device that is linked already: a test that is not about pairing begins with these. */
  pairedCreds(phone: string, name = "Fake Phone"): AuthenticationCreds {
    return presetCreds(this.#world.account(e164(phone)), name);
  }

  /** The same as JSON, for a client in another process: to be read with Baileys' `BufferJSON.reviver`. */
  pairedCredsJson(phone: string, name?: string): string {
    return JSON.stringify(this.pairedCreds(phone, name), BufferJSON.replacer);
  }

  paired(phone: string): boolean {
    return this.#world.accounts.get(e164(phone))?.companion !== undefined;
  }

  /** How often a session logged in. */
  logins(phone: string): number {
    return this.#world.accounts.get(e164(phone))?.logins ?? 0;
  }

  /** How many sockets a session has now. */
  connected(phone: string): number {
    return this.#world.accounts.get(e164(phone))?.sockets.size ?? 0;
  }

  /** How many receipts, messages and notifications a session has not acknowledged. */
  undelivered(phone: string): number {
    return this.#world.accounts.get(e164(phone))?.undelivered ?? 0;
  }

  /** How many clients are connected, linked or not. */
  get clients(): number {
    return this.#world.connections.size;
  }

  /** The phones of all sessions that were ever paired. */
  get sessions(): string[] {
    return [...this.#world.accounts.keys()];
  }

  /** The owner unlinks the device: 401 now and at each login. */
  unpair(phone: string): void {
    unpair(this.#world.account(e164(phone)));
  }

  /** Ends a session's connection; throws when it has none. */
  disconnect(phone: string, code: DisconnectCode): void {
    disconnect(this.#world.account(e164(phone)), code);
  }

  /** Refuses the next logins of a number; with `times` 0 no more. */
  refuseLogin(phone: string, reason: number, times = 1): void {
    this.#sessions.refusals.set(e164(phone), { reason, times });
  }

  /** Refuses older clients with 405; undefined takes all. */
  requireVersion(version: [number, number, number] | undefined): void {
    this.#sessions.minVersion = version;
  }

  /**
   * Answers each new WebSocket with this HTTP status, or breaks the connection; undefined ends the outage. Open
   * connections stay. Baileys does not notice a status: see `unexpected-response` in the contract test.
   */
  outage(status: number | "reset" | undefined): void {
    this.#outage = status;
  }

  /** Refuses a session's queries of a kind, such as `usync`, with this code from now on. */
  refuseQueries(phone: string, xmlns: string, code: number): void {
    this.#world.account(e164(phone)).refusals.set(xmlns, code);
  }

  onSend(rule: SendRule): void {
    const [to, from] = [rule.to, rule.from].map((phone) => phone && e164(phone));
    this.#world.rules.add({ ...rule, ...(to && { to }), ...(from && { from }) });
  }

  clearRules(): void {
    this.#world.rules.clear();
  }

  autoReceipts(receipts: AutoReceipts): void {
    this.#world.autoReceipts = receipts;
  }

  /** The recipient's phone reports on a message that was taken, under the JID that it was sent to or under its LID. */
  receipt(id: string, kind: ReceiptKind, { byLid = false } = {}): void {
    const message = this.messages.find((message) => message.id === id);
    if (message === undefined) throw new Error(`no message ${id} was taken`);
    sendReceipt(this.#world, message, kind, byLid);
  }

  /** Marks a number as not, or again, on WhatsApp. */
  notOnWhatsApp(phone: string, absent = true): void {
    if (absent) this.#world.unregistered.add(e164(phone));
    else this.#world.unregistered.delete(e164(phone));
  }

  /** WhatsApp knows `phone` under another number only, as some of Brazil's, Mexico's and Argentina's. */
  alias(phone: string, registered: string): void {
    this.#world.aliases.set(e164(phone), e164(registered));
  }

  /** Restricts a session from writing to strangers, or lifts that, and tells it. The refusals are up to `onSend`. */
  restrict(phone: string, restriction: { enforcementType: string; until?: Date } | undefined): void {
    const account = this.#world.account(e164(phone));
    account.restriction = restriction;
    const data = { xwa2_notify_account_reachout_timelock: timelock(restriction) };
    const update = Buffer.from(JSON.stringify({ data }));
    notify(account, "mex", [el("update", { op_name: "NotificationUserReachoutTimelockUpdate" }, update)]);
  }

  /** Somebody writes to a session; resolves to the id. A session that is away gets it at its next login. */
  reply(
    from: string,
    to: string,
    text: string,
    { quotedId, ...options }: InboundOptions & { quotedId?: string } = {},
  ): Promise<string> {
    if (quotedId === undefined) return this.send(from, to, { conversation: text }, options);
    const quoted = this.messages.find(({ id }) => id === quotedId)?.message ?? { conversation: "" };
    const participant = this.#world.pairedAccount(e164(to)).person.jid;
    const contextInfo = { stanzaId: quotedId, participant, quotedMessage: quoted };
    return this.send(from, to, { extendedTextMessage: { text, contextInfo } }, options);
  }

  /** As `reply`, with any message. */
  send(from: string, to: string, message: proto.IMessage, options: InboundOptions = {}): Promise<string> {
    const account = this.#world.pairedAccount(e164(to));
    return this.#inbound.send(account, this.#world.person(e164(from)), proto.Message.create(message), options);
  }

  /** A message of somebody's to a session comes once more, under its id. */
  repeat(id: string, to: string): Promise<void> {
    return this.#inbound.repeat(this.#world.pairedAccount(e164(to)), id);
  }

  /** A message that the session cannot decrypt; with a `text` the sender's phone sends it again when asked to. */
  undecryptable(from: string, to: string, text?: string): Promise<string> {
    return this.reply(from, to, text ?? "", { spoilt: true, resends: text !== undefined });
  }

  /** Resolves to the first message taken, already or from now on, that fits. */
  waitForMessage(fits: (message: ReceivedMessage) => boolean, timeoutMs = TIMEOUT_MS): Promise<ReceivedMessage> {
    return this.#world.until(() => this.messages.find(fits), timeoutMs, "a message");
  }

  /** Resolves when something holds; looked at after everything that clients do. */
  async waitFor(holds: () => boolean, timeoutMs = TIMEOUT_MS): Promise<void> {
    await this.#world.until(() => holds() || undefined, timeoutMs, String(holds));
  }

  /** Ends all connections without a word and stops listening. */
  async stop(): Promise<void> {
    this.#world.close();
    await this.media[Symbol.asyncDispose]();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Starts a fake WhatsApp on loopback. */
export async function startFakeWhatsApp(options: FakeWhatsAppOptions = {}): Promise<FakeWhatsApp> {
  const fake = new FakeWhatsApp(options);
  await fake.listen(options.port);
  return fake;
}
