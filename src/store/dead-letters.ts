import type { Database } from "./database.ts";
import type { MessageStatus } from "./messages.ts";

/** What trying a message again came to, or would: only `accepted` ones are sent again. */
export type RetryResult = "accepted" | "missing" | "not_failed" | "not_safe" | "hunt_over" | "no_credit";

/** The message of a failed job, as the ledger has it. */
export interface DeadLetter {
  id: string;
  status: MessageStatus;
  code: string | null;
  detail: string | null;
  channel: string;
  queue: string;
  accountId: string | null;
  huntId: string | null;
  result: RetryResult;
}

/** Failed messages by the hundred. All methods reject with `UnavailableError` while the database does not answer. */
export interface DeadLetterStore {
  /** Those that the ledger knows. */
  look(ids: readonly string[]): Promise<DeadLetter[]>;
  /** Puts those back that are proven not to have been sent, under the rules of `Store.retryMessage`. */
  retry(ids: readonly string[]): Promise<{ id: string; result: RetryResult; status?: MessageStatus }[]>;
}

type DeadLetterRow = Omit<DeadLetter, "accountId" | "huntId"> & { account_id: string | null; hunt_id: string | null };

export function createDeadLetterStore(database: Database): DeadLetterStore {
  return {
    async look(ids) {
      if (ids.length === 0) return [];
      const rows = await database.rpc<DeadLetterRow[]>("dead_letters", { p_ids: ids });
      return rows.map(({ account_id, hunt_id, ...row }) => ({ ...row, accountId: account_id, huntId: hunt_id }));
    },
    retry: async (ids) => (ids.length === 0 ? [] : database.rpc("retry_messages", { p_ids: ids })),
  };
}
