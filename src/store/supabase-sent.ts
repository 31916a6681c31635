import { Batcher } from "./batcher.ts";
import type { Database } from "./database.ts";
import type { SealedSent, SentMessage, SentStore } from "./sessions.ts";

/** Sent messages that are kept in one request. */
const SENT = { maxSize: 250, maxConcurrent: 2, maxWaitMs: 2 };

/** As many as an address holds. */
const CONTACTS = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 2 };

/** What WhatsApp's sessions have sent, on Supabase. */
export function createSentStore(database: Database): { store: SentStore; close(): void } {
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

  return {
    store: {
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
    },
    close() {
      sent.close();
      contacted.close();
    },
  };
}
