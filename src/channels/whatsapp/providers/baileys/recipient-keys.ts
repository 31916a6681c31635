import type { WASocket } from "@whiskeysockets/baileys";
import { askedTogether } from "./asked-together.ts";

/**
 * Has ready what Baileys encrypts a recipient's message with: their devices, and a Signal session with each. Baileys itself
 * fetches it for one message after the other, and all others of the number wait meanwhile; this does it for many at once.
 */
export class RecipientKeys {
  readonly #fetched = askedTogether(async (jids: string[], sock) => {
    // Baileys fetches what is missing: no reason to ask for each alone.
    await fetchKeys(jids, sock).catch(() => {});
    return jids.map(() => undefined);
  });

  /** Resolves in any case. */
  async ready(jid: string, sock: WASocket): Promise<void> {
    if (!(await sock.userDevicesCache.get(userOf(jid)))) await this.#fetched(jid, sock);
  }
}

async function fetchKeys(people: string[], sock: WASocket): Promise<void> {
  const { authState, signalRepository } = sock;
  const devices = (await sock.getUSyncDevices(people, true, false)).map(({ jid }) => jid);
  const lids = ((await signalRepository.lidMapping.getLIDsForPNs(devices)) ?? []).map(({ lid }) => lid);
  // Together, into the cache: below they are read one after the other.
  const addresses = lids.map((lid) => signalRepository.jidToSignalProtocolAddress(lid));
  await authState.keys.get("session", addresses);
  await authState.keys.get("tctoken", lids);
  await sock.assertSessions(devices);
}

const userOf = (jid: string): string => jid.split("@")[0] ?? "";
