import type { Logger } from "pino";
import { z } from "zod";
import { ProviderError } from "../../../../core/errors.ts";
import type {
  Admission,
  OpenAttempt,
  Provider,
  Reconciliation,
  SendRequest,
  SendResult,
  Pace,
} from "../../../provider.ts";
import { TransportError } from "../../../providers/http-call.ts";
import { digestOf, type VoiceContent } from "../../content.ts";
import { type CheckRecording, RECORDING_CHECK_MS } from "../../recording.ts";
import type { Tickets } from "../../ticket.ts";
import type { Api } from "./api.ts";
import { NAME, permanent, refusal, silence } from "./errors.ts";
import type { TokenOf } from "./recordings.ts";
import { notifyUrl } from "./webhooks.ts";

export interface VoicePartnerConfig {
  apiKey: string;
  /** Told when a campaign has ended; VoicePartner insists. */
  email: string;
  /** The number to be called back, when a message names none. */
  sender: string | undefined;
  /** undefined: no receipts. */
  publicUrl: string | undefined;
  timeoutMs: number;
  requestsPerMinute: number;
}

interface Ports {
  api: Api;
  tokenOf: TokenOf;
  tickets: Tickets;
  checkRecording: CheckRecording;
  log: Logger;
}

const acceptedSchema = z.object({ success: z.literal(true), campaignId: z.union([z.string().min(1), z.number()]) });

const NO_SPEECH =
  "VoicePartner leaves recordings only: what it calls a vocal SMS rings the phone. Give an audioUrl, or leave texts through Twilio.";

/**
 * Drops recordings into voicemails through VoicePartner:
 * https://www.docpartner.dev/api/voice-partner/message-vocal/deposer-un-message-vocal
 *
 * One number a request, so that what is reported of a campaign is reported of a person. Five requests a minute are
 * allowed, whatever the sender.
 *
 * What its documentation does not say, or says otherwise than was assumed:
 * - a recording is named by a token, not an address, and cannot be uploaded by API: see `recordings.ts`;
 * - a text can only be spoken by `tts/send`, which calls the person: texts are skipped here;
 * - mobiles are not rung, landlines are: "sur un numéro fixe, le téléphone sonne";
 * - no request tells what became of one before, so an attempt that is in doubt stays `unknown` until a report comes. A
 *   message is therefore known by our attempt, which is in the address that VoicePartner reports to, and not by its
 *   `campaignId`, of which nobody says whether the report's `campaign_token` or `campaign_id` is the same.
 */
export class VoicePartnerProvider implements Provider<VoiceContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  readonly reconcileAfterMs = 0;
  readonly pace: Pace;
  readonly #config: VoicePartnerConfig;
  readonly #ports: Ports;
  /** Attempts that were accepted here: two generations, the older is forgotten whole. */
  #accepted = new Set<string>();
  #olderAccepted = new Set<string>();

  constructor(config: VoicePartnerConfig, ports: Ports) {
    this.#config = config;
    this.#ports = ports;
    this.timeoutMs = RECORDING_CHECK_MS + 2 * config.timeoutMs;
    const max = 1_000 / (Math.ceil(60_000 / config.requestsPerMinute) + TURN_SLACK_MS);
    this.pace = { max, min: max / 10, step: max / 10, cut: 0.5, senderOf: () => WHOLE_ACCOUNT };
  }

  /** A message that cannot be sent anyway takes nobody's turn: `send` says what is wrong with it. */
  async admit({ content }: Pick<SendRequest<VoiceContent>, "content">, signal: AbortSignal): Promise<Admission> {
    if ("text" in content) return { verdict: "skip", code: "voicepartner_no_speech", detail: NO_SPEECH };
    try {
      await this.#recordingOf(content, signal);
    } catch (error) {
      if (error instanceof ProviderError) return { verdict: "go", unpaced: true };
      throw error;
    }
    return { verdict: "go" };
  }

  async send(request: SendRequest<VoiceContent>, signal: AbortSignal): Promise<SendResult> {
    const { apiKey, email, publicUrl } = this.#config;
    const { to, from, content, messageId, attemptId } = request;
    const tokenAudio = await this.#recordingOf(content, signal);
    const sender = from ?? this.#config.sender;
    const ticket = this.#ports.tickets.issue({ messageId, attemptId, digest: digestOf(content) });
    const answer = await this.#ports.api
      .post(
        "/campaign/send",
        {
          apiKey,
          tokenAudio,
          emailForNotification: email,
          phoneNumbers: to,
          ...(sender === undefined ? {} : { sender }),
          ...(publicUrl === undefined ? {} : { notifyUrl: notifyUrl(publicUrl, ticket) }),
        },
        signal,
      )
      .catch((error: unknown) => {
        throw error instanceof TransportError ? silence(error) : error;
      });
    const accepted = acceptedSchema.safeParse(answer.body);
    if (answer.status < 200 || answer.status > 299 || !accepted.success) throw refusal(answer);
    // What an operator needs to find it at VoicePartner.
    this.#ports.log.info({ messageId, campaignId: accepted.data.campaignId }, "campaign accepted");
    this.#remember(attemptId);
    return { providerMessageId: attemptId };
  }

  /** VoicePartner cannot be asked; should it have accepted, its report will come under this id. */
  async reconcile({ attemptId }: OpenAttempt<VoiceContent>): Promise<Reconciliation> {
    if (this.#accepted.has(attemptId) || this.#olderAccepted.has(attemptId)) {
      return { result: "accepted", providerMessageId: attemptId };
    }
    return { result: "inconclusive", providerMessageId: attemptId };
  }

  async close(): Promise<void> {
    this.#ports.api.close();
  }

  #remember(attemptId: string): void {
    if (this.#accepted.size >= REMEMBERED) {
      this.#olderAccepted = this.#accepted;
      this.#accepted = new Set();
    }
    this.#accepted.add(attemptId);
  }

  async #recordingOf(content: VoiceContent, signal: AbortSignal): Promise<string> {
    if ("text" in content) throw permanent("voicepartner_no_speech", NO_SPEECH);
    await this.#ports.checkRecording(content.audioUrl, signal);
    return this.#ports.tokenOf(content.audioUrl, signal);
  }
}

/** In the place of a sender: VoicePartner counts the requests of a key. */
const WHOLE_ACCOUNT = "account";
/** Accepted attempts that are remembered, at least; up to twice as many. */
const REMEMBERED = 1_000;
/** VoicePartner's minute and ours do not begin at the same time, and requests travel for different times. */
const TURN_SLACK_MS = 200;
