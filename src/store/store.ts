import type { Instructions, Receipt, Reply } from "../core/inbound.ts";
import type { Idempotency } from "../core/route.ts";
import type { Cap, OpenHours } from "../core/rules.ts";
import type { AccountStore } from "./accounts.ts";
import type { EventStore } from "./events.ts";
import type { FlowStore } from "./flows.ts";
import type { PreviewStore } from "./previews.ts";
import type { RecurrenceStore } from "./recurrences.ts";
import type { TemplateStore } from "./templates.ts";
import type { ComplianceStore } from "./compliance.ts";
import type { OperationsStore } from "./operations.ts";
import type { DeadLetterStore } from "./dead-letters.ts";
import type { HuntStore } from "./hunts.ts";
import type { SessionStore } from "./sessions.ts";

export const MESSAGE_STATUSES = [
  "queued",
  "sending",
  "sent",
  "delivered",
  "read",
  "failed",
  "skipped",
  "cancelled",
  "unknown",
] as const;
export type MessageStatus = (typeof MESSAGE_STATUSES)[number];
export type Counts = Record<MessageStatus, number>;

/** A ledger row to be. `id` is the message's for good: writing it again changes nothing. */
export interface PlannedMessage {
  id: string;
  accountId: string | undefined;
  huntId: string | undefined;
  adId: string | undefined;
  /** 0, or 1, 2, … for a contact that a submission gave again: always skipped. */
  copy: number;
  channel: string;
  queue: string;
  /** E.164, or what the caller gave where that is not a number (then `skip` is set). */
  recipient: string;
  sender: string | undefined;
  content: unknown;
  /** ISO 8601; the database's default is seven days. */
  expiresAt: string | undefined;
  /** Not before it, ISO 8601; absent: as soon as can be. */
  sendAt?: string | undefined;
  /** The recipient's time zone, where the hunt's windows are by that. */
  zone?: string | undefined;
  /** Why it is not to be sent, decided before the database was asked. */
  skip: string | undefined;
  detail: string | undefined;
  /** Marketing is held to the account's policy. */
  category?: "marketing" | undefined;
  /** How often the person may be written to. */
  caps?: readonly Cap[] | undefined;
  /** The contact's messages on all of its channels, its own too: it is left out when the hunt has one that was not skipped. */
  siblings?: readonly string[] | undefined;
  /** Takes its place when this one turns out not to reach the person. */
  next?: PlannedMessage | undefined;
  /** Of a `next`: also when the one before is not delivered so soon after it was sent. */
  afterSeconds?: number | undefined;
  /** Which of the hunt's variants made its text. */
  variant?: string | undefined;
}

export type Acceptance<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | {
      result:
        | "conflict"
        | "unknown_account"
        | "suspended_account"
        | "other_account"
        | "cancelled_hunt"
        | "archived_template"
        | "sends_too_late";
    };

export interface NewHunt {
  id: string;
  accountId: string;
  priority: "high" | "normal" | "low";
  expiresAt: string | undefined;
  /** What this submission says to contacts without a message; kept as it is. */
  content?: unknown;
  /** Whichever of these is archived keeps it from being accepted. */
  templateIds?: readonly string[];
  /** Of this submission's contacts without a time of their own, ISO 8601. */
  sendAt?: string | undefined;
  /** The latest of its contacts' own times. */
  lastSendAt?: string | undefined;
  /** The first submission's count. */
  windows?: Windows | undefined;
}

/** When on which days a hunt's messages are sent. */
export interface Windows extends OpenHours {
  /** Evenly over the open time until `until`, else until the window closes. */
  spread?: boolean | undefined;
  /** ISO 8601. */
  until?: string | undefined;
}

/** A chunk of a submission, as the plan job finds it. `contacts` is null once the whole submission is planned. */
export interface Chunk {
  huntId: string;
  accountId: string;
  expiresAt: string;
  defaultCountry: string;
  /** The account's, as the ledger has it. */
  policy?: unknown;
  consentDeclared?: boolean;
  /** What the submission says to contacts without a message, as `NewHunt` had it. */
  content?: unknown;
  sendAt?: string | null | undefined;
  windows?: Windows | null | undefined;
  contacts: unknown[] | null;
}

/** The answer to "may this message be sent now?"; `supabase/migrations/…_delivery.sql` says what each means. */
export type Verdict =
  /** recipient: the ledger's, which is the one that was checked; a job's copy is only a copy. */
  | { verdict: "go"; recipient: string; attempts: number }
  | { verdict: "wait"; retryInMs: number }
  | { verdict: "reconcile"; recipient: string; attemptId: string; attempts: number; startedAt: number }
  /** Its hunt is paused: it is fed again when the hunt goes on. */
  | { verdict: "paused" }
  | { verdict: "skipped"; code: string }
  | { verdict: "settled"; status: MessageStatus; code: string | undefined }
  | { verdict: "missing" };

