import { aborted } from "../core/deadline.ts";
import type { Idempotency } from "../core/route.ts";
import type { ResolveAnswer, RetryAnswer } from "./answers.ts";
import { createAttempts } from "./attempts.ts";
import { Batcher } from "./batcher.ts";
import { CALLERS, createBatches, type BatchListeners } from "./batches.ts";
import { Database, type DatabaseOptions } from "./database.ts";
import { createDeadLetterStore } from "./dead-letters.ts";
import { createFlowStore } from "./flows.ts";
import { createHuntStore, STATUS_TIMES, type HuntStatus } from "./hunts.ts";
import { createInbound } from "./inbound.ts";
import {
  messageRows,
  pageOfMessages,
  toOpenMessage,
  toStoredMessage,
  MESSAGE_COLUMNS,
  type MessageRow,
  type OpenMessageRow,
} from "./message-rows.ts";
import { createOperationsStore } from "./operations.ts";
import { createPlanStore } from "./plans.ts";
import { createPreviewStore } from "./previews.ts";
import { createRecurrenceStore } from "./recurrences.ts";
import { ACCOUNT_COLUMNS, createSingleSends, type AccountRow } from "./single-sends.ts";
import type { Account, Store } from "./store.ts";
import { createSubmissions } from "./submissions.ts";
import { createAccountStore } from "./supabase-accounts.ts";
import { createComplianceStore } from "./supabase-compliance.ts";
import { createEventStore } from "./supabase-events.ts";
import { createSessionStore } from "./supabase-sessions.ts";
import { createTemplateStore } from "./templates.ts";
import { withUtc } from "./times.ts";
import { createTraceStore } from "./traces.ts";

export interface SupabaseStoreOptions extends DatabaseOptions, BatchListeners {
  /** The secret under which a number is known whose holder was erased. */
  salt?: string | undefined;
  /** How fast accounts without limits of their own may send, as `limits_of` in the migrations takes them. */
  limits?: readonly object[];
  /** Told when the database turned out to be a restored backup: so many messages became `unknown`. */
  onRestored?(messages: number): void;
}

/** The store on Supabase (PostgREST before Postgres), with the per-message writes in batches. */
export function createSupabaseStore(options: SupabaseStoreOptions): Store {
  const database = new Database(options);
  const rpc = database.rpc.bind(database);
  const rpcRaw = database.rpcRaw.bind(database);
  const toMessageRow = messageRows(options.salt);
  const batches = createBatches(options);

  const submissions = createSubmissions(database, { ...CALLERS, ...batches.sized("accept_hunts") });
  const accounts = new Batcher<string, AccountRow | undefined>({
    async flush(ids) {
      const query = database.client
        .from("accounts")
        .select(ACCOUNT_COLUMNS)
        .in("id", [...new Set(ids)]);
      const rows = (await database.run("accounts", query.overrideTypes<AccountRow[], { merge: false }>())) ?? [];
      const byId = new Map(rows.map((row) => [row.id, row]));
      return ids.map((id) => byId.get(id));
    },
    ...CALLERS,
  });
  const singleSends = createSingleSends({
    database,
    toMessageRow,
    toAccount,
    readAccount: (id) => accounts.add(id),
    batches: { ...CALLERS, ...batches.sized("accept_messages") },
  });
  const events = createEventStore(database, (operation, error, items) => options.onRetry?.(operation, error, items));
  const attempts = createAttempts({ rpc }, batches, (messages) => options.onRestored?.(messages));
  const inbound = createInbound({ rpc }, batches);
  const batchers = [singleSends.batcher, submissions.batcher, accounts, ...attempts.batchers, ...inbound.batchers];
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
    traces: createTraceStore(database),

    ...singleSends.store,
    ...submissions.store,
    ...createPlanStore({ rpc, rpcRaw }, toMessageRow),
    ...attempts.store,
    ...inbound.store,

    async ping() {
      await rpc("ping");
    },

    async account(id) {
      const row = await accounts.add(id);
      return row && toAccount(row);
    },

    async huntStatus(jobId) {
      const args = { p_job_id: jobId, p_limits: options.limits ?? [] };
      const status = await rpc<HuntStatus | null>("hunt_status", args);
      return status ? withUtc(status, STATUS_TIMES) : undefined;
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

    async openMessages(after, limit, olderThanMs) {
      const args = { p_after: after, p_limit: limit, p_older_than_ms: olderThanMs };
      const rows = await rpc<(OpenMessageRow & { held: boolean })[]>("swept_messages", args);
      return rows.map((row) => ({ ...toOpenMessage(row), held: row.held }));
    },

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

const toAccount = ({ status, default_country, policy, consent_declared }: AccountRow): Account => ({
  status,
  defaultCountry: default_country,
  policy,
  consentDeclared: consent_declared,
});
