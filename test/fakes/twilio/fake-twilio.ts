import { createHash, createHmac, randomUUID } from "node:crypto";
import type http from "node:http";
import calculator from "sms-segments-calculator";
import { answerWith, FakeVendor, json, readRequest, type VendorAnswer } from "../fake-vendor.ts";
import type { Tls } from "../loopback-server.ts";

/** How the fake answers one POST of a message. */
export type TwilioAnswer =
  /** `segments`: what it says that it counted. */
  | { kind: "accept"; segments?: number }
  | { kind: "error"; status: number; code?: number; message?: string; headers?: Record<string, string> }
  | VendorAnswer;

export interface FakeTwilioMessage {
  sid: string;
  to: string;
  from: string | null;
  messagingServiceSid: string | null;
  body: string;
  direction: string;
  dateCreated: Date;
  /** Where its sender wants to be told what becomes of it. */
  statusCallback: string | null;
  /** As Twilio writes it, negative; null until it knows. */
  price: string | null;
}

/** One call of a webhook. */
export interface FakeTwilioCall {
  url: string;
  form: Record<string, string>;
  /** In place of the right one; null: none. */
  signature?: string | null;
}

interface FakeTwilioRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  form: Record<string, string>;
  headers: http.IncomingHttpHeaders;
}

interface FakeTwilioOptions {
  port?: number;
  accountSid?: string;
  authToken?: string;
  /** Speaks HTTPS with this key and certificate. */
  tls?: Tls;
}

/** Twilio's Messages resource over real HTTP on loopback: create, list, Basic auth, and whatever failure is asked for. */
export class FakeTwilio extends FakeVendor<TwilioAnswer> {
  static readonly ACCOUNT_SID = `AC${"a1".repeat(16)}`;
  static readonly AUTH_TOKEN = "5ecretf4ke7oken0000000000000000a";

  readonly accountSid: string;
  readonly authToken: string;
  readonly requests: FakeTwilioRequest[] = [];
  /** Every message that was taken, in order: who is in here twice was texted twice. */
  readonly accepted: FakeTwilioMessage[] = [];
  accountStatus: "active" | "suspended" | "closed" = "active";
  /** Called with each message that is taken, before its sender is answered. */
  onAccept: (message: FakeTwilioMessage) => void | Promise<void> = () => {};
  constructor({ accountSid = FakeTwilio.ACCOUNT_SID, authToken = FakeTwilio.AUTH_TOKEN, tls }: FakeTwilioOptions) {
    super(tls);
    this.accountSid = accountSid;
    this.authToken = authToken;
  }

  /** How often a message to this recipient was posted, taken or not. */
  posted(to: string): number {
    return this.requests.filter(({ method, form }) => method === "POST" && form["To"] === to).length;
  }

  acceptedFor(to: string): FakeTwilioMessage[] {
    return this.accepted.filter((message) => message.to === to);
  }

  /** Adds a message to the list as if somebody else had sent it. */
  add(message: Partial<FakeTwilioMessage> & { to: string; body: string }): FakeTwilioMessage {
    const sid = `SM${createHash("md5").update(randomUUID()).digest("hex")}`;
    const defaults = {
      from: null,
      messagingServiceSid: null,
      direction: "outbound-api",
      dateCreated: new Date(),
      statusCallback: null,
      price: null,
    };
    const full = { sid, ...defaults, ...message };
    this.accepted.push(full);
    return full;
  }

  /** Reports on a message as Twilio does. Answers what the webhook answered. */
  report(message: FakeTwilioMessage, status: string, errorCode?: number): Promise<Response> {
    if (message.statusCallback === null) throw new Error("Nobody wants to be told of this message.");
    return this.call({
      url: message.statusCallback,
      form: {
        MessageSid: message.sid,
        SmsSid: message.sid,
        MessageStatus: status,
        SmsStatus: status,
        To: message.to,
        From: message.from ?? "",
        ...(errorCode === undefined ? {} : { ErrorCode: String(errorCode) }),
      },
    });
  }

  /** Somebody writes to one of our numbers. */
  reply(url: string, from: string, body: string, extra: Record<string, string> = {}): Promise<Response> {
    const sid = `SM${createHash("md5").update(randomUUID()).digest("hex")}`;
    return this.call({
      url,
      form: { MessageSid: sid, From: from, To: "+33987650000", Body: body, NumSegments: "1", NumMedia: "0", ...extra },
    });
  }

  /** Calls a webhook, signed as https://www.twilio.com/docs/usage/security describes it. */
  call({ url, form, signature }: FakeTwilioCall): Promise<Response> {
    const full = this.#complete(form);
    return fetch(this.via(url), {
      method: "POST",
      headers: {
        "content-type": "application/x-www-form-urlencoded; charset=UTF-8",
        ...(signature === null ? {} : { "x-twilio-signature": signature ?? this.signatureOf(url, form) }),
      },
      body: new URLSearchParams(full).toString(),
    });
  }