export interface NewAttempt {
  messageId: string;
  attemptId: string;
  provider: string;
  /** For how long nobody else may touch the message, milliseconds. */
  holdMs: number;
  /** Not before that time has passed, milliseconds, and why: it waits, unless there is another reason to end it. */
  opensInMs?: number | undefined;
  why?: string | undefined;
  /** It waits for something else than its sender's turn: others of its flow may go meanwhile. */
  putOff?: boolean | undefined;
  /** Counted in the transaction that begins the attempt. */
  caps?: readonly Cap[] | undefined;
}

/**
 * What an attempt came to. `not_sent` is proven and puts the message back in the queue; `ambiguous` keeps it in
 * `sending`, to be reconciled when `holdMs` have passed.
 */
export interface Outcome {
  messageId: string;
  /** Absent: the message never came as far as an attempt, and has failed or is skipped. */
  attemptId: string | undefined;
  /** The claim under which somebody else's attempt was cleared up. */
  claim: string | undefined;
  result: "sent" | "failed" | "skipped" | "unknown" | "not_sent" | "ambiguous";
  code: string | undefined;
  /** In words, without personal data. */
  detail: string | undefined;
  provider: string | undefined;
  providerMessageId: string | undefined;
  /** The recipient asked the carrier never to be contacted again. */
  suppress: boolean;
  /** For `failed`: the provider has refused it for good, so that its contact is tried over the next channel. */
  refused?: boolean | undefined;
  /** For `ambiguous`: from when on the provider can be asked, milliseconds. */
  holdMs?: number;
}

export interface StoredMessage {
  messageId: string;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  channel: string;
  queue: string;
  recipientPhone: string;
  senderPhone: string | null;
  /** Which of the hunt's variants made its text. */
  variant: string | null;
  status: MessageStatus;
  /** Why it was skipped, or with what code it failed. */
  code: string | null;
  detail: string | null;
  provider: string | null;
  providerMessageId: string | null;
  /** Of an SMS: as its provider counted, else as we did. */
  segments: number | null;
  /** What its provider charged, where it said so. */
  price: number | null;
  currency: string | null;
  attempts: number;
  createdAt: string;
  sentAt: string | null;
  deliveredAt: string | null;
  readAt: string | null;
  updatedAt: string;
}

export interface HuntStatus {
  huntId: string;
  accountId: string;
  createdAt: string;
  /** The database's clock, for durations. */
  now: string;
  startedAt: string | null;
  lastSettledAt: string | null;
  /** Messages that were attempted and have come to an end. */
  attempted: number;
  pausedAt: string | null;
  cancelledAt: string | null;
  /** When it goes on, where nothing of it may be sent now. */
  scheduledAt: string | null;
  /** When it will be over, as far as can be told. */
  endsAt: string | null;
  /** Contacts that wait to be planned, by channel. */
  pending: Record<string, number>;
  channels: Record<string, Partial<Counts>>;
  /** By the hunt's variants; `replied`: messages that were answered. */
  variants?: Record<string, Partial<Counts> & { replied: number }>;
}

export interface MessagePage {
  messages: StoredMessage[];
  /** Give it back to go on; absent on the last page. */
  nextCursor: string | undefined;
}

export type RetryAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_failed" | "not_safe" | "hunt_over" | "no_credit"; status?: MessageStatus };

export type ResolveAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_unknown"; status?: MessageStatus };

/** A message that should have a job, for the sweeper. */
export interface OpenMessage {
  id: string;
  seq: number;
  queue: string;
  channel: string;
  recipient: string;
  sender: string | null;
  content: unknown;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  category: "marketing" | null;
  /** The hours of its hunt; null: any. */
  windows: OpenHours | null;
  /** For how long its attempt still belongs to a worker, milliseconds; 0 when nobody holds it. */
  retryInMs: number;
}

/** A message as the sweeper finds it. */
export interface SweptMessage extends OpenMessage {
  /** It is to have no job now: it is still to be fed, or its hunt is paused. */
  held: boolean;
}

export interface Account {
  status: "active" | "suspended";
  defaultCountry: string;
  /** Its policy, as the ledger has it: a name, its own values, or null. */
  policy: unknown;
  /** It has declared that everybody whom it contacts has agreed. */
  consentDeclared: boolean;
}

/**
 * The truth about every message. All methods reject with `UnavailableError` while the database does not answer;
 * `beginAttempt` and `recordOutcome` wait for it instead, until `close`, because a worker has nothing better to do.
 */
