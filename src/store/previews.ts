import type { Database } from "./database.ts";
import { phoneHash } from "./phone-hash.ts";
import type { PlannedMessage } from "./store.ts";

/** What planning would find in the ledger about a message, the first of these: `planned`: the hunt has it already. */
export type Finding = {
  reason: "planned" | "erased" | "suppressed" | "duplicate" | "frequency_cap";
  detail: string | null;
};

/** Looks, and writes nothing. All reject with `UnavailableError` while the database is away. */
export interface PreviewStore {
  hunt(id: string): Promise<{ accountId: string; cancelled: boolean } | undefined>;
  /** For each in its order; null: nothing is in the way. */
  judge(messages: readonly PlannedMessage[]): Promise<(Finding | null)[]>;
}

export function createPreviewStore(database: Database, salt: string | undefined): PreviewStore {
  return {
    async hunt(id) {
      const query = database.client.from("hunts").select("account_id, cancelled_at").eq("id", id);
      const row = await database.run("hunt", query.maybeSingle<{ account_id: string; cancelled_at: string | null }>());
      return row ? { accountId: row.account_id, cancelled: row.cancelled_at !== null } : undefined;
    },
    judge: (messages) =>
      database.rpc("preview_messages", {
        p_rows: messages.map(({ id, accountId, huntId, channel, recipient, caps, siblings }) => ({
          id,
          account_id: accountId,
          hunt_id: huntId,
          channel,
          recipient,
          ...(salt === undefined ? {} : { recipient_hash: phoneHash(recipient, salt) }),
          caps,
          siblings,
        })),
      }),
  };
}
