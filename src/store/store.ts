import type { Receipt, Reply } from "../core/inbound.ts";
import type { Idempotency } from "../core/route.ts";
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
  /** BullMQ's: the smaller the sooner, 0 before all. */
  priority: number;
  /** ISO 8601; the database's default is seven days. */
  expiresAt: string | undefined;
  /** Why it is not to be sent, decided before the database was asked. */
  skip: string | undefined;
  detail: string | undefined;
  /** Takes its place when this one turns out not to reach the person. */
  next?: PlannedMessage | undefined;
}

export type Acceptance<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "unknown_account" | "suspended_account" | "other_account" };

export interface NewHunt {
  id: string;
  accountId: string;
  priority: "high" | "normal" | "low";
  expiresAt: string | undefined;
}

/** A chunk of a submission, as the plan job finds it. `contacts` is null once the whole submission is planned. */
export interface Chunk {
  huntId: string;
  accountId: string;
  priority: "high" | "normal" | "low";
  expiresAt: string;
  defaultCountry: string;
  contacts: unknown[] | null;
}

/** The answer to "may this message be sent now?"; `supabase/migrations/…_delivery.sql` says what each means. */
export type Verdict =
  /** recipient: the ledger's, which is the one that was checked; a job's copy is only a copy. */
  | { verdict: "go"; recipient: string; attempts: number }
  | { verdict: "wait"; retryInMs: number }
  | { verdict: "reconcile"; recipient: string; attemptId: string; attempts: number; startedAt: number }
  | { verdict: "skipped"; code: string }
  | { verdict: "settled"; status: MessageStatus; code: string | undefined }
  | { verdict: "missing" };

export interface NewAttempt {
  messageId: string;
  attemptId: string;
  provider: string;
  /** For how long nobody else may touch the message, milliseconds. */
  holdMs: number;
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
  status: MessageStatus;
  /** Why it was skipped, or with what code it failed. */
  code: string | null;
  detail: string | null;
  provider: string | null;
  providerMessageId: string | null;
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
  /** Contacts that wait to be planned, by channel. */
  pending: Record<string, number>;
  channels: Record<string, Partial<Counts>>;
}

export interface MessagePage {
  messages: StoredMessage[];
  /** Give it back to go on; absent on the last page. */
  nextCursor: string | undefined;
}

export type RetryAnswer<Response> =
  | { result: "accepted" | "replay"; response: Response }
  | { result: "conflict" | "missing" | "not_failed" | "not_safe" | "no_credit"; status?: MessageStatus };

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
  priority: number;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  /** For how long its attempt still belongs to a worker, milliseconds; 0 when nobody holds it. */
  retryInMs: number;
}

/**
 * The truth about every message. All methods reject with `UnavailableError` while the database does not answer;
 * `beginAttempt` and `recordOutcome` wait for it instead, until `close`, because a worker has nothing better to do.
 */
export interface Store {
  readonly sessions: SessionStore;
  ping(): Promise<void>;
  /** undefined when there is no such account. */
  account(id: string): Promise<{ status: "active" | "suspended"; defaultCountry: string } | undefined>;

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

  readChunk(jobId: string, no: number): Promise<Chunk | undefined>;
  /** Answers the ids of the messages that are to be queued. */
  planChunk(jobId: string, no: number, huntId: string, messages: PlannedMessage[]): Promise<Set<string>>;
  finishSubmission(jobId: string): Promise<void>;

  beginAttempt(attempt: NewAttempt): Promise<Verdict>;
  /** Resolves once committed: whether it changed anything. */
  recordOutcome(outcome: Outcome): Promise<boolean>;
  recordReceipt(receipt: Receipt): Promise<void>;
  /** Whether this is the first stop of that person. */
  recordReply(reply: Reply & { stop: boolean }): Promise<boolean>;

  huntStatus(jobId: string): Promise<HuntStatus | undefined>;
  huntExists(huntId: string): Promise<boolean>;
  huntMessages(
    huntId: string,
    filter: { status: MessageStatus | undefined; cursor: string | undefined; limit: number },
  ): Promise<MessagePage>;
  message(id: string): Promise<StoredMessage | undefined>;
  retryMessage<R>(id: string, response: R, idempotency: Idempotency | undefined): Promise<RetryAnswer<R>>;

  /** Messages of all hunts, and of none, in the order of planning. */
  messages(filter: {
    status: "unknown" | "failed";
    accountId: string | undefined;
    cursor: string | undefined;
    limit: number;
  }): Promise<MessagePage>;
  countUnknown(): Promise<number>;
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

  openMessages(after: number, limit: number, olderThanMs: number): Promise<OpenMessage[]>;
  /** Submissions that are not planned to the end, with the numbers of their chunks that are not. */
  openSubmissions(olderThanMs: number): Promise<{ jobId: string; huntId: string; chunks: number; open: number[] }[]>;
  tidy(): Promise<void>;

  /** Writes what is waiting, gives it up at the deadline that the signal sets, then closes connections. */
  close(signal?: AbortSignal): Promise<void>;
}