export interface Store {
  readonly sessions: SessionStore;
  readonly compliance: ComplianceStore;
  readonly accounts: AccountStore;
  readonly flows: FlowStore;
  readonly templates: TemplateStore;
  readonly previews: PreviewStore;
  readonly recurrences: RecurrenceStore;
  readonly events: EventStore;
  readonly operations: OperationsStore;
  readonly hunts: HuntStore;
  readonly deadLetters: DeadLetterStore;
  ping(): Promise<void>;
  /** undefined when there is no such account. */
  account(id: string): Promise<Account | undefined>;

  /** Writes a single message's ledger row; `response` is what the same `Idempotency-Key` will get again. */
  acceptMessage<R>(message: PlannedMessage, response: R, idempotency: Idempotency | undefined): Promise<Acceptance<R>>;
  /** Writes a submission in chunks. Nothing of it counts before the last one is in. */
  acceptHunt<R>(
    hunt: NewHunt,
    jobId: string,
    chunks: unknown[][],
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>>;

  /** Puts chunks of a submission in place, which count once it is accepted; what never is goes after an hour. */
  stageChunks(jobId: string, chunks: { no: number; contacts: unknown[] }[]): Promise<void>;
  /** Takes out what was staged of a submission that is not to be accepted. */
  discardChunks(jobId: string): Promise<void>;
  /** Accepts what was staged, all of which has so many contacts. */
  acceptStaged<R>(
    hunt: NewHunt,
    jobId: string,
    contacts: number,
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<Acceptance<R>>;

  readChunk(jobId: string, no: number): Promise<Chunk | undefined>;
  /** Answers the ids of the messages that are to be queued. */
  planChunk(jobId: string, no: number, huntId: string, messages: PlannedMessage[]): Promise<Set<string>>;
  finishSubmission(jobId: string): Promise<void>;

  beginAttempt(attempt: NewAttempt): Promise<Verdict>;
  /** Resolves once committed: whether it changed anything. */
  recordOutcome(outcome: Outcome): Promise<boolean>;
  recordReceipt(receipt: Receipt): Promise<void>;
  /** Like `recordReceipt`, but rejects while the database is away: whoever brings it comes again. */
  takeReceipt(receipt: Receipt): Promise<void>;
  /** Twice and in any order. */
  takeInstructions(instructions: Instructions): Promise<void>;
  /**
   * How far the provider's question what to leave came; undefined: it has not asked, as far as the ledger knows. `asked`: the
   * report of the call's end is kept, and counts when it turns out that it was answered.
   */
  instructionsOf(attemptId: string, ended: Receipt): Promise<Instructions["step"] | undefined>;
  /** The contact of this attempt is tried over no further channel: nobody can prove that it has not reached them. */
  endWay(attempt: { messageId: string; attemptId: string }): Promise<void>;
  /** Like `recordReply`, but rejects while the database is away. */
  takeReply(reply: Reply & { stop: boolean; start?: boolean }): Promise<boolean>;
  /** Whether this is the first stop of that person. */
  recordReply(reply: Reply & { stop: boolean; start?: boolean }): Promise<boolean>;

  huntStatus(jobId: string): Promise<HuntStatus | undefined>;
  huntExists(huntId: string): Promise<boolean>;
  huntMessages(
    huntId: string,
    filter: { status: MessageStatus | undefined; code?: string | undefined; cursor: string | undefined; limit: number },
  ): Promise<MessagePage>;
  message(id: string): Promise<StoredMessage | undefined>;
  /** What is to be said; undefined when there is none, or when its person has said stop or its account is suspended. */
  contentOf(messageId: string): Promise<unknown>;
  retryMessage<R>(id: string, response: R, idempotency: Idempotency | undefined): Promise<RetryAnswer<R>>;

  /** Messages of all hunts, and of none, in the order of planning. */
  messages(filter: {
    status: "unknown" | "failed";
    accountId: string | undefined;
    cursor: string | undefined;
    limit: number;
  }): Promise<MessagePage>;
  /** Settles what nobody could tell: a person says what became of it. */
  resolveMessage<R>(
    id: string,
    as: "sent" | "not_sent" | "resend",
    response: R,
    idempotency: Idempotency | undefined,
  ): Promise<ResolveAnswer<R>>;

  /** The greatest epoch that was seen anywhere: a database behind it is refused, then taken over as restored. */
  observeEpoch(epoch: number): void;
  nextEpoch(): Promise<number>;

  openMessages(after: number, limit: number, olderThanMs: number): Promise<SweptMessage[]>;
  /** Submissions that are not planned to the end, with the numbers of their chunks that are not. */
  openSubmissions(olderThanMs: number): Promise<{ jobId: string; huntId: string; chunks: number; open: number[] }[]>;
  tidy(): Promise<void>;

  /** Writes what is waiting, gives it up at the deadline that the signal sets, then closes connections. */
  close(signal?: AbortSignal): Promise<void>;
}
