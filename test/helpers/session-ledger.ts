import { randomUUID } from "node:crypto";
import { inject } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { Database } from "../../src/store/database.ts";
import type { SentMessage, Session } from "../../src/store/sessions.ts";
import { createSessionStore } from "../../src/store/supabase-sessions.ts";

export const PHONE = "+33612345678";
export const LEASE_MS = 60_000;
/** What a hosted project cuts answers off at. */
export const MAX_ROWS = 1000;

/** A database with the accounts `acc` and `other`, and the store of WhatsApp's sessions on it. */
export interface SessionLedger extends AsyncDisposable {
  readonly database: TestDatabase;
  readonly store: ReturnType<typeof createSessionStore>;
  pair(phone?: string, accountId?: string): Promise<Session>;
  /** Paired, and `worker-1`'s. */
  claimed(phone?: string): Promise<Session>;
  /** Its lease is over. */
  expire(id: string): Promise<void>;
  keysOf(id: string): Promise<number>;
  /** No sessions, and no numbers. */
  clear(): Promise<void>;
}

export async function openSessionLedger(): Promise<SessionLedger> {
  const database = await openTestDatabase(inject("stack"), { maxRows: MAX_ROWS });
  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = database;
  const store = createSessionStore(new Database({ url, serviceKey, timeoutMs: 10_000 }));
  await database.sql.query("insert into accounts (id) values ('acc'), ('other')");

  async function pair(phone = PHONE, accountId = "acc"): Promise<Session> {
    const answer = await store.pair(accountId, phone, "qr");
    if (!("session" in answer)) throw new Error(answer.result);
    return answer.session;
  }

  return {
    database,
    store,
    pair,
    async claimed(phone = PHONE) {
      const { id } = await pair(phone);
      const session = (await store.claim("worker-1", LEASE_MS, 100)).find((session) => session.id === id);
      if (!session) throw new Error("not claimed");
      return session;
    },
    async expire(id) {
      const past = "update whatsapp_sessions set leased_until = now() - interval '1 second' where id = $1";
      await database.sql.query(past, [id]);
    },
    async keysOf(id) {
      const count = "select count(*)::int as n from whatsapp_keys where session_id = $1";
      return (await database.sql.query(count, [id])).rows[0].n;
    },
    async clear() {
      await database.sql.query("delete from whatsapp_sessions");
      await database.sql.query("delete from whatsapp_numbers");
    },
    async [Symbol.asyncDispose]() {
      store.close();
      await database.drop();
    },
  };
}

export const key = (id: string, sealed: string | null = `sealed ${id}`, type = "session") => ({ type, id, sealed });

export function message(sessionId: string, fields: Partial<SentMessage> = {}): SentMessage {
  return {
    id: randomUUID(),
    sessionId,
    jid: "33699999999@s.whatsapp.net",
    phone: "+33699999999",
    sealed: "sealed",
    ...fields,
  };
}
