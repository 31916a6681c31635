import { createHash, createHmac, createVerify, randomUUID } from "node:crypto";
import type http from "node:http";
import calculator from "sms-segments-calculator";
import { answerWith, FakeVendor, json, readRequest, type VendorAnswer } from "../fake-vendor.ts";
import { APPLICATION_KEY } from "./application-key.ts";

/** How the fake answers one POST of a message. */
export type VonageAnswer =
  | { kind: "error"; status: number; code?: number; type?: string; detail?: string; headers?: Record<string, string> }
  | VendorAnswer;

export interface FakeVonageMessage {
  uuid: string;
  /** Without a plus, as Vonage writes numbers. */
  to: string;
  from: string;
  text: string;
  clientRef: string | undefined;
  webhookUrl: string | undefined;
  dateReceived: Date;
}

interface FakeVonageRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  body: Record<string, unknown>;
  headers: http.IncomingHttpHeaders;
}

/** One call of a webhook; what is given replaces what would be right. */
export interface FakeVonageCall {
  url: string;
  body: Record<string, unknown> | string;
  /** The whole header; null: none. */
  authorization?: string | null;
  secret?: string;
  claims?: Record<string, unknown>;
}

/** Vonage's Messages and Reports APIs over real HTTP on loopback, and the calls of its webhooks. */
export class FakeVonage extends FakeVendor<VonageAnswer> {
  static readonly API_KEY = "abcd1234";
  static readonly API_SECRET = "5ecretOfF4keV0nage";
  static readonly SIGNATURE_SECRET = "s1gnatureSecretOfFakeVonageWithEnoughBits";
  static readonly APPLICATION_ID = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab";

  readonly requests: FakeVonageRequest[] = [];
  /** Every message that was taken, in order: who is in here twice was texted twice. */
  readonly accepted: FakeVonageMessage[] = [];
  /** What Reports does: answers, knows of nothing yet, refuses with a status, or never answers. */
  reports: "answers" | "late" | "hangs" | number = "answers";
  /** Called with each message that is taken, before its sender is answered. */
  onAccept: (message: FakeVonageMessage) => void | Promise<void> = () => {};
  /** The answers of the next messages to this recipient (E.164). */
  override script(to: string, ...answers: VonageAnswer[]): void {
    super.script(to.replace(/^\+/, ""), ...answers);
  }

  /** How often a message to this recipient was posted, taken or not. */
  posted(to: string): number {
    const number = to.replace(/^\+/, "");
    return this.requests.filter(({ method, body }) => method === "POST" && body["to"] === number).length;
  }

  acceptedFor(to: string): FakeVonageMessage[] {
    return this.accepted.filter((message) => `+${message.to}` === to);
  }

  /** Reports on a message as Vonage does: `submitted` with what it costs, failures with a problem. */
  report(message: FakeVonageMessage, status: string, code?: number): Promise<Response> {
    if (message.webhookUrl === undefined) throw new Error("Nobody wants to be told of this message.");
    const segments = new calculator.SegmentedMessage(message.text).segmentsCount;
    const type = `https://developer.vonage.com/api-errors/messages#${code}`;
    return this.call({
      url: message.webhookUrl,
      body: {
        message_uuid: message.uuid,
        to: message.to,
        from: message.from,
        timestamp: new Date().toISOString(),
        status,
        channel: "sms",
        destination: { network_code: "20801" },
        sms: { count_total: String(segments) },
        ...(message.clientRef === undefined ? {} : { client_ref: message.clientRef }),
        ...(status === "submitted" ? { usage: { currency: "EUR", price: String(0.0333 * segments) } } : {}),
        ...(code === undefined ? {} : { error: { type, title: String(code), detail: "…", instance: randomUUID() } }),
      },
    });
  }

  /** Somebody writes to one of our numbers. */
  reply(url: string, from: string, text: string, extra: Record<string, unknown> = {}): Promise<Response> {
    const usage = { currency: "EUR", price: "0.0000" };
    const common = { message_uuid: randomUUID(), channel: "sms", message_type: "text", usage };
    const timestamp = new Date().toISOString();
    return this.call({ url, body: { ...common, to: "33987650000", from: from.slice(1), text, timestamp, ...extra } });
  }

  /** Calls a webhook, signed as https://developer.vonage.com/messages/concepts/signed-webhooks describes it. */
  call({
    url,
    body,
    authorization,
    secret = FakeVonage.SIGNATURE_SECRET,
    claims = {},
  }: FakeVonageCall): Promise<Response> {
    const payload = typeof body === "string" ? body : JSON.stringify(body);
    const token = signed(secret, {
      iat: Math.floor(Date.now() / 1000),
      jti: randomUUID(),
      iss: "Vonage",
      payload_hash: createHash("sha256").update(payload).digest("hex"),
      api_key: FakeVonage.API_KEY,
      application_id: FakeVonage.APPLICATION_ID,
      ...claims,
    });
    return fetch(this.via(url), {
      method: "POST",
      headers: {
        "content-type": "application/json",
        ...(authorization === null ? {} : { authorization: authorization ?? `Bearer ${token}` }),
      },
      body: payload,
    });
  }

