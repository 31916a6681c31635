import type { Database } from "./database.ts";
import { phoneHash } from "./phone-hash.ts";
import type { PlannedMessage } from "./store.ts";
import { toHuntRow, type NewHunt, type Windows } from "./submissions.ts";

/** What planning would find in the ledger about a message, the first of these: `planned`: the hunt has it already. */
export type Finding = {
  reason: "planned" | "erased" | "suppressed" | "duplicate" | "frequency_cap";
  detail: string | null;
};

export interface PreviewedHunt {
  accountId: string;
  cancelled: boolean;
  expiresAt: string;
  windows: Windows | null;
  /** Fields that the submission gives otherwise. */
  differences: string[];
}

/** Looks, and writes nothing. All reject with `UnavailableError` while the database is away. */
export interface PreviewStore {
  /** The hunt that it would be added to. */
  hunt(hunt: NewHunt): Promise<PreviewedHunt | undefined>;
  /** For each in its order; null: nothing is in the way. */
  judge(messages: readonly PlannedMessage[]): Promise<(Finding | null)[]>;
}

export function createPreviewStore(database: Database, salt: string | undefined): PreviewStore {
  return {
    async hunt({ content: _content, ...hunt }) {
      return (await database.rpc<PreviewedHunt | null>("preview_hunt", { p_hunt: toHuntRow(hunt) })) ?? undefined;
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
