import { Batcher } from "./batcher.ts";
import type { Database } from "./database.ts";
import type { KnownNumber, NumberStore } from "./sessions.ts";

/** As many as an address holds. */
const NUMBERS = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 2 };

/** Which numbers are on WhatsApp, on Supabase. */
export function createNumberStore(database: Database): { store: NumberStore; close(): void } {
  const { client } = database;
  const numbers = new Batcher<string, KnownNumber | undefined>({
    flush: async (phones) => {
      const query = client.from("whatsapp_numbers").select("phone, jid, lid, checked_at").in("phone", phones);
      const rows = await database.run<NumberRow[]>("numbers", query);
      const known = new Map(rows.map((row) => [row.phone, toNumber(row)]));
      return phones.map((phone) => known.get(phone));
    },
    ...NUMBERS,
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
    ...NUMBERS,
    // No message waits for it.
    maxConcurrent: 1,
    maxWaitMs: 50,
    waitForDatabase: false,
  });

  return {
    store: {
      number: (phone) => numbers.add(phone),
      keepNumber: (number) => found.add({ ...number, checkedAt: new Date().toISOString() }),
      phonesOf: ({ jid, lid }) => database.rpc("phones_of_whatsapp_user", { p_jid: jid ?? null, p_lid: lid ?? null }),
    },
    close() {
      numbers.close();
      found.close();
    },
  };
}

interface NumberRow {
  phone: string;
  jid: string | null;
  lid: string | null;
  checked_at: string;
}

const toNumber = ({ checked_at, ...row }: NumberRow): KnownNumber => ({ ...row, checkedAt: checked_at });
