import { UnavailableError } from "../core/errors.ts";
import type { Receipt, Reply } from "../core/inbound.ts";
import type { Idempotency } from "../core/route.ts";
import { Batcher } from "./batcher.ts";
import { Database, DatabaseError, type DatabaseOptions } from "./database.ts";
import { phoneHash } from "./phone-hash.ts";
import { createAccountStore } from "./supabase-accounts.ts";
import { createComplianceStore } from "./supabase-compliance.ts";
import { createSessionStore } from "./supabase-sessions.ts";
import { createEventStore } from "./supabase-events.ts";
import { createDeadLetterStore } from "./dead-letters.ts";
import { createFlowStore } from "./flows.ts";
import { createPreviewStore } from "./previews.ts";
import { createRecurrenceStore } from "./recurrences.ts";
import { createSubmissions } from "./submissions.ts";
import { createTemplateStore } from "./templates.ts";
import { createOperationsStore } from "./operations.ts";
import { createHuntStore } from "./hunts.ts";
import {
  pageOfMessages,
  toOpenMessage,
  toStoredMessage,
  MESSAGE_COLUMNS,
  type MessageRow,
  type OpenMessageRow,
} from "./message-rows.ts";
import type {
  Acceptance,
  Account,
  Chunk,
  HuntStatus,
  MessageStatus,
  NewAttempt,
  Outcome,
  PlannedMessage,
  ResolveAnswer,
  RetryAnswer,
  Store,
  Verdict,
} from "./store.ts";

export interface SupabaseStoreOptions extends DatabaseOptions {
  /** The secret under which a number is known whose holder was erased. */
  salt?: string | undefined;
  /** How fast accounts without limits of their own may send, as `limits_of` in the migrations takes them. */
  limits?: readonly object[];
  /** Told each time that a batch has to wait for the database. */
  onRetry?(operation: string, error: unknown, items: number): void;
  /** Told when the database turned out to be a restored backup: so many messages became `unknown`. */
  onRestored?(messages: number): void;
  /** Told of the size of each batch that is written. */
  onBatch?(operation: string, items: number): void;
}

/** Around a provider's call: as many as one request carries well, two requests so that one fills while one runs. */
/** A caller waits for each of these: what comes while one call is under way shares the next. */
const CALLERS = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 1, waitForDatabase: false };
const MESSAGES = { maxSize: 250, maxConcurrent: 2, maxWaitMs: 2 };

