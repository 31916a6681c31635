import { z } from "zod";
import type { LaneHost } from "../../src/channels/lanes.ts";
import { baileysProvider } from "../../src/channels/whatsapp/providers/baileys/baileys.provider.ts";
import { laneOfSession } from "../../src/channels/whatsapp/providers/baileys/lanes.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { presetSession } from "../helpers/preset-session.ts";
import { providerDeps } from "../helpers/provider-deps.ts";
import type { World } from "../helpers/service.ts";
import { ENCRYPTION_KEY, sessionPhone, whatsappEnvironment } from "../helpers/whatsapp.ts";

/** Far below what the schema allows: several tests wait for it. */
const ACK_TIMEOUT_MS = 300;

/** Lanes that a provider opens, and nobody works. */
function openLanes(remove: LaneHost["remove"]): LaneHost & { opened(lane: string): Promise<void> } {
  const lanes = new Map<string, PromiseWithResolvers<void>>();
  const lane = (name: string): PromiseWithResolvers<void> => {
    const known = lanes.get(name) ?? Promise.withResolvers<void>();
    lanes.set(name, known);
    return known;
  };
  return {
    open(name) {
      lane(name).resolve();
      return { setConcurrency: () => {}, close: async () => {} };
    },
    wake: async () => {},
    remove,
    opened: (name) => lane(name).promise,
  };
}

/** A session that is connected: whose, from where, in which lane, and what could speak for it. */
export interface Connected {
  accountId: string;
  from: string;
  lane: string;
  creds: string;
}

/** The Baileys provider on a database of its own, talking to `fake`; `remove` is done with lanes that nobody works. */
export async function baileysAt(
  fake: FakeWhatsApp,
  { database, sql, account }: World,
  { environment = {}, remove = async () => {} }: { environment?: object; remove?: LaneHost["remove"] } = {},
) {
  const store = createSupabaseStore({
    url: database.supabaseUrl,
    serviceKey: database.supabaseServiceKey,
    timeoutMs: 10_000,
  });
  const lanes = openLanes(remove);
  const values = z.object(baileysProvider.env).parse({ ...whatsappEnvironment(fake), ...environment });
  const provider = await baileysProvider.create(
    { ...values, WHATSAPP_ACK_TIMEOUT_MS: ACK_TIMEOUT_MS },
    providerDeps({
      sessions: store.sessions,
      lanes,
      inbound: {
        receipt: (receipt) => store.recordReceipt(receipt).then(() => true),
        reply: async () => ({ firstStop: false }),
      },
    }),
  );
  provider.start?.();
  return {
    provider,
    sessions: store.sessions,
    /** A session that was paired before, once it is connected; of an account of its own, unless one is given. */
    async connected(of?: string): Promise<Connected> {
      const [accountId, from] = [of ?? (await account()), sessionPhone()];
      const creds = fake.pairedCredsJson(from);
      const id = await presetSession(sql, { accountId, phone: from, creds, encryptionKey: ENCRYPTION_KEY });
      provider.nudge?.();
      const lane = laneOfSession(id);
      await lanes.opened(lane);
      return { accountId, from, lane, creds };
    },
    async [Symbol.asyncDispose]() {
      await provider.close?.();
      await store.close();
    },
  };
}
