import type { Clock } from "../../../../core/clock.ts";
import type { Charge, Inbound } from "../../../../core/inbound.ts";
import type { OpenAttempt, Pace, Provider, Reconciliation, SendRequest, SendResult } from "../../../provider.ts";
import { isName } from "../../../text.ts";
import type { SmsContent } from "../../content.ts";
import { type Sdk, TwilioCaller } from "../../../twilio/caller.ts";
import { Owners } from "../../../twilio/owners.ts";
import { NAME, TWILIO } from "./errors.ts";
import { reconcile } from "./reconcile.ts";
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
  pace: Pace;
}

const AMOUNT = /^\d{1,12}(\.\d{1,12})?$/;
const CURRENCY = /^[A-Za-z]{3}$/;

/** Of one recipient, the most recent first. */
const LIST_SIZE = 100;

/** SMS through Twilio's Messages resource, by its SDK: https://www.twilio.com/docs/messaging/api/message-resource */
export class TwilioProvider implements Provider<SmsContent> {
  readonly name = NAME;
  readonly timeoutMs: number;
  /** Twilio documents no bound for how soon a message is listed. Too early costs an `inconclusive`, never a second SMS. */
  readonly reconcileAfterMs = 10_000;
  readonly oneWay: boolean;
  readonly pace: Pace;
  readonly #config: TwilioConfig;
  readonly #clock: Clock;
  readonly #inbound: Inbound;
  readonly #caller: TwilioCaller;
  readonly #owners = new Owners();

  constructor(sdk: Sdk, config: TwilioConfig, { clock, inbound }: { clock: Clock; inbound: Inbound }) {
    this.#config = config;
    this.#clock = clock;
    this.#inbound = inbound;
    this.#caller = new TwilioCaller(config, { sdk, vendor: TWILIO, clock });
    this.timeoutMs = config.timeoutMs;
    this.pace = config.pace;
    this.oneWay = "from" in config.sender && isName(config.sender.from);
  }

  async send(request: SendRequest<SmsContent>, signal: AbortSignal): Promise<SendResult> {
    const { to, content, attemptId } = request;
    const { publicUrl } = this.#config;
    const { sid, numSegments } = await this.#caller.call(personal(request), signal, async (client) => {
      const message = await client.messages.create({
        to,
        body: content.text,
        ...this.#senderOf(request),
        ...(publicUrl === undefined ? {} : { statusCallback: statusCallback(publicUrl, request) }),
      });
      if (typeof message.sid !== "string") throw new TypeError("The answer has no sid.");
      return message;
    });
    this.#owners.remember(sid, attemptId);
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
    const page = await this.#caller.ask(personal(attempt), (client) =>
      client.messages.page({ to: attempt.to, ...from, pageSize: LIST_SIZE }),
    );
    return reconcile(page.instances, {
      attempt,
      timeoutMs: this.timeoutMs,
      messagingServiceSid: "messagingServiceSid" in sender ? sender.messagingServiceSid : undefined,
      ownerOf: (sid) => this.#owners.of(sid),
    });
  }

  /** Its reports name no price, and it is not known at once: https://www.twilio.com/docs/messaging/api/message-resource */
  async chargeOf(sid: string): Promise<Charge | undefined> {
    const message = await this.#caller.call([], undefined, (client) => client.messages(sid).fetch());
    // What is spent is negative.
    const amount = message.price?.replace(/^-/, "");
    const segments = Number(message.numSegments);
    if (amount === undefined || !AMOUNT.test(amount) || !CURRENCY.test(message.priceUnit)) return undefined;
    const price = { amount, currency: message.priceUnit.toUpperCase() };
    return { price, ...(segments > 0 ? { segments } : {}) };
  }

  async close(): Promise<void> {
    this.#caller.close();
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
}

const personal = ({ to, from, content }: SendRequest<SmsContent>) => [content.text, to, from];