/** The store on Supabase (PostgREST before Postgres), with the per-message writes in batches. */
export function createSupabaseStore(options: SupabaseStoreOptions): Store {
  const database = new Database(options);
  const rpc = database.rpc.bind(database);
  const toMessageRow = messageRows(options.salt);
  const sized = (operation: string) => ({ onFlush: (items: number) => options.onBatch?.(operation, items) });
  const waitFor = (operation: string) => ({
    ...sized(operation),
    waitForDatabase: true,
    onRetry: (error: unknown, items: number) => options.onRetry?.(operation, error, items),
  });

  const accepts = new Batcher<object, Acceptance<never>>({
    flush: (items) => rpc("accept_messages", { p_items: items }),
    ...CALLERS,
    ...sized("accept_messages"),
  });
  const submissions = createSubmissions(database, { ...CALLERS, ...sized("accept_hunts") });
  const accounts = new Batcher<string, Account | undefined>({
    async flush(ids) {
      const query = database.client
        .from("accounts")
        .select(ACCOUNT_COLUMNS)
        .in("id", [...new Set(ids)]);
      const rows = (await database.run("accounts", query.overrideTypes<AccountRow[], { merge: false }>())) ?? [];
      const byId = new Map(rows.map((row) => [row.id, toAccount(row)]));
      return ids.map((id) => byId.get(id));
    },
    ...CALLERS,
  });
  let epoch = 0;
  /** A database that was restored from a backup: what it believes to be open becomes unknown, then work goes on. */
  const adoptRestored = async (): Promise<void> => {
    const doubted = await rpc<number | null>("adopt_epoch", { p_epoch: epoch });
    if (doubted !== null) options.onRestored?.(doubted);
  };
  const adopt = async (error: unknown): Promise<never> => {
    if (!(error instanceof DatabaseError) || error.code !== "AP001") throw error;
    await adoptRestored();
    throw new UnavailableError("database", "The database was restored from a backup.", error);
  };

  const begins = new Batcher<NewAttempt, Verdict>({
    flush: async (attempts) => {
      // Two that ask for one message at once may be two workers: within a call they would both be told to go.
      const first = new Map(attempts.toReversed().map((attempt) => [attempt.messageId, attempt]));
      const rows = await rpc<VerdictRow[]>("begin_attempts", {
        p_items: [...first.values()].map(toAttemptRow),
        p_epoch: epoch,
      }).catch(adopt);
      const byId = new Map(rows.map((row) => [row.id, row]));
      return attempts.map((attempt) => {
        const verdict = toVerdict(byId.get(attempt.messageId));
        const taken = first.get(attempt.messageId) !== attempt && /^(go|reconcile)$/.test(verdict.verdict);
        return taken ? { verdict: "wait", retryInMs: attempt.holdMs } : verdict;
      });
    },
    ...MESSAGES,
    ...waitFor("begin_attempts"),
  });
  const outcomes = new Batcher<Outcome, boolean>({
    flush: async (items) => {
      const applied = new Set(await rpc<string[]>("record_outcomes", { p_items: items.map(toOutcomeRow) }));
      return items.map(({ messageId }) => applied.has(messageId));
    },
    ...MESSAGES,
    ...waitFor("record_outcomes"),
  });
  const writeReceipts = async (items: Receipt[]): Promise<void[]> => {
    await rpc("record_receipts", { p_items: items.map(toReceiptRow) });
    return items.map(() => undefined);
  };
  const takenReceipts = new Batcher<Receipt, void>({
    flush: writeReceipts,
    ...MESSAGES,
    ...sized("record_receipts"),
    waitForDatabase: false,
  });
  const receipts = new Batcher<Receipt, void>({
    flush: writeReceipts,
    // Nobody waits for a receipt: fewer, fuller batches leave the database to the senders.
    maxSize: 500,
    maxConcurrent: 1,
    maxWaitMs: 50,
    ...waitFor("record_receipts"),
  });
  const replies = new Batcher<Parameters<Store["recordReply"]>[0], boolean>({
    flush: async (items) => {
      const answers: boolean[] = [];
      for (const item of items) answers.push(await rpc("record_reply", { p_reply: toReplyRow(item) }));
      return answers;
    },
    // One at a time, because a reply without an id that is written again would be there twice.
    maxSize: 1,
    maxConcurrent: 4,
    maxWaitMs: 0,
    ...waitFor("record_reply"),
  });
  const events = createEventStore(database, (operation, error, items) => options.onRetry?.(operation, error, items));
  const batchers = [accepts, submissions.batcher, accounts, begins, outcomes, receipts, takenReceipts, replies];
  const sessions = createSessionStore(database);
  const compliance = createComplianceStore(database, options.salt);
  const hunts = createHuntStore(database, options.limits ?? []);

  return {
    sessions,
    compliance,
    accounts: createAccountStore(database),
    flows: createFlowStore(database, options.limits ?? []),
    templates: createTemplateStore(database),
    previews: createPreviewStore(database, options.salt),
    recurrences: createRecurrenceStore(database),
    events,
    operations: createOperationsStore(database),
    hunts,
    deadLetters: createDeadLetterStore(database),

    async ping() {
      await rpc("ping");
    },

    account: (id) => accounts.add(id),

    acceptMessage: <R>(message: PlannedMessage, response: R, idempotency: Idempotency | undefined) =>
      accepts.add({ row: toMessageRow(message), response, idempotency }),

    acceptHunt: submissions.acceptHunt,
    stageChunks: submissions.stageChunks,
    discardChunks: submissions.discardChunks,
    acceptStaged: submissions.acceptStaged,

    async readChunk(jobId, no) {
      return (await rpc<Chunk | null>("read_chunk", { p_job_id: jobId, p_no: no })) ?? undefined;
    },

    async planChunk(jobId, no, huntId, messages) {
      const rows = messages.map(toMessageRow);
      return new Set(await rpc<string[]>("plan_chunk", { p_job_id: jobId, p_no: no, p_hunt_id: huntId, p_rows: rows }));
    },

    finishSubmission: (jobId) => rpc("finish_submission", { p_job_id: jobId }),

    beginAttempt: (attempt) => begins.add(attempt),
    recordOutcome: (outcome) => outcomes.add(outcome),
    recordReceipt: (receipt) => receipts.add(receipt),
    takeReceipt: (receipt) => takenReceipts.add(receipt),
    takeInstructions: ({ attemptId, step }) =>
      rpc("record_instructions", { p_attempt_id: attemptId, p_answered: step === "answered" }),
    instructionsOf: async (attemptId, ended) =>
      (await rpc<"asked" | "answered" | null>("instructions_of", {
        p_attempt_id: attemptId,
        p_ended: toReceiptRow(ended),
      })) ?? undefined,
    endWay: ({ messageId, attemptId }) => rpc("end_way", { p_message_id: messageId, p_attempt_id: attemptId }),
    takeReply: (reply) => rpc("record_reply", { p_reply: toReplyRow(reply) }),

    recordReply: (reply) => replies.add(reply),

    async huntStatus(jobId) {
      return (
        (await rpc<HuntStatus | null>("hunt_status", { p_job_id: jobId, p_limits: options.limits ?? [] })) ?? undefined
      );
    },

    huntExists: (huntId) => hunts.exists(huntId),

    huntMessages: (huntId, filter) => pageOfMessages(database, { huntId, ...filter }),

    async message(id) {
      const query = database.client.from("messages").select(MESSAGE_COLUMNS).eq("id", id).maybeSingle<MessageRow>();
      const row = await database.run("message", query);
      return row ? toStoredMessage(row) : undefined;
    },

    contentOf: async (messageId) => (await rpc<unknown>("content_of", { p_id: messageId })) ?? undefined,

    retryMessage: <R>(id: string, response: R, idempotency: Idempotency | undefined) =>
      rpc<RetryAnswer<R>>("retry_message", { p_id: id, p_idempotency: idempotency ?? null, p_response: response }),

    messages: (filter) => pageOfMessages(database, filter),

    resolveMessage: <R>(id: string, as: string, response: R, idempotency: Idempotency | undefined) =>
      rpc<ResolveAnswer<R>>("resolve_message", {
        p_id: id,
        p_as: as,
        p_idempotency: idempotency ?? null,
        p_response: response,
      }),

    observeEpoch(seen) {
      epoch = Math.max(epoch, seen);
    },
    async nextEpoch() {
      // While no attempt begins (a paused queue), it would count past what was seen, and nobody would ever know.
      await adoptRestored();
      return rpc("next_epoch");
    },

    async openMessages(after, limit, olderThanMs) {
      const args = { p_after: after, p_limit: limit, p_older_than_ms: olderThanMs };
      const rows = await rpc<(OpenMessageRow & { held: boolean })[]>("swept_messages", args);
      return rows.map((row) => ({ ...toOpenMessage(row), held: row.held }));
    },

    openSubmissions: (olderThanMs) => rpc("open_submissions", { p_older_than_ms: olderThanMs }),
    async tidy() {
      await rpc("tidy");
      await rpc("tidy_instructions");
    },

    async close(signal) {
      const drained = Promise.all([...batchers, events].map((each) => each.drained()));
      await Promise.race([drained, aborted(signal)]);
      for (const batcher of batchers) batcher.close();
      sessions.close();
      events.close();
    },
  };
}

