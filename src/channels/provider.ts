import type { BreakerState } from "../core/gauges.ts";
import type { Charge } from "../core/inbound.ts";
import type { LaneDirectory } from "./lanes.ts";

/** What a provider is asked to carry. One call of `send` is one attempt. */
export interface SendRequest<Content = unknown> {
  /** Ours, unique for each call of a provider: the tag by which an ambiguous attempt is found again. */
  attemptId: string;
  messageId: string;
  accountId: string | undefined;
  /** As in the API: `whatsapp_image`. */
  channel: string;
  /** The lane in which it waited for its sender; undefined outside lanes. */
  lane: string | undefined;
  /** 1 for the first call for this message. */
  attemptNumber: number;
  /** E.164. */
  to: string;
  /** The number or name to send from, or undefined for the provider's configured one. */
  from: string | undefined;
  content: Content;
}

export interface SendResult {
  providerMessageId: string;
}

/** An attempt of which it is not known whether the provider accepted it. */
export interface OpenAttempt<Content = unknown> extends SendRequest<Content> {
  /** Milliseconds since the epoch at which the attempt was begun. */
  startedAt: number;
}

export type Reconciliation =
  | { result: "accepted"; providerMessageId: string }
  /** Only with conclusive evidence: the message will be sent again. */
  | { result: "not_accepted" }
  /** `providerMessageId`: under which it would be reported on, if it was accepted; a receipt then settles it. */
  | { result: "inconclusive"; providerMessageId?: string };

/**
 * Who carries messages. `send` resolves when the provider has accepted the message and throws nothing but the
 * taxonomy of `core/errors.ts`; it must settle within `timeoutMs` or when `signal` aborts (then as
 * `TransientError{delivery: "unknown"}` unless it knows better).
 */
export interface Provider<Content = unknown> {
  readonly name: string;
  /** The longest that one `send` can take, milliseconds. */
  readonly timeoutMs: number;
  /** How long after an ambiguous attempt `reconcile` can first be conclusive, milliseconds. */
  readonly reconcileAfterMs: number;
  /** Nobody can answer what it sends where a message names no sender: it sends under a name. */
  readonly oneWay?: boolean;
  send(request: SendRequest<Content>, signal: AbortSignal): Promise<SendResult>;
  /**
   * Asks the provider what became of an attempt; without it an ambiguous attempt becomes `unknown`. Rejects with
   * `TransientError{delivery: "unknown"}` when the provider could not be asked: that says nothing about the attempt.
   */
  reconcile?(attempt: OpenAttempt<Content>): Promise<Reconciliation>;
  /**
   * What a message was charged, of one whose reports do not say so; asked some time after its last one. undefined: not known yet.
   * Rejects like `send`.
   */
  chargeOf?(providerMessageId: string): Promise<Charge | undefined>;
  /**
   * Asked right before an attempt begins, and as often as it takes: paces the sender and looks whether the recipient can
   * be reached at all. May take its time; `signal` aborts when the service stops.
   */
  admit?(message: Omit<SendRequest<Content>, "attemptId" | "attemptNumber">, signal: AbortSignal): Promise<Admission>;
  /** For a vendor that limits how fast a sender may send; without it no message asks for a permit. */
  readonly pace?: Pace;
  /** For a provider whose senders are each served by one process: which of them a message has to wait for. */
  readonly lanes?: LaneDirectory;
  /** Its vendor asks us what to say while it calls, also while the ledger is away: each message keeps a job of its own. */
  readonly asksForContent?: boolean;
  /** For one that stands for several (`failover.ts`): who of them carries a message. Nothing is sent through it itself. */
  readonly choice?: ProviderChoice;
  /** Something has changed that it looks at from time to time: look at once. */
  nudge?(): void;
  /** Begins what it does by itself, such as connecting its senders. Called once, when the service is complete. */
  start?(): void;
  /** The service begins to stop: takes nothing new upon itself, such as another sender. */
  retire?(): void;
  close?(): Promise<void>;
}

/** Which provider carries a message, where a channel has several. */
export interface ProviderChoice {
  /** The first in the order of the recipient's country that works now and is not among those that were tried. */
  next(to: string, tried: readonly string[]): Provider | undefined;
  /** Whether there is one in that order who was not tried, working now or not. */
  another(to: string, tried: readonly string[]): boolean;
  /** Whoever had an attempt is the one to be asked about it. */
  named(name: string): Provider | undefined;
  /** How long a message waits when none can be had, milliseconds. */
  readonly retryAfterMs: number;
  /** Whether each of them is given messages now. */
  states(): { provider: string; state: BreakerState }[];
}

export type Admission =
  /** `unpaced`: it will not be sent anyway, which `send` explains, so that it takes no time of its sender's. */
  | { verdict: "go"; unpaced?: true }
  /** Not before `delayMs` have passed. */
  | { verdict: "later"; delayMs: number }
  /** It will never reach this recipient: the message ends `skipped`, for the reason in `code`. */
  | { verdict: "skip"; code: string; detail: string };

/**
 * How fast a vendor lets each sender send, messages a second. The rate begins at `max`. A refusal for going too fast
 * multiplies it by `cut`, down to `min`; what is accepted adds `step` a second.
 */
export interface Pace {
  min: number;
  max: number;
  step: number;
  cut: number;
  /** Whose rate a message counts for, from the sender that it names, if any. */
  senderOf(from: string | undefined): string;
}
