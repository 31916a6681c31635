import { type AuthenticationCreds, initAuthCreds } from "@whiskeysockets/baileys";
import { companionOf, deviceIdentity } from "./pairing.ts";
import type { Account } from "./world.ts";

/** Links a new device to an account without any pairing, and returns its credentials. */
export function presetCreds(account: Account, name: string): AuthenticationCreds {
  const creds = initAuthCreds();
  const { keyId: id, keyPair, signature } = creds.signedPreKey;
  const companion = companionOf(account, Buffer.from(creds.noiseKey.public), {
    registrationId: creds.registrationId,
    identityKey: Buffer.from(creds.signedIdentityKey.public),
    signedPreKey: { id, key: Buffer.from(keyPair.public), signature: Buffer.from(signature) },
  });
  account.companion = { ...companion, fresh: false };
  return {
    ...creds,
    me: { id: companion.jid, lid: companion.lid, name },
    account: deviceIdentity(account.person, companion),
    // Without a count of finished syncs Baileys keeps its events back for 20 s, waiting for the phone's history.
    accountSyncCounter: 1,
    registered: true,
    platform: "android",
  };
}
