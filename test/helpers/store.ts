import { randomUUID } from "node:crypto";
import type { TestDatabase } from "../../dev/stack/databases.ts";
import type { NewHunt, Outcome, PlannedMessage, Store } from "../../src/store/store.ts";
import { createSupabaseStore, type SupabaseStoreOptions } from "../../src/store/supabase.ts";

/** The store on a test's database. */
export function storeOn(
  { supabaseUrl: url, supabaseServiceKey: serviceKey }: TestDatabase,
  options: Partial<SupabaseStoreOptions> = {},
): Store {
  return createSupabaseStore({ url, serviceKey, timeoutMs: 10_000, ...options });
}

/** What an attempt came to: it was sent, unless told otherwise. */
export const outcome = (messageId: string, attemptId: string | undefined, fields: Partial<Outcome> = {}): Outcome => ({
  messageId,
  attemptId,
  claim: undefined,
  result: "sent",
  code: undefined,
  detail: undefined,
  provider: undefined,
  providerMessageId: undefined,
  suppress: false,
  ...fields,
});

/** They fail before any attempt. */
export async function failAll(store: Store, ids: readonly string[]): Promise<void> {
  await Promise.all(ids.map((id) => store.recordOutcome(outcome(id, undefined, { result: "failed", code: "x" }))));
}

/** The same at each submission: another would not be the hunt's. */
export const EXPIRES_AT = new Date(Date.now() + 30 * 86_400_000).toISOString();

/** Accepts a submission of a hunt, of account `acc` unless told otherwise; answers its id. */
export async function acceptHunt(store: Store, hunt: Partial<NewHunt> & { id: string }): Promise<string> {
  const jobId = randomUUID();
  const whole = { accountId: "acc", priority: "normal" as const, expiresAt: EXPIRES_AT, ...hunt };
  const { result } = await store.acceptHunt(whole, jobId, [[{}]], {}, undefined);
  if (result !== "accepted") throw new Error(result);
  return jobId;
}

export interface PlannedHunt {
  id: string;
  jobId: string;
  /** In the order of planning. */
  messages: string[];
  /** Those that the ledger answered are to be sent. */
  queued: Set<string>;
}

let recipients = 0;

/** Plans so many messages of a submission, each to a person of one's own; `each` gives the i-th its own fields. */
export async function planMessages(
  store: Store,
  { id, jobId }: { id: string; jobId: string },
  count: number,
  each: (i: number) => Partial<PlannedMessage> = () => ({}),
): Promise<PlannedHunt> {
  const rows = Array.from({ length: count }, (_, i) => ({
    id: randomUUID(),
    accountId: "acc",
    huntId: id,
    adId: randomUUID(),
    copy: 0,
    channel: "sms",
    queue: "sms",
    recipient: `+3361${String((recipients += 1)).padStart(7, "0")}`,
    sender: undefined,
    content: { text: "Bonjour" },
    priority: 0,
    expiresAt: EXPIRES_AT,
    skip: undefined,
    detail: undefined,
    ...each(i),
  }));
  const queued = await store.planChunk(jobId, 0, id, rows);
  await store.finishSubmission(jobId);
  return { id, jobId, messages: rows.map((row) => row.id), queued };
}
