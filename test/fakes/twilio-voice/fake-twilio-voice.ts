import { createHash, randomUUID } from "node:crypto";
import type http from "node:http";
import twilio from "twilio";
import { answerWith, FakeVendor, json, readRequest } from "../fake-vendor.ts";
import { FakeTwilio, refuse, type TwilioAnswer } from "../twilio/fake-twilio.ts";
import { readTwiml, type Verb } from "./twiml.ts";

export interface FakeCall {
  sid: string;
  to: string;
  from: string;
  direction: string;
  dateCreated: Date;
  /** What was posted; undefined for a call that somebody else made. */
  form: Record<string, string> | undefined;
}

/** What the person, or the machine, hears. */
export interface Performance {
  verbs: Verb[];
  /** Every status with which we were answered, in order; 504 where nobody was reached or answered in time. */
  statuses: number[];
  /** The origin of the last that answered 200: where the address led to, past `via`. */
  by?: string;
  /** Neither the address nor the fallback gave any instructions: Twilio says that an application error has occurred. */
  error: boolean;
}

export const UNREACHED = 504;
/** https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides: `rt` of one request, `tt` with its retries. */
const READ_MS = 15_000;
const TOTAL_MS = 15_000;

interface Form {
  [name: string]: string;
}

/**
 * Twilio's Calls resource over real HTTP on loopback: create, list, Basic auth, whatever failure is asked for, and the
 * calls themselves: it asks for TwiML and reports the end as Twilio does, signed, with the retries of the address.
 */
export class FakeTwilioVoice extends FakeVendor<TwilioAnswer> {
  readonly accountSid = FakeTwilio.ACCOUNT_SID;
  readonly authToken: string;
  readonly requests: { method: string; path: string; query: Form; form: Form }[] = [];
  /** Every call that was taken, in order: who is in here twice was called twice. */
  readonly calls: FakeCall[] = [];
  /** What happens between taking a call and saying so. */
  beforeAnswer: ((call: FakeCall) => Promise<unknown>) | undefined;
  /** Called with each call that is taken, before its caller is answered, if at all. */
  onAccept: (call: FakeCall) => void = () => {};
  /** Waits for so long: without it pauses take no time. */
  pause: (seconds: number) => Promise<unknown> = () => Promise.resolve();

  constructor({ authToken = FakeTwilio.AUTH_TOKEN }: { authToken?: string } = {}) {
    super();
    this.authToken = authToken;
  }

  callsTo(to: string): FakeCall[] {
    return this.calls.filter((call) => call.to === to);
  }

  /** Adds a call to the list as if somebody else had made it. */
  add(call: Partial<FakeCall> & { to: string; from: string }): FakeCall {
    const sid = `CA${createHash("md5").update(randomUUID()).digest("hex")}`;
    const full = { sid, direction: "outbound-api", dateCreated: new Date(), form: undefined, ...call };
    this.calls.push(full);
    return full;
  }

  /**
   * Somebody or something picks up: asks what to do, at the fallback when that fails, and does it to the end. `error`: what
   * goes wrong in doing it, the first time.
   */
  async pickUp(
    call: FakeCall,
    answeredBy: string | undefined,
    error?: { ErrorCode: string; ErrorUrl: string },
  ): Promise<Performance> {
    const performance: Performance = { verbs: [], statuses: [], error: false };
    const form = this.#formOf(call, { CallStatus: "in-progress", ...(answeredBy ? { AnsweredBy: answeredBy } : {}) });
    let failing = error;
    let address = call.form?.["Url"];
    while (address !== undefined) {
      let { status, body, type, by } = await this.#post(address, form, performance.statuses);
      const failed = status === 200 ? failing : { ErrorCode: "11200", ErrorUrl: address.split("#")[0]! };
      failing = undefined;
      if (failed) {
        const fallback = call.form?.["FallbackUrl"];
        status = UNREACHED;
        if (fallback) {
          ({ status, body, type, by } = await this.#post(fallback, { ...form, ...failed }, performance.statuses));
        }
      }
      address = undefined;
      if (status !== 200) {
        performance.error = true;
        break;
      }
      performance.by = by;
      if (!type.startsWith("text/xml")) throw new Error(`12300: ${type}`);
      for (const verb of readTwiml(body)) {
        performance.verbs.push(verb);
        if (verb.verb === "Pause") await this.pause(verb.seconds);
        if (verb.verb === "Redirect") address = verb.url;
      }
    }
    return performance;
  }

  /** Reports the end of a call, `times` over. Resolves with our answers. */
  async end(call: FakeCall, status: string, answeredBy?: string, times = 1): Promise<number[]> {
    const statuses: number[] = [];
    const answered = answeredBy === undefined ? {} : { AnsweredBy: answeredBy };
    const form = this.#formOf(call, { CallStatus: status, CallDuration: "12", SequenceNumber: "3", ...answered });
    for (let i = 0; i < times; i += 1) await this.#post(call.form?.["StatusCallback"] ?? "", form, statuses);
    return statuses;
  }

  /** As Twilio signs: over the public address, without what never leaves Twilio. */
  sign(address: string, form: Form): string {
    return twilio.getExpectedTwilioSignature(this.authToken, address.split("#")[0]!, form);
  }

  #formOf({ sid, to, from }: FakeCall, more: Form): Form {
    const account = { AccountSid: this.accountSid, ApiVersion: "2010-04-01", Direction: "outbound-api" };
    return { ...account, CallSid: sid, To: to, Called: to, From: from, Caller: from, ...more };
  }

