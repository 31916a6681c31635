import type { Clock } from "../../../../core/clock.ts";
import type { OpenAttempt, Pace, Provider, Reconciliation, SendRequest, SendResult } from "../../../provider.ts";
import { type Sdk, TwilioCaller } from "../../../twilio/caller.ts";
import { Owners } from "../../../twilio/owners.ts";
import { digestOf, type VoiceContent } from "../../content.ts";
import { type CheckRecording, RECORDING_CHECK_MS } from "../../recording.ts";
import type { Tickets } from "../../ticket.ts";
import { NAME, TWILIO_VOICE } from "./errors.ts";
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
  /** Of one number. */
  callsPerSecond: number;
}

interface Ports {
  clock: Clock;
  tickets: Tickets;
  checkRecording: CheckRecording;
}

/** Of one recipient, the most recent first. */
const LIST_SIZE = 50;

/**
 * Leaves messages in voicemails by calling: https://www.twilio.com/docs/voice/api/call-resource. Twilio detects who picks
 * up (`MachineDetection=DetectMessageEnd`: the answer comes after the beep of a machine, at once for a person) and only
 * then asks us, at an address that names the attempt, what to do: leave the message, or hang up. The phone does ring: who
 * picks up hears some seconds of silence. A `delivered` means that a machine recorded while the message was played; whether
 * it kept all of it nobody can tell.
 *
 * Calls beyond the account's rate (one a second by default) would wait at Twilio, where nothing stops them any more.
 */
export class TwilioVoiceProvider implements Provider<VoiceContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  /** Twilio documents no bound for how soon a call is listed. Too early costs an `inconclusive`, never a second call. */
  readonly reconcileAfterMs = 10_000;
  readonly pace: Pace;
  readonly asksForContent = true;
  readonly #config: TwilioVoiceConfig;
  readonly #ports: Ports;
  readonly #caller: TwilioCaller;
  readonly #owners = new Owners();

  constructor(sdk: Sdk, config: TwilioVoiceConfig, ports: Ports) {
    this.#config = config;
    this.#ports = ports;
    this.#caller = new TwilioCaller(config, { sdk, vendor: TWILIO_VOICE, clock: ports.clock });
    this.timeoutMs = RECORDING_CHECK_MS + config.timeoutMs;
    const max = config.callsPerSecond;
    this.pace = { max, min: max / 10, step: max / 20, cut: 0.5, senderOf: (from = config.from) => from };
  }

  async send(request: SendRequest<VoiceContent>, signal: AbortSignal): Promise<SendResult> {
    const { to, content, messageId, attemptId } = request;
    const { publicUrl, ringSeconds, detectionSeconds, callSeconds } = this.#config;
    if ("audioUrl" in content) await this.#ports.checkRecording(content.audioUrl, signal);
    const token = this.#ports.tickets.issue({ messageId, attemptId, digest: digestOf(content) });
    const { sid } = await this.#caller.call(personal(request), signal, async (client) => {
      const call = await client.calls.create({
        to,
        from: this.#senderOf(request),
        url: twimlUrl(publicUrl, token),
        method: "POST",
        fallbackUrl: twimlUrl(publicUrl, token),
        fallbackMethod: "POST",
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
    this.#owners.remember(sid, attemptId);
    return { providerMessageId: sid };
  }

  /**
   * Looks for the attempt's call among the newest to its recipient; see `reconcile.ts` for the evidence.
   *
   * Filtered by To and From alone: StartTime filters by when a call was begun, which a queued one has not been yet.
   */
  async reconcile(attempt: OpenAttempt<VoiceContent>): Promise<Reconciliation> {
    const from = this.#senderOf(attempt);
    const page = await this.#caller.ask(personal(attempt), (client) =>
      client.calls.page({ to: attempt.to, from, pageSize: LIST_SIZE }),
    );
    return reconcile(page.instances, {
      attempt,
      from,
      timeoutMs: this.timeoutMs,
      ownerOf: (sid) => this.#owners.of(sid),
    });
  }

  async close(): Promise<void> {
    this.#caller.close();
  }

  #senderOf({ from }: SendRequest<VoiceContent>): string {
    return from ?? this.#config.from;
  }
}

const personal = ({ to, from, content }: SendRequest<VoiceContent>) => [
  "text" in content ? content.text : content.audioUrl,
  to,
  from,
];