  protected override async handle(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { text, ...rest } = await readRequest(incoming);
    const body = text === "" ? {} : (JSON.parse(text) as Record<string, unknown>);
    const request: FakeVonageRequest = { ...rest, body };
    this.requests.push(request);
    const { authorization = "" } = request.headers;
    const basic = `Basic ${Buffer.from(`${FakeVonage.API_KEY}:${FakeVonage.API_SECRET}`).toString("base64")}`;
    switch (`${request.method} ${request.path}`) {
      case "POST /v1/messages":
        if (authorization !== basic && !isApplication(authorization)) return unauthorized(response);
        return this.#create(request, response);
      case "GET /v2/reports/records":
        // Reports takes no token of an application.
        if (authorization !== basic) return unauthorized(response);
        return this.#list(request, response);
      case `GET /accounts/${FakeVonage.API_KEY}/secrets`:
        if (authorization !== basic) return unauthorized(response);
        return json(response, 200, {
          _embedded: { secrets: [{ id: "ad6dc56f", created_at: "2026-03-02T16:34:49Z" }] },
        });
      default:
        return refuse(response, { kind: "error", status: 404, type: `${ERRORS}#not-found` });
    }
  }

  async #create({ body }: FakeVonageRequest, response: http.ServerResponse): Promise<void> {
    const to = String(body["to"]);
    const text = String(body["text"]);
    if (!/^[1-9]\d{6,14}$/.test(to) || text.length > 1000 || body["channel"] !== "sms") {
      return refuse(response, { kind: "error", status: 422, code: 1020 });
    }
    const answer = this.answerTo(to);
    if (answer.kind === "error") return refuse(response, answer);
    const accept = async () => {
      const message = {
        uuid: randomUUID(),
        to,
        from: String(body["from"]),
        text,
        clientRef: body["client_ref"] as string | undefined,
        webhookUrl: body["webhook_url"] as string | undefined,
        dateReceived: new Date(),
      };
      this.accepted.push(message);
      await this.onAccept(message);
      return { message_uuid: message.uuid };
    };
    await answerWith(answer, response, { status: 202, accept });
  }

  #list({ query }: FakeVonageRequest, response: http.ServerResponse): void {
    if (this.reports === "hangs") return;
    if (typeof this.reports === "number") return refuse(response, { kind: "error", status: this.reports });
    const { product, direction, account_id: account, to, date_start: start = "", date_end: end = "" } = query;
    if (product !== "MESSAGES" || direction !== "outbound" || account !== FakeVonage.API_KEY || "client_ref" in query) {
      return refuse(response, { kind: "error", status: 422, type: `${ERRORS}#invalid-params` });
    }
    const records = this.reports === "late" ? [] : this.accepted;
    const found = records.filter(
      (message) =>
        message.to === to && message.dateReceived >= new Date(start) && message.dateReceived <= new Date(end),
    );
    json(response, 200, {
      _links: { self: { href: this.url } },
      request_id: randomUUID(),
      request_status: "SUCCESS",
      received_at: new Date().toISOString(),
      items_count: found.length,
      product: "MESSAGES",
      records: found.map((message) => ({
        account_id: FakeVonage.API_KEY,
        message_id: message.uuid,
        client_ref: message.clientRef,
        direction: "outbound",
        from: message.from,
        to: message.to,
        provider: "sms",
        status: "submitted",
        date_received: message.dateReceived.toISOString(),
        total_price: "0.0333",
        currency: "EUR",
      })),
    });
  }
}

const ERRORS = "https://developer.vonage.com/api-errors";

/** Starts a fake Vonage on a free port of loopback. */
export async function startFakeVonage(port = 0): Promise<FakeVonage> {
  const fake = new FakeVonage();
  await fake.listen(port);
  return fake;
}

function signed(secret: string, claims: Record<string, unknown>): string {
  const encode = (part: object): string => Buffer.from(JSON.stringify(part)).toString("base64url");
  const content = `${encode({ typ: "JWT", alg: "HS256" })}.${encode(claims)}`;
  return `${content}.${createHmac("sha256", secret).update(content).digest("base64url")}`;
}

/** A token that the application's private key has signed. */
function isApplication(authorization: string): boolean {
  const [header, claims, signature] = authorization.replace(/^Bearer /, "").split(".");
  if (!header || !claims || !signature) return false;
  const { application_id: application } = JSON.parse(Buffer.from(claims, "base64url").toString("utf8")) as {
    application_id?: string;
  };
  const right = createVerify("RSA-SHA256")
    .update(`${header}.${claims}`)
    .verify(APPLICATION_KEY.public, Buffer.from(signature, "base64url"));
  return right && application === FakeVonage.APPLICATION_ID;
}

function unauthorized(response: http.ServerResponse): void {
  refuse(response, { kind: "error", status: 401, type: `${ERRORS}#unauthorized` });
}

function refuse(response: http.ServerResponse, answer: Extract<VonageAnswer, { kind: "error" }>): void {
  const { status, code, type = `${ERRORS}/messages#${code ?? "unknown"}`, detail = "Refused", headers } = answer;
  json(
    response,
    status,
    { type, title: code === undefined ? "Refused" : String(code), detail, instance: "i" },
    headers,
  );
}