  /** One webhook, with the retries that its address asks for; without a word: one, when nobody is reached. */
  async #post(
    address: string,
    form: Form,
    statuses: number[],
  ): Promise<{ status: number; body: string; type: string; by: string }> {
    const [target = "", fragment = ""] = address.split("#");
    const overrides = new URLSearchParams(fragment);
    const retries = Number(overrides.get("rc") ?? 1);
    const policy = (overrides.get("rp") ?? "ct").split(",");
    const deadline = performance.now() + TOTAL_MS;
    for (let i = 0; ; i += 1) {
      const patience = AbortSignal.timeout(Math.max(1, Math.min(READ_MS, Math.ceil(deadline - performance.now()))));
      const url = this.via(target);
      const response = await fetch(url, {
        method: "POST",
        headers: {
          "content-type": "application/x-www-form-urlencoded",
          "x-twilio-signature": this.sign(target, form),
        },
        body: new URLSearchParams(form).toString(),
        signal: patience,
      }).catch(() => undefined);
      // An answer that breaks off is none.
      const body = await response?.text().catch(() => undefined);
      const status = body === undefined ? UNREACHED : (response?.status ?? UNREACHED);
      statuses.push(status);
      const type = response?.headers.get("content-type") ?? "";
      const kinds = body === undefined ? ["ct", "rt"] : [`${Math.floor(status / 100)}xx`];
      const again = /^[45]xx/.test(kinds[0]!) || body === undefined;
      const wanted = policy.includes("all") || kinds.some((kind) => policy.includes(kind));
      if (!again || !wanted || i >= retries || performance.now() >= deadline)
        return { status, body: body ?? "", type, by: new URL(url).origin };
    }
  }

  protected override async handle(incoming: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
    const { method, path, query, headers, text } = await readRequest(incoming);
    const request = { method, path, query, form: Object.fromEntries(new URLSearchParams(text)) };
    this.requests.push(request);
    const credentials = Buffer.from(`${this.accountSid}:${this.authToken}`).toString("base64");
    if (headers.authorization !== `Basic ${credentials}`) {
      return refuse(response, { kind: "error", status: 401, code: 20003, message: "Authenticate" });
    }
    if (request.path !== `/2010-04-01/Accounts/${this.accountSid}/Calls.json`) {
      return refuse(response, { kind: "error", status: 404, code: 20404, message: "Not found" });
    }
    if (request.method === "GET") return this.#list(request.query, response);
    await this.#create(request.form, response);
  }

  async #create(form: Form, response: http.ServerResponse): Promise<void> {
    const { To: to = "", From: from = "" } = form;
    const answer = this.answerTo(to);
    if (answer.kind === "error") return refuse(response, answer);
    const accept = async () => {
      const call = this.add({ to, from, form });
      this.onAccept(call);
      if (answer.kind === "accept") await this.beforeAnswer?.(call);
      return this.#resource(call);
    };
    await answerWith(answer, response, { status: 201, accept });
  }

  /** Most recent first, as Twilio lists them. */
  #list(query: Form, response: http.ServerResponse): void {
    const size = Number(query["PageSize"] ?? 50);
    const calls = this.calls
      .filter(({ to, from }) => (query["To"] ?? to) === to && (query["From"] ?? from) === from)
      .toReversed()
      .slice(0, size)
      .map((call) => this.#resource(call));
    json(response, 200, { calls, page: 0, page_size: size, next_page_uri: null });
  }

  /** A call as Twilio writes it: times in RFC 2822 with whole seconds, `start_time` null while it is queued. */
  #resource({ sid, to, from, direction, dateCreated }: FakeCall): Record<string, unknown> {
    const created = dateCreated.toUTCString().replace("GMT", "+0000");
    return {
      sid,
      account_sid: this.accountSid,
      to,
      from,
      direction,
      status: "queued",
      answered_by: null,
      date_created: created,
      date_updated: created,
      start_time: null,
      end_time: null,
      duration: null,
      queue_time: "1000",
      api_version: "2010-04-01",
    };
  }
}

export async function startFakeTwilioVoice(options?: { authToken?: string }): Promise<FakeTwilioVoice> {
  const fake = new FakeTwilioVoice(options);
  await fake.listen();
  return fake;
}
