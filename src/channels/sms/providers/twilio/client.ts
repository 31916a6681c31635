import type twilio from "twilio";
import type { Clock } from "../../../../core/clock.ts";
import { ProviderError, TransientError } from "../../../../core/errors.ts";
import type { Inbound } from "../../../../core/inbound.ts";
import type { OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "../../../channel.ts";
import type { SmsContent } from "../../content.ts";
import { type Failure, NAME, redacted, retryAfterOf, twilioError } from "./errors.ts";
import { reconcile } from "./reconcile.ts";
import { type Exchange, Transport, TransportError } from "./transport.ts";
import { statusCallback } from "./webhooks.ts";

interface TwilioConfig {
  accountSid: string;
  authToken: string;
  /** Used when a message names no sender of its own. */
  sender: { from: string } | { messagingServiceSid: string };
  baseUrl: string;
  timeoutMs: number;
  /** Where Twilio is to report to; undefined: nowhere. */
  publicUrl: string | undefined;
}

type Sdk = typeof twilio;

/** Of one recipient, the most recent first. */
const LIST_SIZE = 100;
/** Messages whose attempt is remembered, at least; up to twice as many. */
const REMEMBERED = 5_000;

/** SMS through Twilio's Messages resource, by its SDK: https://www.twilio.com/docs/messaging/api/message-resource */
export class TwilioProvider implements Provider<SmsContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  /** Twilio documents no bound for how soon a message is listed. Too early costs an `inconclusive`, never a second SMS. */
  readonly reconcileAfterMs = 10_000;
  readonly #sdk: Sdk;
  readonly #config: TwilioConfig;
  readonly #clock: Clock;
  readonly #inbound: Inbound;
  readonly #transport: Transport;
  /** Which attempt a message is known to come from: two generations, the older is forgotten whole. */
  #owners = new Map<string, string>();
  #olderOwners = new Map<string, string>();

  constructor(sdk: Sdk, config: TwilioConfig, { clock, inbound }: { clock: Clock; inbound: Inbound }) {
    this.#sdk = sdk;
    this.#config = config;
    this.#clock = clock;
    this.#inbound = inbound;
    this.#transport = new Transport(config);
    this.timeoutMs = config.timeoutMs;
  }

  async send(request: SendRequest<SmsContent>, signal: AbortSignal): Promise<SendResult> {
    const { to, content, attemptId } = request;
    const { publicUrl } = this.#config;
    const { sid, numSegments } = await this.#call(request, signal, async (client) => {
      const message = await client.messages.create({
        to,
        body: content.text,
        ...this.#senderOf(request),
        ...(publicUrl === undefined ? {} : { statusCallback: statusCallback(publicUrl, request) }),
      });
      if (typeof message.sid !== "string") throw new TypeError("The answer has no sid.");
      return message;
    });
    this.#remember(sid, attemptId);
    this.#takeOver(sid, Number(numSegments), content.segments);
    return { providerMessageId: sid };
  }

  /**
   * Looks for the attempt's message among the newest to its recipient; see `reconcile.ts` for the evidence.
   *
   * Filtered by To and From alone: DateSent filters by the time of sending, which a queued message does not have yet.
   */
  async reconcile(attempt: OpenAttempt<SmsContent>): Promise<Reconciliation> {
    const sender = this.#senderOf(attempt);
    const from = "from" in sender ? { from: sender.from } : {};
    try {
      const page = await this.#call(attempt, undefined, (client) =>
        client.messages.page({ to: attempt.to, ...from, pageSize: LIST_SIZE }),
      );
      return reconcile(page.instances, {
        attempt,
        timeoutMs: this.timeoutMs,
        messagingServiceSid: "messagingServiceSid" in sender ? sender.messagingServiceSid : undefined,
        ownerOf: (sid) => this.#owners.get(sid) ?? this.#olderOwners.get(sid),
      });
    } catch (error) {
      // `not_sent` of the question must not be read as `not_sent` of the message.
      if (!(error instanceof ProviderError)) throw error;
      const { code, message } = error;
      throw new TransientError(`Asked what became of an attempt: ${message}`, {
        code,
        provider: NAME,
        cause: error,
        delivery: "unknown",
      });
    }
  }

  async close(): Promise<void> {
    this.#transport.close();
  }

  /** Runs one SDK call. The client is made for it (20 µs): only so can the SDK's answer be tied to its connection. */
  async #call<Result>(
    personal: SendRequest<SmsContent>,
    signal: AbortSignal | undefined,
    use: (client: twilio.Twilio) => Promise<Result>,
  ): Promise<Result> {
    const { accountSid, authToken } = this.#config;
    const exchange: Exchange = {};
    const httpClient = this.#transport.clientFor(exchange, signal);
    try {
      return await use(new this.#sdk.Twilio(accountSid, authToken, { accountSid, autoRetry: false, httpClient }));
    } catch (error) {
      const { to, from, content } = personal;
      throw twilioError(this.#failureOf(error, exchange), redacted(error, [content.text, to, from ?? "", authToken]));
    }
  }

  #failureOf(error: unknown, { status, retryAfter }: Exchange): Failure {
    if (error instanceof TransportError) return { kind: error.kind, left: error.left };
    if (status === undefined || (status >= 200 && status < 300)) return { kind: "unreadable" };
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return {
      kind: "answer",
      status,
      code: typeof code === "number" ? code : undefined,
      retryAfterMs: retryAfterOf(retryAfter, this.#clock.now()),
    };
  }

  /** Its webhooks say nothing of segments, so what this answer says is noted where it is not what we had counted. */
  #takeOver(providerMessageId: string, theirs: number, ours: number | undefined): void {
    // 0 as long as a messaging service has not chosen the sender.
    if (ours === undefined || ours === theirs || !(theirs > 0)) return;
    const at = this.#clock.now();
    void this.#inbound.receipt({ provider: NAME, providerMessageId, status: "sent", segments: theirs, at });
  }

  #senderOf({ from }: SendRequest): TwilioConfig["sender"] {
    return from === undefined ? this.#config.sender : { from };
  }

  #remember(sid: string, attemptId: string): void {
    if (this.#owners.size >= REMEMBERED) {
      this.#olderOwners = this.#owners;
      this.#owners = new Map();
    }
    this.#owners.set(sid, attemptId);
  }
}
