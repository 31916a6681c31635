import type { Database } from "./database.ts";
import type { Lease, PairAnswer, SealedKey, Session, SessionStore } from "./sessions.ts";
import { createMediaStore } from "./supabase-media.ts";
import { createNumberStore } from "./supabase-numbers.ts";
import { createSentStore } from "./supabase-sent.ts";

/** Sessions in one request: a hosted project gives at most 1,000 rows, and says nothing of those that it leaves out. */
const PAGE = 500;

/** Sessions on Supabase; shares the ledger's connection. */
export function createSessionStore(database: Database): SessionStore & { close(): void } {
  const { client } = database;
  const rpc = database.rpc.bind(database);
  const sent = createSentStore(database);
  const numbers = createNumberStore(database);
  const one = async (id: string): Promise<Session | undefined> => {
    const query = client.from("whatsapp_sessions").select("*").eq("id", id).maybeSingle();
    const row = await database.run<SessionRow | null>("session", query);
    return row ? toSession(row) : undefined;
  };

  return {
    ...sent.store,
    ...numbers.store,
    ...createMediaStore(database),

    async pair(accountId, phone, method) {
      const args = { p_account_id: accountId, p_phone: phone, p_method: method };
      const answer = await rpc<{ result: string; session?: SessionRow }>("pair_whatsapp_session", args);
      return (answer.session ? { ...answer, session: toSession(answer.session) } : answer) as PairAnswer;
    },
    async knowsAccount(accountId) {
      const query = client.from("accounts").select("id").eq("id", accountId);
      return (await database.run<unknown[]>("account", query)).length > 0;
    },
    session: one,
    async sessions({ accountId }) {
      const all: SessionRow[] = [];
      for (let rows: SessionRow[] | undefined; !rows || rows.length === PAGE;) {
        let query = client.from("whatsapp_sessions").select("*").order("created_at").order("id").limit(PAGE);
        if (accountId !== undefined) query = query.eq("account_id", accountId);
        const last = all.at(-1);
        if (last) {
          const { created_at: at, id } = last;
          query = query.or(`created_at.gt."${at}",and(created_at.eq."${at}",id.gt.${id})`);
        }
        rows = await database.run<SessionRow[]>("sessions", query);
        all.push(...rows);
      }
      return all.map(toSession);
    },
    async dismiss(id) {
      const query = client.from("whatsapp_sessions").update({ wanted: "gone" }).eq("id", id).select("id");
      return (await database.run<unknown[]>("dismiss", query)).length > 0;
    },
    async setSettings(id, settings) {
      const query = client.from("whatsapp_sessions").update({ settings }).eq("id", id).select("*").maybeSingle();
      const row = await database.run<SessionRow | null>("session settings", query);
      return row ? toSession(row) : undefined;
    },

    async claim(owner, leaseMs, limit) {
      const args = { p_owner: owner, p_lease_ms: leaseMs, p_limit: limit };
      return (await rpc<SessionRow[]>("claim_whatsapp_sessions", args)).map(toSession);
    },
    async renew(leases, leaseMs) {
      const pages = Array.from({ length: Math.ceil(leases.length / PAGE) }, (_, page) =>
        leases.slice(page * PAGE, (page + 1) * PAGE),
      );
      const kept = pages.map((page) => {
        const args = { p_items: page.map(leaseRow), p_lease_ms: leaseMs };
        return rpc<SessionRow[]>("renew_whatsapp_sessions", args);
      });
      return (await Promise.all(kept)).flat().map(toSession);
    },
    report({ id, epoch }, { pairingCode, lastError, pairedAt, coldPausedUntil, ...rest }) {
      const report = {
        ...rest,
        pairing_code: pairingCode,
        last_error: lastError,
        paired_at: pairedAt,
        cold_paused_until: coldPausedUntil,
      };
      return rpc("report_whatsapp_session", { p_id: id, p_epoch: epoch, p_report: report });
    },
    wipe: ({ id, epoch }, gone) => rpc("wipe_whatsapp_session", { p_id: id, p_epoch: epoch, p_gone: gone }),

    writeKeys: ({ id, epoch }, keys) => rpc("write_whatsapp_keys", { p_id: id, p_epoch: epoch, p_items: keys }),
    async readKeys(sessionId, type, ids) {
      const args = { p_id: sessionId, p_type: type, p_ids: ids ?? null };
      return new Map(Object.entries(await rpc<Record<string, string>>("read_whatsapp_keys", args)));
    },
    keyNames: async (sessionId, limit) =>
      (await rpc<string[] | null>("list_whatsapp_keys", { p_id: sessionId, p_limit: limit })) ?? undefined,
    staleKeys: (sessionId, mark, limit) =>
      rpc<SealedKey[]>("stale_whatsapp_keys", { p_id: sessionId, p_mark: mark, p_limit: limit }),

    async hasReceipt(provider, providerMessageId) {
      const query = client
        .from("pending_receipts")
        .select("status")
        .eq("provider", provider)
        .eq("provider_message_id", providerMessageId)
        .neq("status", "failed");
      return (await database.run<unknown[]>("receipt", query)).length > 0;
    },

    close() {
      sent.close();
      numbers.close();
    },
  };
}

interface SessionRow {
  id: string;
  account_id: string;
  phone: string;
  method: Session["method"];
  state: Session["state"];
  since: string;
  qr: string | null;
  pairing_code: string | null;
  last_error: string | null;
  paired_at: string | null;
  jid: string | null;
  lid: string | null;
  settings: Record<string, unknown>;
  pace: Record<string, unknown>;
  cold_paused_until: string | null;
  wanted: Session["wanted"];
  epoch: number;
  leased_until: string | null;
  created_at: string;
}

const toSession = (row: SessionRow): Session => ({
  id: row.id,
  accountId: row.account_id,
  phone: row.phone,
  method: row.method,
  state: row.state,
  since: row.since,
  qr: row.qr,
  pairingCode: row.pairing_code,
  lastError: row.last_error,
  pairedAt: row.paired_at,
  jid: row.jid,
  lid: row.lid,
  settings: row.settings,
  pace: row.pace,
  coldPausedUntil: row.cold_paused_until,
  wanted: row.wanted,
  epoch: row.epoch,
  leasedUntil: row.leased_until,
  createdAt: row.created_at,
});

const leaseRow = ({ id, epoch }: Lease): Lease => ({ id, epoch });
