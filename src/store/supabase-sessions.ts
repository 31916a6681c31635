import type { Database } from "./database.ts";
import { Batcher } from "./batcher.ts";
import { MEDIA_LIFETIME_MS } from "./sessions.ts";
import type {
  KnownNumber,
  Lease,
  PairAnswer,
  SealedKey,
  SealedSent,
  SentMessage,
  Session,
  SessionStore,
} from "./sessions.ts";

/** Sent messages that are kept in one request. */
const SENT = { maxSize: 250, maxConcurrent: 2, maxWaitMs: 2 };

/** As many as an address holds. */
const CONTACTS = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 2 };

/** Sessions in one request: a hosted project gives at most 1,000 rows, and says nothing of those that it leaves out. */
const PAGE = 500;

/** Sessions on Supabase; shares the ledger's connection. */
export function createSessionStore(database: Database): SessionStore & { close(): void } {
  const { client } = database;
  const rpc = database.rpc.bind(database);
  const sent = new Batcher<SentMessage, void>({
    flush: async (items) => {
      await rpc("keep_whatsapp_sent", {
        p_items: items.map(({ sessionId, ...rest }) => ({ ...rest, session_id: sessionId })),
      });
      return items.map(() => undefined);
    },
    ...SENT,
    waitForDatabase: false,
  });
  const numbers = new Batcher<string, KnownNumber | undefined>({
    flush: async (phones) => {
      const query = client.from("whatsapp_numbers").select("phone, jid, lid, checked_at").in("phone", phones);
      const rows = await database.run<NumberRow[]>("numbers", query);
      const known = new Map(rows.map((row) => [row.phone, toNumber(row)]));
      return phones.map((phone) => known.get(phone));
    },
    ...CONTACTS,
    waitForDatabase: false,
  });
  const found = new Batcher<KnownNumber, void>({
    flush: async (items) => {
      // A LID that is not told this time is not forgotten: replies may come under it.
      for (const isTold of [true, false]) {
        const same = items.filter(({ lid }) => (lid !== null) === isTold);
        // Of one number twice the database takes neither.
        const rows = [...new Map(same.map((item) => [item.phone, item])).values()].map(
          ({ phone, jid, lid, checkedAt }) => ({ phone, jid, ...(isTold ? { lid } : {}), checked_at: checkedAt }),
        );
        if (rows.length > 0) await database.run("numbers", client.from("whatsapp_numbers").upsert(rows));
      }
      return items.map(() => undefined);
    },
    ...CONTACTS,
    // No message waits for it.
    maxConcurrent: 1,
    maxWaitMs: 50,
    waitForDatabase: false,
  });
  const contacted = new Batcher<{ sessionId: string; phone: string }, boolean>({
    flush: async (items) => {
      const known = new Set<string>();
      for (const [sessionId, of] of Map.groupBy(items, (item) => item.sessionId)) {
        const phones = of.map(({ phone }) => phone);
        const query = client.from("whatsapp_contacts").select("phone").eq("session_id", sessionId).in("phone", phones);
        const rows = await database.run<{ phone: string }[]>("contacts", query);
        for (const { phone } of rows) known.add(`${sessionId} ${phone}`);
      }
      return items.map(({ sessionId, phone }) => known.has(`${sessionId} ${phone}`));
    },
    ...CONTACTS,
    waitForDatabase: false,
  });
  const one = async (id: string): Promise<Session | undefined> => {
    const query = client.from("whatsapp_sessions").select("*").eq("id", id).maybeSingle();
    const row = await database.run<SessionRow | null>("session", query);
    return row ? toSession(row) : undefined;
  };

  return {
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

    keepSent: (message) => sent.add(message),
    async sent(id) {
      const query = client.from("whatsapp_sent").select("session_id, jid, sealed").eq("id", id).maybeSingle();
      const row = await database.run<{ session_id: string | null; jid: string; sealed: string } | null>(
        "sent message",
        query,
      );
      return row ? { sessionId: row.session_id ?? undefined, jid: row.jid, sealed: row.sealed } : undefined;
    },
    staleSent: (sessionId, mark, after, limit) =>
      rpc<SealedSent[]>("stale_whatsapp_sent", { p_id: sessionId, p_mark: mark, p_after: after, p_limit: limit }),
    async resealSent(sessionId, messages) {
      await rpc("reseal_whatsapp_sent", { p_id: sessionId, p_items: messages });
    },
    async forgetContact(sessionId, phone) {
      await database.run(
        "contact",
        client.from("whatsapp_contacts").delete().eq("session_id", sessionId).eq("phone", phone),
      );
    },
    hasContacted: (sessionId, phone) => contacted.add({ sessionId, phone }),
    contactsSince: (sessionId, since) =>
      database.count(
        "contacts",
        client
          .from("whatsapp_contacts")
          .select("phone", { count: "exact", head: true })
          .eq("session_id", sessionId)
          .gte("first_at", new Date(since).toISOString()),
      ),

    number: (phone) => numbers.add(phone),
    keepNumber: (number) => found.add({ ...number, checkedAt: new Date().toISOString() }),
    phonesOf: ({ jid, lid }) => rpc("phones_of_whatsapp_user", { p_jid: jid ?? null, p_lid: lid ?? null }),
    async hasReceipt(provider, providerMessageId) {
      const query = client
        .from("pending_receipts")
        .select("status")
        .eq("provider", provider)
        .eq("provider_message_id", providerMessageId)
        .neq("status", "failed");
      return (await database.run<unknown[]>("receipt", query)).length > 0;
    },

    async keepMedia({ id, accountId, contentType, fileName, data }) {
      const row = {
        id,
        account_id: accountId,
        content_type: contentType,
        file_name: fileName,
        size: data.length,
        data: data.toString("base64"),
      };
      await database.run("media", client.from("media").upsert(row));
    },
    async media(id, accountId) {
      const query = client
        .from("media")
        .select("content_type, file_name, data")
        .eq("id", id)
        .eq("account_id", accountId)
        .gte("created_at", new Date(Date.now() - MEDIA_LIFETIME_MS).toISOString())
        .maybeSingle();
      const row = await database.run<{ content_type: string; file_name: string | null; data: string } | null>(
        "media",
        query,
      );
      if (!row) return undefined;
      const { content_type: contentType, file_name: fileName, data } = row;
      return { id, accountId, contentType, fileName: fileName ?? undefined, data: Buffer.from(data, "base64") };
    },
    close: () => [sent, numbers, found, contacted].forEach((batcher) => batcher.close()),
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

interface NumberRow {
  phone: string;
  jid: string | null;
  lid: string | null;
  checked_at: string;
}

const toNumber = ({ checked_at, ...row }: NumberRow): KnownNumber => ({ ...row, checkedAt: checked_at });

const leaseRow = ({ id, epoch }: Lease): Lease => ({ id, epoch });
