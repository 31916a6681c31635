import type { Idempotency } from "../core/route.ts";
import type { Account, AccountStore } from "./accounts.ts";
import type { ResolveAnswer, RetryAnswer } from "./answers.ts";
import type { AttemptStore } from "./attempts.ts";
import type { ComplianceStore } from "./compliance.ts";
import type { DeadLetterStore } from "./dead-letters.ts";
import type { EventStore } from "./events.ts";
import type { FlowStore } from "./flows.ts";
import type { HuntStatus, HuntStore } from "./hunts.ts";
import type { InboundStore } from "./inbound.ts";
import type { MessagePage, MessageStatus, StoredMessage, SweptMessage } from "./messages.ts";
import type { OperationsStore } from "./operations.ts";
import type { PlanStore } from "./plans.ts";
import type { PreviewStore } from "./previews.ts";
import type { RecurrenceStore } from "./recurrences.ts";
import type { SessionStore } from "./sessions.ts";
import type { SingleSendStore } from "./single-sends.ts";
import type { SubmissionStore } from "./submissions.ts";
import type { TemplateStore } from "./templates.ts";
import type { TraceStore } from "./traces.ts";

export type { Account } from "./accounts.ts";
export type { Acceptance } from "./answers.ts";
export type { NewAttempt, Outcome, Verdict } from "./attempts.ts";
export type { HuntStatus } from "./hunts.ts";
export { MESSAGE_STATUSES } from "./messages.ts";
export type { Counts, MessagePage, MessageStatus, OpenMessage, PlannedMessage, StoredMessage } from "./messages.ts";
export type { Chunk } from "./plans.ts";
export type { NewHunt, Windows } from "./submissions.ts";

/**
 * The truth about every message. All methods reject with `UnavailableError` while the database does not answer;
 * `beginAttempt` and `recordOutcome` wait for it instead, until `close`, because a worker has nothing better to do.
 */
export interface Store extends SingleSendStore, SubmissionStore, PlanStore, AttemptStore, InboundStore {
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
  readonly traces: TraceStore;
  ping(): Promise<void>;
  /** undefined when there is no such account. */
  account(id: string): Promise<Account | undefined>;

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

  openMessages(after: number, limit: number, olderThanMs: number): Promise<SweptMessage[]>;
  tidy(): Promise<void>;

  /** Writes what is waiting, gives it up at the deadline that the signal sets, then closes connections. */
  close(signal?: AbortSignal): Promise<void>;
}
