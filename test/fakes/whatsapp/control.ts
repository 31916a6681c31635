import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { DisconnectCode } from "./disconnects.ts";
import type { InboundOptions } from "./inbound.ts";
import type { ReceiptKind } from "./outgoing.ts";
import type { SendRule } from "./rules.ts";
import type { FakeWhatsApp } from "./server.ts";
import type { AutoReceipts, ReceivedMessage } from "./world.ts";

/** The fields of all commands; each uses its own. */
interface Command {
  phone: string;
  from: string;
  to: string;
  text: string;
  qr?: string;
  code: string & DisconnectCode;
  name?: string;
  id: string;
  kind: ReceiptKind;
  reason: number;
  times?: number;
  absent?: boolean;
  status?: number | "reset";
  version?: [number, number, number];
  rules: SendRule[];
  options?: InboundOptions & { quotedId?: string };
  autoReceipts: AutoReceipts;
}

type Route = (fake: FakeWhatsApp, command: Command, query: URLSearchParams) => unknown;

const ROUTES: Record<string, Route> = {
  "GET /state": (fake) => ({
    url: fake.url,
    media: { url: fake.media.url, ca: fake.media.ca, uploads: fake.media.uploads },
    rootPublicKey: fake.rootPublicKey.toString("base64"),
    sessions: fake.sessions.map((phone) => ({
      phone,
      paired: fake.paired(phone),
      connected: fake.connected(phone),
      logins: fake.logins(phone),
    })),
    messages: fake.messages.length,
    stanzas: fake.stanzas,
    faults: fake.faults.map(String),
    unknownIqs: fake.unknownIqs,
  }),
  "GET /messages": (fake, _, query) => listOf(fake.messages, query),
  "POST /scan": (fake, { phone, qr = "" }) => fake.scanQr(phone, qr),
  "POST /code": (fake, { phone, code }) => fake.enterCode(phone, code),
  "POST /interrupt": (fake, { qr }) => fake.interruptPairing(qr),
  "POST /pair": (fake, { phone, name }) => ({ creds: fake.pairedCredsJson(phone, name) }),
  "POST /unpair": (fake, { phone }) => fake.unpair(phone),
  "POST /reply": async (fake, { from, to, text, options }) => ({ id: await fake.reply(from, to, text, options) }),
  "POST /undecryptable": async (fake, { from, to, text }) => ({ id: await fake.undecryptable(from, to, text) }),
  "POST /rules": (fake, { rules }) => rules.forEach((rule) => fake.onSend(rule)),
  "DELETE /rules": (fake) => fake.clearRules(),
  "POST /disconnect": (fake, { phone, code }) => fake.disconnect(phone, code),
  "POST /refuse": (fake, { phone, reason, times }) => fake.refuseLogin(phone, reason, times),
  "POST /version": (fake, { version }) => fake.requireVersion(version),
  "POST /outage": (fake, { status }) => fake.outage(status),
  "POST /receipt": (fake, { id, kind }) => fake.receipt(id, kind),
  "POST /auto-receipts": (fake, { autoReceipts }) => fake.autoReceipts(autoReceipts),
  "POST /not-on-whatsapp": (fake, { phone, absent }) => fake.notOnWhatsApp(phone, absent),
};

/** The messages from `since` on, without what only this process can use, and how many there are in all. */
function listOf(messages: readonly ReceivedMessage[], query: URLSearchParams) {
  const fits = ({ to, from }: ReceivedMessage) =>
    (query.get("to") ?? to) === to && (query.get("from") ?? from) === from;
  const listed = messages.slice(Number(query.get("since") ?? 0)).filter(fits);
  return { count: messages.length, messages: listed.map((message) => ({ ...message, message: undefined })) };
}

/** Starts the control of a fake for other processes: JSON over HTTP on loopback; returns its URL. */
export async function startControl(fake: FakeWhatsApp): Promise<{ url: string; server: http.Server }> {
  const server = http.createServer((request, response) => {
    const reply = (status: number, body: unknown) =>
      response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body));
    handle(fake, request).then(
      (answer) => reply(200, answer ?? { ok: true }),
      (error: unknown) => reply(400, { error: String(error) }),
    );
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, server };
}

async function handle(fake: FakeWhatsApp, request: http.IncomingMessage): Promise<unknown> {
  const { pathname, searchParams } = new URL(request.url ?? "/", "http://control");
  const route = ROUTES[`${request.method} ${pathname}`];
  if (route === undefined)
    throw new Error(`no ${request.method} ${pathname}; there are ${Object.keys(ROUTES).join(", ")}`);
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks).toString("utf8");
  return route(fake, (body === "" ? {} : JSON.parse(body)) as Command, searchParams);
}
