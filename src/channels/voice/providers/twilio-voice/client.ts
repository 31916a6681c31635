import type twilio from "twilio";
import type { Clock } from "../../../../core/clock.ts";
import { ProviderError, TransientError } from "../../../../core/errors.ts";
import type { OpenAttempt, Provider, Reconciliation, SendRequest, SendResult } from "../../../channel.ts";
import { type Failure, redacted, retryAfterOf } from "../../../sms/providers/vendor-errors.ts";
import { type Exchange, Transport, TransportError } from "../../../sms/providers/twilio/transport.ts";
import { digestOf, type VoiceContent } from "../../content.ts";
import { type CheckRecording, RECORDING_CHECK_MS } from "../../recording.ts";
import type { Tickets } from "../../ticket.ts";
import { NAME, twilioVoiceError } from "./errors.ts";
import { reconcile } from "./reconcile.ts";
import { statusUrl, twimlUrl } from "./webhooks.ts";

export interface TwilioVoiceConfig {
  accountSid: string;
  authToken: string;
  /** The number to call from when a message names none. */
  from: string;
  publicUrl: string;
  baseUrl: string;
  timeoutMs: number;
  /** For how long the phone may ring before voicemail has to answer. */
  ringSeconds: number;
  /** For how long the end of a greeting is waited for. */
  detectionSeconds: number;
  /** After which a call is ended, whatever is being said. */
  callSeconds: number;
}

interface Ports {
  clock: Clock;
  tickets: Tickets;
  checkRecording: CheckRecording;
}

type Sdk = typeof twilio;

/** Of one recipient, the most recent first. */
const LIST_SIZE = 50;
/** Calls whose attempt is remembered, at least; up to twice as many. */
const REMEMBERED = 5_000;

/**
 * Leaves messages in voicemails by calling: https://www.twilio.com/docs/voice/api/call-resource. Twilio detects who picks
 * up (`MachineDetection=DetectMessageEnd`: the answer comes after the beep of a machine, at once for a person) and only
 * then asks us, at an address that names the attempt, what to do: leave the message, or hang up. The phone does ring: who
 * picks up hears some seconds of silence. A `delivered` means that a machine recorded while the message was played; whether
 * it kept all of it nobody can tell.
 *
 * Calls beyond the account's rate (one a second by default) wait at Twilio, so sending is never limited by them.
 */
export class TwilioVoiceProvider implements Provider<VoiceContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  /** Twilio documents no bound for how soon a call is listed. Too early costs an `inconclusive`, never a second call. */
  readonly reconcileAfterMs = 10_000;
  readonly #sdk: Sdk;
  readonly #config: TwilioVoiceConfig;
  readonly #ports: Ports;
  readonly #transport: Transport;
  /** Which attempt a call is known to come from: two generations, the older is forgotten whole. */
  #owners = new Map<string, string>();
  #olderOwners = new Map<string, string>();

  constructor(sdk: Sdk, config: TwilioVoiceConfig, ports: Ports) {
    this.#sdk = sdk;
    this.#config = config;
    this.#ports = ports;
    this.#transport = new Transport(config);
    this.timeoutMs = RECORDING_CHECK_MS + config.timeoutMs;
  }

  async send(request: SendRequest<VoiceContent>, signal: AbortSignal): Promise<SendResult> {
    const { to, content, messageId, attemptId } = request;
    const { publicUrl, ringSeconds, detectionSeconds, callSeconds } = this.#config;
    if ("audioUrl" in content) await this.#ports.checkRecording(content.audioUrl, signal);
    const token = this.#ports.tickets.issue({ messageId, attemptId, digest: digestOf(content) });
    const { sid } = await this.#call(request, signal, async (client) => {
      const call = await client.calls.create({
        to,
        from: this.#senderOf(request),
        url: twimlUrl(publicUrl, token),
        method: "POST",
        statusCallback: statusUrl(publicUrl, token),
        statusCallbackMethod: "POST",
        statusCallbackEvent: ["completed"],
        machineDetection: "DetectMessageEnd",
        machineDetectionTimeout: detectionSeconds,
        timeout: ringSeconds,
        timeLimit: callSeconds,
      });
      if (typeof call.sid !== "string") throw new TypeError("The answer has no sid.");
      return call;
    });
    this.#remember(sid, attemptId);
    return { providerMessageId: sid };
  }

  /**
   * Looks for the attempt's call among the newest to its recipient; see `reconcile.ts` for the evidence.
   *
   * Filtered by To and From alone: StartTime filters by when a call was begun, which a queued one has not been yet.
   */
  async reconcile(attempt: OpenAttempt<VoiceContent>): Promise<Reconciliation> {
    const from = this.#senderOf(attempt);
    try {
      const page = await this.#call(attempt, undefined, (client) =>
        client.calls.page({ to: attempt.to, from, pageSize: LIST_SIZE }),
      );
      return reconcile(page.instances, {
        attempt,
        from,
        timeoutMs: this.timeoutMs,
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

  /** Runs one SDK call. The client is made for it: only so can the SDK's answer be tied to its connection. */
  async #call<Result>(
    personal: SendRequest<VoiceContent>,
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
      const words = "text" in content ? content.text : content.audioUrl;
      throw twilioVoiceError(this.#failureOf(error, exchange), redacted(error, [words, to, from ?? "", authToken]));
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
      retryAfterMs: retryAfterOf(retryAfter, this.#ports.clock.now()),
    };
  }

  #senderOf({ from }: SendRequest<VoiceContent>): string {
    return from ?? this.#config.from;
  }

  #remember(sid: string, attemptId: string): void {
    if (this.#owners.size >= REMEMBERED) {
      this.#olderOwners = this.#owners;
      this.#owners = new Map();
    }
    this.#owners.set(sid, attemptId);
  }
}
