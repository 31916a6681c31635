import type { Logger } from "pino";
import type { z } from "zod";
import type { FetchPolicy } from "../core/addresses.ts";
import type { Clock } from "../core/clock.ts";
import type { Charge, Inbound, InboundEvent } from "../core/inbound.ts";
import type { BreakerState } from "../core/gauges.ts";
import type { Fault } from "../core/problem.ts";
import type { Route } from "../core/route.ts";
import type { SessionStore } from "../store/sessions.ts";

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

/** What decides which sender carries a message. */
export interface LaneKey {
  accountId: string | undefined;
  /** The number to send from, as the caller gave it. */
  sender: string | undefined;
  /** E.164. */
  recipient: string;
}

/** A lane is a queue of its own for one sender, worked by the one process that has the sender. */
export interface LaneDirectory {
  /**
   * The lane for a message: `current` as long as that will do. Undefined when no sender can carry it: any worker may have
   * it then, and `send` says why. Rejects with `UnavailableError`.
   */
  laneOf(message: LaneKey, current: string | undefined): Promise<string | undefined>;
  /** What is wrong with asking for this sender, in words; undefined when nothing is. Rejects with `UnavailableError`. */
  senderFault(message: Pick<LaneKey, "accountId" | "sender">): Promise<Fault | undefined>;
  /** Every lane that there is. Rejects with `UnavailableError`. */
  all(): Promise<string[]>;
}

/** How a provider has a lane worked in this process. */
export interface LaneHost {
  /** Takes up to `concurrency` jobs of the lane at a time, until closed. */
  open(lane: string, concurrency: number): OpenLane;
  /** What was put off in a lane looks again at once. Rejects with `UnavailableError`. */
  wake(lane: string): Promise<void>;
  /**
   * Forgets a lane whose sender is gone, and that nobody works any more; what waits in it goes where it belongs now.
   * Rejects with `UnavailableError`.
   */
  remove(lane: string): Promise<void>;
}

export interface OpenLane {
  setConcurrency(concurrency: number): void;
  /** Takes no new jobs; resolves when the running ones have ended. */
  close(): Promise<void>;
}

export interface ProviderDeps {
  clock: Clock;
  log: Logger;
  inbound: Inbound;
  sessions: SessionStore;
  lanes: LaneHost;
  /** What addresses of callers may be fetched; default: public ones. */
  fetchPolicy: FetchPolicy | undefined;
  /** Where vendors reach this service, without a slash at its end; undefined: nowhere, so that no webhook comes. */
  publicUrl: string | undefined;
}

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

export interface WebhookDeps {
  clock: Clock;
  publicUrl: string;
  /**
   * Makes sure that these are not lost: they are queued, or in the ledger, once it resolves. Rejects with
   * `UnavailableError` when neither can be had now, and the vendor is to call again. What has an id (`callJobId`) is queued once
   * at a time.
   */
  take(events: readonly InboundEvent[], id?: string): Promise<void>;
  /**
   * Like `take`, for what becomes known only when the vendor has been answered, who will not call again: it is kept both ways at
   * once, and tried for a minute.
   */
  takeAfterwards(events: readonly InboundEvent[], id?: string): Promise<void>;
  /**
   * What a message says, for a vendor who asks; undefined when there is none, or it is not to be said any more. Rejects with
   * `UnavailableError`.
   */
  contentOf(messageId: string): Promise<unknown>;
  /**
   * What the message's job says, for while the ledger cannot be asked; undefined when there is none any more. It does not know
   * who has said stop since the attempt. Rejects with `UnavailableError`.
   */
  jobContentOf(queue: string, messageId: string): Promise<unknown>;
}

/** A provider as the registry knows it: its variables, and how to make it from them. */
export interface ProviderDefinition<Env extends z.ZodRawShape = z.ZodRawShape, Content = unknown> {
  readonly name: string;
  /** The environment variables that it reads, each optional and with a `.describe()`; documented from here. */
  readonly env: Env;
  /** `absent` when no credentials are given; every fault of a half-given group otherwise. `pointer` is the variable. */
  configured(env: z.output<z.ZodObject<Env>>): "present" | "absent" | Fault[];
  /**
   * Asks the vendor something harmless that wants the credentials: what is wrong, in words, or undefined. Rejects where the
   * vendor cannot be asked. For `npm run doctor`.
   */
  verify?(env: z.output<z.ZodObject<Env>>): Promise<string | undefined>;
  create(env: z.output<z.ZodObject<Env>>, deps: ProviderDeps): Promise<Provider<Content>>;
  /**
   * The public routes to which the vendor reports; each verifies its caller (see `webhooks.ts`). Asked for whenever there
   * are credentials, also while another provider is chosen: what was sent before is still reported on.
   */
  webhooks?(env: z.output<z.ZodObject<Env>>, deps: WebhookDeps): Promise<Route[]>;
}