  signatureOf(url: string, form: Record<string, string>): string {
    const full = this.#complete(form);
    const signed = Object.keys(full)
      .toSorted()
      .reduce((text, key) => text + key + full[key], url);
    return createHmac("sha1", this.authToken).update(signed, "utf8").digest("base64");
  }

  #complete(form: Record<string, string>): Record<string, string> {
    return { AccountSid: this.accountSid, ApiVersion: "2010-04-01", ...form };
  }

  protected override async handle(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { text, ...rest } = await readRequest(incoming);
    const request: FakeTwilioRequest = { ...rest, form: Object.fromEntries(new URLSearchParams(text)) };
    this.requests.push(request);
    const credentials = Buffer.from(`${this.accountSid}:${this.authToken}`).toString("base64");
    if (request.headers.authorization !== `Basic ${credentials}`) {
      return refuse(response, { kind: "error", status: 401, code: 20003, message: "Authenticate" });
    }
    if (request.path === `/2010-04-01/Accounts/${this.accountSid}.json`) {
      return json(response, 200, { sid: this.accountSid, status: this.accountStatus, type: "Full" });
    }
    const one = this.accepted.find(
      ({ sid }) => request.path === `/2010-04-01/Accounts/${this.accountSid}/Messages/${sid}.json`,
    );
    if (one && request.method === "GET") return json(response, 200, resource(this.accountSid, one));
    if (request.path !== `/2010-04-01/Accounts/${this.accountSid}/Messages.json`) {
      return refuse(response, {
        kind: "error",
        status: 404,
        code: 20404,
        message: "The requested resource was not found",
      });
    }
    if (request.method === "GET") return this.#list(request, response);
    await this.#create(request, response);
  }

  async #create({ form }: FakeTwilioRequest, response: http.ServerResponse): Promise<void> {
    const to = form["To"] ?? "";
    const answer = this.answerTo(to);
    if (answer.kind === "error") return refuse(response, answer);
    const segments = "segments" in answer ? answer.segments : undefined;
    const accept = async () => {
      const { From, MessagingServiceSid, Body, StatusCallback } = form;
      const message = this.add({
        to,
        from: From ?? null,
        messagingServiceSid: MessagingServiceSid ?? null,
        body: Body ?? "",
        statusCallback: StatusCallback ?? null,
      });
      await this.onAccept(message);
      return resource(this.accountSid, message, segments);
    };
    await answerWith(answer, response, { status: 201, accept });
  }

  /** Most recent first, as Twilio lists them. */
  #list({ query }: FakeTwilioRequest, response: http.ServerResponse): void {
    const size = Number(query["PageSize"] ?? 50);
    const messages = this.accepted
      .filter(({ to, from }) => (query["To"] ?? to) === to && (query["From"] ?? from) === from)
      .toReversed()
      .slice(0, size)
      .map((message) => resource(this.accountSid, message));
    json(response, 200, { messages, page: 0, page_size: size, next_page_uri: null });
  }
}

/** Starts a fake Twilio on a free port of loopback. */
export async function startFakeTwilio(options: FakeTwilioOptions = {}): Promise<FakeTwilio> {
  const fake = new FakeTwilio(options);
  await fake.listen(options.port);
  return fake;
}

const segmentsOf = ({ body }: FakeTwilioMessage): number => new calculator.SegmentedMessage(body).segmentsCount;

/** A message as Twilio writes it: times in RFC 2822 with whole seconds, `date_sent` null while it is queued. */
function resource(
  accountSid: string,
  message: FakeTwilioMessage,
  segments = segmentsOf(message),
): Record<string, unknown> {
  return {
    sid: message.sid,
    account_sid: accountSid,
    to: message.to,
    from: message.from,
    messaging_service_sid: message.messagingServiceSid,
    body: message.body,
    direction: message.direction,
    status: "queued",
    date_created: message.dateCreated.toUTCString().replace("GMT", "+0000"),
    date_updated: message.dateCreated.toUTCString().replace("GMT", "+0000"),
    date_sent: null,
    error_code: null,
    error_message: null,
    num_segments: String(segments),
    price: message.price,
    price_unit: "USD",
    api_version: "2010-04-01",
  };
}

/** An error as Twilio words it. */
export function refuse(response: http.ServerResponse, answer: Extract<TwilioAnswer, { kind: "error" }>): void {
  const { status, code, message = "Refused", headers } = answer;
  const moreInfo = code === undefined ? {} : { code, more_info: `https://www.twilio.com/docs/errors/${code}` };
  json(response, status, { ...moreInfo, message, status }, headers);
}
