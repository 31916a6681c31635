import type { ComplianceStore, ErasedMessage, Erasure, Suppression, WaitingContact } from "./compliance.ts";
import type { Database } from "./database.ts";
import { phoneHash } from "./phone-hash.ts";
import { utc } from "./times.ts";

/** Messages that one round of finishing erasures looks at. */
const ERASED_PAGE = 500;

/** The list of suppressions, and erasures, on Supabase; shares the ledger's connection. */
export function createComplianceStore(database: Database, salt: string | undefined): ComplianceStore {
  const rpc = database.rpc.bind(database);
  const namesOf = (phone: string): string[] => (salt === undefined ? [phone] : [phone, phoneHash(phone, salt)]);

  return {
    canErase: salt !== undefined,
    async suppress(entries) {
      const items = entries.map(({ accountId, phone, source, reason }) => ({
        account_id: accountId,
        phone,
        reason: source,
        note: reason,
      }));
      const rows = await rpc<((SuppressionRow & { added: boolean }) | null)[]>("put_suppressions", { p_items: items });
      return rows.map((row) => (row ? { suppression: toSuppression(row), added: row.added } : undefined));
    },
    async suppressions({ accountId, everybody, phone, cursor, limit }) {
      const filter = {
        account_id: accountId,
        everybody,
        ...(phone === undefined ? {} : { phones: namesOf(phone) }),
      };
      // One more than asked for tells whether there is a next page.
      const args = { p_filter: filter, p_after: cursor ?? "0", p_limit: limit + 1 };
      const rows = await rpc<SuppressionRow[]>("list_suppressions", args);
      const page = rows.slice(0, limit);
      const nextCursor = rows.length > limit ? String(page.at(-1)?.id) : undefined;
      return { suppressions: page.map(toSuppression), nextCursor };
    },
    lift: (accountId, phone) => rpc("lift_suppression", { p_account_id: accountId ?? null, p_phones: namesOf(phone) }),

    waitingContacts: (phone) => rpc<WaitingContact[]>("contacts_like", { p_phone: phone }),
    async erase(phone, contacts) {
      if (salt === undefined) throw new Error("Nobody can be erased without a salt.");
      const args = { p_phone: phone, p_hash: phoneHash(phone, salt), p_contacts: contacts };
      return rpc<Erasure>("erase_person", args);
    },
    resumeErasures: (done) => rpc<ErasedMessage[]>("resume_erasures", { p_done: done, p_limit: ERASED_PAGE }),
  };
}

interface SuppressionRow {
  id: number;
  account_id: string | null;
  phone: string;
  reason: string;
  note: string | null;
  created_at: string;
}

const SOURCES: Record<string, Suppression["source"]> = {
  stop: "reply",
  carrier: "carrier",
  import: "import",
  erased: "erasure",
};

const toSuppression = ({ account_id, phone, reason, note, created_at }: SuppressionRow): Suppression => ({
  accountId: account_id,
  phone: reason === "erased" ? null : phone,
  // Whatever else stands there was put there by hand.
  source: SOURCES[reason] ?? "manual",
  reason: note,
  createdAt: utc(created_at),
});
