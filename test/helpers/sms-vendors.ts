import { FakeVonage, startFakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { FakeTwilio, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import type { TestService } from "./service.ts";

/** Where the vendors believe the service to be. */
export const PUBLIC_URL = "https://worker.example.com/behind-a-proxy";

/** Credentials of both vendors, and the sandbox in their place: every webhook is there, and nothing leaves. */
export const WEBHOOKS: Readonly<Record<string, string>> = {
  PUBLIC_URL,
  SMS_PROVIDER: "sandbox",
  VOICE_PROVIDER: "sandbox",
  TWILIO_ACCOUNT_SID: FakeTwilio.ACCOUNT_SID,
  TWILIO_AUTH_TOKEN: FakeTwilio.AUTH_TOKEN,
  TWILIO_FROM: "+33987650000",
  VONAGE_API_KEY: FakeVonage.API_KEY,
  VONAGE_API_SECRET: FakeVonage.API_SECRET,
  VONAGE_SIGNATURE_SECRET: FakeVonage.SIGNATURE_SECRET,
  VONAGE_FROM: "+33987650000",
};

type Report = "sent" | "delivered" | "failed" | "stopped" | "irrelevant";

/** What two doubles of vendors have in common, for tests that hold for both. */
export interface SmsVendor extends AsyncDisposable {
  readonly name: "twilio" | "vonage";
  readonly environment: Record<string, string>;
  /** Their calls reach this service, as through a proxy. */
  reach(service: Pick<TestService, "url">): void;
  otherwise(
    answer: { kind: "accept" } | { kind: "hang"; accept?: boolean } | { kind: "reset"; accept?: boolean },
  ): void;
  /** Called with the recipient of each message that is taken, before its sender is answered. */
  onAccept(listener: (to: string) => Promise<unknown> | void): void;
  /** How many messages to this recipient were taken. */
  taken(to: string): number;
  /** Reports on the last message to this recipient. */
  report(to: string, status: Report): Promise<Response>;
  /** Reports on a message that the service knows nothing of (yet). */
  reportUnknown(id: string, status: Report): Promise<Response>;
  reply(from: string, text: string, replyId?: string): Promise<Response>;
  /** The right path, and a body that says something; the signature is not the vendor's. */
  forge(how: "unsigned" | "wrong secret" | "changed body" | "other account", to: string): Promise<Response>;
  /** Rightly signed, and nonsense. */
  nonsense(what: "status" | "inbound"): Promise<Response>;
  /** What has to stand in the ledger for a message that failed. */
  failure: string;
}

const toService = (service: Pick<TestService, "url">) => (url: string) => url.replace(PUBLIC_URL, service.url);

export async function startTwilio(): Promise<SmsVendor> {
  const fake = await startFakeTwilio();
  const status = `${PUBLIC_URL}/webhooks/twilio/status`;
  const inbound = `${PUBLIC_URL}/webhooks/twilio/inbound`;
  const words = {
    sent: "sent",
    delivered: "delivered",
    failed: "undelivered",
    stopped: "failed",
    irrelevant: "receiving",
  };
  const codes: Partial<Record<Report, number>> = { failed: 30005, stopped: 21610 };
  const last = (to: string) => fake.acceptedFor(to).at(-1)!;
  return {
    name: "twilio",
    failure: "twilio_30005",
    environment: {
      SMS_PROVIDER: "twilio",
      PUBLIC_URL,
      TWILIO_ACCOUNT_SID: fake.accountSid,
      TWILIO_AUTH_TOKEN: fake.authToken,
      TWILIO_FROM: "+33987650000",
      SMS_RATE_MAX: "1000",
      TWILIO_API_BASE_URL: fake.url,
      TWILIO_TIMEOUT_MS: "1000",
    },
    reach: (service) => void (fake.via = toService(service)),
    otherwise: (answer) => fake.otherwise(answer),
    onAccept: (listener) => void (fake.onAccept = async ({ to }) => void (await listener(to))),
    taken: (to) => fake.acceptedFor(to).length,
    report: (to, what) => fake.report(last(to), words[what], codes[what]),
    reportUnknown: (id, what) => fake.call({ url: status, form: { MessageSid: id, MessageStatus: words[what] } }),
    reply: (from, text, id) => fake.reply(inbound, from, text, id === undefined ? {} : { MessageSid: id }),
    forge(how, to) {
      const url = last(to).statusCallback!;
      const form = { MessageSid: last(to).sid, MessageStatus: "delivered" };
      switch (how) {
        case "unsigned":
          return fake.call({ url, form, signature: null });
        case "wrong secret":
          return new FakeTwilioAt(fake, "another token").call({ url, form });
        case "changed body":
          // The signature of another status.
          return new FakeTwilioAt(fake, fake.authToken).callWith({ url, form }, { ...form, MessageStatus: "sent" });
        case "other account":
          return fake.call({ url, form: { ...form, AccountSid: `AC${"b2".repeat(16)}` } });
      }
    },
    nonsense: (what) => fake.call({ url: what === "status" ? status : inbound, form: { Nothing: "at all" } }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}

/** Whoever has another token, or changes what has been signed. */
class FakeTwilioAt extends FakeTwilio {
  constructor({ accountSid, via }: FakeTwilio, authToken: string) {
    super({ accountSid, authToken });
    this.via = via;
  }

  async callWith(
    sent: { url: string; form: Record<string, string> },
    signed: Record<string, string>,
  ): Promise<Response> {
    const signature = this.signatureOf(sent.url, signed);
    return this.call({ ...sent, signature });
  }
}

export async function startVonage(): Promise<SmsVendor> {
  const fake = await startFakeVonage();
  const status = `${PUBLIC_URL}/webhooks/vonage/status`;
  const inbound = `${PUBLIC_URL}/webhooks/vonage/inbound`;
  const words = {
    sent: "submitted",
    delivered: "delivered",
    failed: "rejected",
    stopped: "rejected",
    irrelevant: "thought",
  };
  const codes: Partial<Record<Report, number>> = { failed: 1190, stopped: 1240 };
  const last = (to: string) => fake.acceptedFor(to).at(-1)!;
  return {
    name: "vonage",
    failure: "vonage_1190",
    environment: {
      SMS_PROVIDER: "vonage",
      PUBLIC_URL,
      VONAGE_API_KEY: FakeVonage.API_KEY,
      VONAGE_API_SECRET: FakeVonage.API_SECRET,
      VONAGE_SIGNATURE_SECRET: FakeVonage.SIGNATURE_SECRET,
      VONAGE_FROM: "+33987650000",
      SMS_RATE_MAX: "1000",
      VONAGE_API_BASE_URL: fake.url,
      VONAGE_TIMEOUT_MS: "1000",
    },
    reach: (service) => void (fake.via = toService(service)),
    otherwise: (answer) => fake.otherwise(answer),
    onAccept: (listener) => void (fake.onAccept = async ({ to }) => void (await listener(`+${to}`))),
    taken: (to) => fake.acceptedFor(to).length,
    report: (to, what) => fake.report(last(to), words[what], codes[what]),
    reportUnknown: (id, what) =>
      fake.call({ url: status, body: { message_uuid: id, status: words[what], timestamp: new Date().toISOString() } }),
    reply: (from, text, id) => fake.reply(inbound, from, text, id === undefined ? {} : { message_uuid: id }),
    forge(how, to) {
      const url = last(to).webhookUrl!;
      const body = { message_uuid: last(to).uuid, status: "delivered", client_ref: last(to).clientRef };
      switch (how) {
        case "unsigned":
          return fake.call({ url, body, authorization: null });
        case "wrong secret":
          return fake.call({ url, body, secret: "another secret" });
        case "changed body":
          return fake.call({ url, body, claims: { payload_hash: "0".repeat(64) } });
        case "other account":
          return fake.call({ url, body, claims: { api_key: "ffff0000" } });
      }
    },
    nonsense: (what) => fake.call({ url: what === "status" ? status : inbound, body: { nothing: "at all" } }),
    [Symbol.asyncDispose]: () => fake[Symbol.asyncDispose](),
  };
}