const ACCOUNT_COLUMNS = "id, status, default_country, policy, consent_declared";

interface AccountRow {
  id: string;
  status: "active" | "suspended";
  default_country: string;
  policy: unknown;
  consent_declared: boolean;
}

const toAccount = ({ status, default_country, policy, consent_declared }: AccountRow): Account => ({
  status,
  defaultCountry: default_country,
  policy,
  consentDeclared: consent_declared,
});

interface VerdictRow {
  id: string;
  verdict: Verdict["verdict"];
  status: MessageStatus;
  code: string | null;
  recipient: string;
  attempt_id: string;
  attempts: number;
  started_at: string;
  retry_in_ms: number;
}

function toVerdict(row: VerdictRow | undefined): Verdict {
  switch (row?.verdict) {
    case "go":
      return { verdict: "go", recipient: row.recipient, attempts: row.attempts };
    case "wait":
      return { verdict: "wait", retryInMs: row.retry_in_ms };
    case "reconcile":
      return {
        verdict: "reconcile",
        recipient: row.recipient,
        attemptId: row.attempt_id,
        attempts: row.attempts,
        startedAt: Date.parse(row.started_at),
      };
    case "paused":
      return { verdict: "paused" };
    case "skipped":
      return { verdict: "skipped", code: row.code ?? "skipped" };
    case "settled":
      return { verdict: "settled", status: row.status, code: row.code ?? undefined };
    default:
      return { verdict: "missing" };
  }
}

const toAttemptRow = ({ messageId, attemptId, holdMs, opensInMs, putOff, ...rest }: NewAttempt): object => ({
  id: messageId,
  attempt_id: attemptId,
  hold_ms: holdMs,
  opens_in_ms: opensInMs,
  put_off: putOff,
  ...rest,
});

const toOutcomeRow = ({ messageId, attemptId, providerMessageId, holdMs, ...rest }: Outcome): object => ({
  id: messageId,
  attempt_id: attemptId,
  provider_message_id: providerMessageId,
  hold_ms: holdMs,
  ...rest,
});

const toReceiptRow = ({ providerMessageId, attempt, price, at, ...rest }: Receipt): object => ({
  provider_message_id: providerMessageId,
  message_id: attempt?.messageId,
  attempt_id: attempt?.attemptId,
  price: price?.amount,
  currency: price?.currency,
  at: new Date(at).toISOString(),
  ...rest,
});

const toReplyRow = ({
  providerMessageId,
  replyId,
  accountId,
  from,
  at,
  ...rest
}: Reply & { stop: boolean }): object => ({
  provider_message_id: providerMessageId,
  reply_id: replyId,
  account_id: accountId,
  phone: from,
  at: new Date(at).toISOString(),
  ...rest,
});

function messageRows(salt: string | undefined): (message: PlannedMessage) => object {
  const toRow = ({ accountId, huntId, adId, expiresAt, sendAt, next, ...rest }: PlannedMessage): object => ({
    ...(next ? { next: toRow(next) } : {}),
    account_id: accountId,
    hunt_id: huntId,
    ad_id: adId,
    expires_at: expiresAt,
    send_at: sendAt,
    ...(salt === undefined ? {} : { recipient_hash: phoneHash(rest.recipient, salt) }),
    ...rest,
  });
  return toRow;
}

function aborted(signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) resolve();
    signal?.addEventListener("abort", () => resolve(), { once: true });
  });
}
