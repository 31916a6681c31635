import { BufferJSON, type AuthenticationCreds } from "@whiskeysockets/baileys";
import type pg from "pg";
import { pino } from "pino";
import { openAuthState } from "../../src/channels/whatsapp/providers/baileys/auth-state.ts";
import { createSealer } from "../../src/core/sealed.ts";
import type { SealedKey } from "../../src/store/sessions.ts";

export interface PresetSession {
  accountId: string;
  /** E.164. */
  phone: string;
  /** Of a device that is linked already: `FakeWhatsApp.pairedCredsJson`. */
  creds: string;
  encryptionKey: string;
}

/** Puts a session that was paired before into the database, as the service would have; answers its id. */
export async function presetSession(sql: pg.Pool, preset: PresetSession): Promise<string> {
  const { rows } = await sql.query<{ id: string }>(
    `insert into whatsapp_sessions (account_id, phone, method, state, paired_at)
     values ($1, $2, 'qr', 'connecting', now() - interval '1 year') returning id`,
    [preset.accountId, preset.phone],
  );
  const id = rows[0]?.id ?? "";
  const auth = await openAuthState({
    store: {
      readKeys: async () => new Map(),
      staleKeys: async () => [],
      async writeKeys(_lease, keys: readonly SealedKey[]) {
        const insert = "insert into whatsapp_keys (session_id, type, id, sealed) values ($1, $2, $3, $4)";
        for (const key of keys) await sql.query(insert, [id, key.type, key.id, key.sealed]);
        return true;
      },
    },
    sealer: createSealer([preset.encryptionKey]),
    lease: { id, epoch: 0 },
    onLost: () => {},
    log: pino({ level: "silent" }),
  });
  Object.assign(auth.state.creds, JSON.parse(preset.creds, BufferJSON.reviver) as AuthenticationCreds);
  await auth.saveCreds();
  return id;
}
