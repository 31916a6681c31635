import type { Clock } from "../../../../core/clock.ts";
import { type ProviderError, TransientError } from "../../../../core/errors.ts";
import type { OpenAttempt, Pace, Provider, Reconciliation, SendRequest, SendResult } from "../../../provider.ts";
import { isName } from "../../../text.ts";
import type { SmsContent } from "../../content.ts";
import { HttpCaller, TransportError } from "../../../providers/http-call.ts";
import { type Failure, redacted, retryAfterOf } from "../../../providers/vendor-errors.ts";
import { codeOf, NAME, vonageError } from "./errors.ts";
import type * as sdk from "./sdk.ts";
import { statusUrl } from "./webhooks.ts";

export interface VonageConfig {
  apiKey: string;
  apiSecret: string;
  /** With both, messages are authenticated by JWT; else by key and secret. */
  applicationId: string | undefined;
  privateKey: string | undefined;
  /** Used when a message names no sender of its own. */
  from: string;
  baseUrl: string;
  timeoutMs: number;
  /** Where Vonage is to report to; undefined: where the account or the application says. */
  publicUrl: string | undefined;
  pace: Pace;
}

/** Vonage's clock and ours differ a little. */
const CLOCK_SLACK_MS = 60_000;
/** How long after our time-out Vonage may still take the message. */
const LATE_MS = 5 * 60_000;
/** Answers of Reports that asking again would not change: it is a paid product that an account may not have. */
const NO_REPORTS = new Set([400, 401, 402, 403, 404, 422]);

/** SMS through Vonage's Messages API, by its SDK: https://developer.vonage.com/api/messages */
export class VonageProvider implements Provider<SmsContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  /** Vonage documents no bound for how soon Reports knows a message. Too early costs an `inconclusive`, never a second SMS. */
  readonly reconcileAfterMs = 30_000;
  readonly oneWay: boolean;
  readonly pace: Pace;
  readonly #sdk: typeof sdk;
  readonly #config: VonageConfig;
  readonly #clock: Clock;
  readonly #caller: HttpCaller;

  constructor(clients: typeof sdk, config: VonageConfig, clock: Clock) {
    this.#sdk = clients;
    this.#config = config;
    this.#clock = clock;
    this.#caller = new HttpCaller(config);
    this.timeoutMs = config.timeoutMs;
    this.pace = config.pace;
    this.oneWay = isName(config.from);
  }

  /** The attempt's id goes along as `client_ref`, which comes back in receipts and stands in Reports. */
  async send(request: SendRequest<SmsContent>, signal: AbortSignal): Promise<SendResult> {
    const { from, publicUrl } = this.#config;
    try {
      const { messageUUID } = await new this.#sdk.MessagesClient(this.#way(signal)).send({
        channel: "sms",
        messageType: "text",
        to: digits(request.to),
        from: digits(request.from ?? from),
        text: request.content.text,
        clientRef: request.attemptId,
        ...(publicUrl === undefined
          ? {}
          : { webhookUrl: statusUrl(publicUrl, request.messageId), webhookVersion: "v1" as const }),
      });
      if (typeof messageUUID !== "string" || messageUUID === "") throw new TypeError("The answer has no message_uuid.");
      return { providerMessageId: messageUUID };
    } catch (error) {
      throw this.#translated(error, request);
    }
  }

  /**
   * Looks for the attempt's own reference among what Reports knows was sent to this recipient then. Reports has no filter
   * by reference for messages, and may be late: finding it is proof, not finding it is none.
   */
  async reconcile(attempt: OpenAttempt<SmsContent>): Promise<Reconciliation> {
    const { apiKey, timeoutMs } = this.#config;
    try {
      const { records = [] } = await new this.#sdk.ReportsClient(this.#way(undefined)).getRecords({
        product: this.#sdk.PRODUCT,
        direction: this.#sdk.DIRECTION,
        accountId: apiKey,
        to: digits(attempt.to),
        dateStart: new Date(attempt.startedAt - CLOCK_SLACK_MS).toISOString(),
        dateEnd: new Date(attempt.startedAt + timeoutMs + LATE_MS).toISOString(),
      });
      for (const record of records as { clientRef?: string; messageId?: string; id?: string }[]) {
        const providerMessageId = record.messageId ?? record.id;
        if (record.clientRef === attempt.attemptId && providerMessageId)
          return { result: "accepted", providerMessageId };
      }
      return { result: "inconclusive" };
    } catch (error) {
      if (error instanceof this.#sdk.RefusedError && NO_REPORTS.has(error.answer.status)) {
        return { result: "inconclusive" };
      }
      // `not_sent` of the question must not be read as `not_sent` of the message.
      const { code, message, cause } = this.#translated(error, attempt);
      throw new TransientError(`Asked what became of an attempt: ${message}`, {
        code,
        provider: NAME,
        cause,
        delivery: "unknown",
      });
    }
  }

  async close(): Promise<void> {
    this.#caller.close();
  }

  #way(signal: AbortSignal | undefined): sdk.Way {
    const { apiKey, apiSecret, applicationId, privateKey, baseUrl } = this.#config;
    // The SDK looks whether the key is a file, and wants text for it.
    const application = applicationId && privateKey ? { applicationId, privateKey } : { privateKey: "" };
    return {
      credentials: { apiKey, apiSecret, ...application },
      apiHost: baseUrl.replace(/\/$/, ""),
      caller: this.#caller,
      signal,
    };
  }

  #translated(error: unknown, personal: SendRequest<SmsContent>): ProviderError {
    const { apiSecret, from } = this.#config;
    const { to, content } = personal;
    const secrets = [content.text, to, digits(to), personal.from ?? "", from, apiSecret];
    return vonageError(this.#failureOf(error), redacted(error, secrets));
  }

  #failureOf(error: unknown): Failure {
    if (error instanceof TransportError) return { kind: error.kind, left: error.left };
    if (!(error instanceof this.#sdk.RefusedError)) return { kind: "unreadable" };
    const { status, headers, body } = error.answer;
    const retryAfterMs = retryAfterOf(headers["retry-after"], this.#clock.now());
    return { kind: "answer", status, code: codeOf(parsed(body)), retryAfterMs };
  }
}

/** Vonage wants E.164 without its plus; a name stays as it is. */
const digits = (number: string): string => (/^\+\d+$/.test(number) ? number.slice(1) : number);

function parsed(body: string): unknown {
  try {
    return JSON.parse(body) as unknown;
  } catch {
    return undefined;
  }
}