/** Variables of a channel's own, whoever carries it. */
export interface ChannelSettings<Env extends z.ZodRawShape = z.ZodRawShape> {
  /** Each with a default or optional, and with a `.describe()`; documented from here. */
  readonly env: Env;
  /** What of the channel they change. */
  apply(env: z.output<z.ZodObject<Env>>): Partial<Channel>;
}

/**
 * The fields of a hunt's contact or of a single send that a channel makes its content from, by their names in the API.
 * Those of the channel's own (`inHunts`) come as they were given: `contentOf` says what is wrong with them.
 */
export interface ContentInput {
  message?: string | undefined;
  audioUrl?: string | undefined;
  [field: string]: unknown;
}

/** For whom content is made, and what has to be said in it; none at the edge of a hunt, where neither is known yet. */
export interface ContentTerms {
  /** The recipient's, ISO 3166-1. */
  country: string | undefined;
  /** The sender that the caller has asked for. */
  sender: string | undefined;
  /** Nobody can answer the one that is used otherwise. */
  oneWay: boolean;
  /** Marketing has to say how to stop it: in the service's words (true), or in these. */
  stopNotice: true | string | undefined;
}

export interface ChannelRouteDeps {
  sessions: SessionStore;
  /** Who a message of the account's for that recipient would be written for. Rejects with `ProblemError`. */
  termsOf(message: {
    accountId?: string | undefined;
    recipientPhone?: string | undefined;
    senderPhone?: string | undefined;
  }): Promise<ContentTerms>;
  /** Who carries the channel now. */
  provider: Provider | undefined;
  clock: Clock;
}

/** A way to reach a person. Adding one is a folder with this in it, and one line in `modules.ts`. */
export interface Channel<Content = unknown> {
  /** As in the API: `sms`. */
  readonly name: string;
  /** The queue that carries it, shared by sibling channels. */
  readonly queue: "whatsapp" | "sms" | "voice";
  /** `SMS_PROVIDER`: the variable that names the provider. */
  readonly providerVariable: string;
  /** In the order of preference when several have credentials; the sandbox last. */
  readonly providers: readonly ProviderDefinition[];
  readonly settings?: ChannelSettings;
  /** What a job of this channel carries, checked at the edge and again off the queue. */
  readonly content: z.ZodType<Content>;
  /**
   * Content out of a contact, as it is sent, or what is wrong with it (pointers relative to the contact). Without `terms` it
   * tells only whether the contact's own fields are right.
   */
  contentOf(input: ContentInput, terms?: ContentTerms): { content: Content } | { faults: Fault[] };
  /** The path and body of the route that sends a single message, e.g. `/api/phone/sms`. */
  readonly single: SingleSend;
  /** Where, as it is set up, the service's policy keeps every marketing message from going out: countries, `other` for all others. */
  closedTo?(setUp: { oneWay: boolean; stopNoticeOf(country: string | undefined): true | string | undefined }): string[];
  /** Further routes of its own. */
  routes?(deps: ChannelRouteDeps): Route[];
}

/** The route that sends one message over a channel. */
export interface SingleSend {
  path: string;
  summary: string;
  /** The content's own fields in the body, beside `recipientPhone`, `senderPhone` and `accountId`. */
  fields: z.ZodRawShape;
  /** Those of `fields` that a hunt's contact has as well, beside `message` and `audioUrl`. */
  inHunts?: readonly string[];
  /** Faults that no single field shows, such as "exactly one of two"; pointers into the body. */
  check?(body: Record<string, unknown>): Fault[];
  /** From the body's own fields to what `contentOf` takes. */
  input(body: Record<string, unknown>): ContentInput;
  example: Record<string, unknown>;
}
