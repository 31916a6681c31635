import type { Database } from "./database.ts";
import type { PlannedMessage } from "./messages.ts";
import { phoneHash } from "./phone-hash.ts";
import { toHuntRow, type NewHunt, type Windows } from "./submissions.ts";

/** What planning would find in the ledger about a message, the first of these: `planned`: the hunt has it already. */
export type Finding = {
  reason: "planned" | "erased" | "suppressed" | "duplicate" | "frequency_cap";
  detail: string | null;
};

/** What a hunt has from its first submission, which holds for further ones. */
export interface HuntTerms {
  accountId: string;
  cancelled: boolean;
  /** ISO 8601. */
  expiresAt: string;
  windows: Windows | null;
  /** Fields that the submission gives otherwise. */
  differences: string[];
}

/** Looks, and writes nothing. All reject with `UnavailableError` while the database is away. */
export interface PreviewStore {
  /** The hunt that it would be added to. */
  hunt(hunt: NewHunt): Promise<HuntTerms | undefined>;
  /** What hunts of an account have used of its limits a day; `day`: as 2026-01-31. */
  used(accountId: string): Promise<{ scope: string; day: string; used: number }[]>;
  /** For each in its order; null: nothing is in the way. */
  judge(messages: readonly PlannedMessage[]): Promise<(Finding | null)[]>;
}

export function createPreviewStore(database: Database, salt: string | undefined): PreviewStore {
  return {
    async hunt({ content: _content, ...hunt }) {
      return (await database.rpc<HuntTerms | null>("preview_hunt", { p_hunt: toHuntRow(hunt) })) ?? undefined;
    },
    async used(accountId) {
      const query = database.client.from("limit_counters").select("scope, day, used").eq("account_id", accountId);
      return (await database.run("limits used", query.returns<{ scope: string; day: string; used: number }[]>())) ?? [];
    },
    judge: (messages) =>
      database.rpc("preview_messages", {
        p_rows: messages.map(({ id, accountId, huntId, channel, recipient, caps, siblings, channels }) => ({
          id,
          account_id: accountId,
          hunt_id: huntId,
          channel,
          recipient,
          ...(salt === undefined ? {} : { recipient_hash: phoneHash(recipient, salt) }),
          caps,
          siblings,
          channels,
        })),
      }),
  };
}
