import type { Logger } from "pino";
import type { Lease, SessionStore } from "../../../../store/sessions.ts";
import { openAuthState, type AuthState } from "./auth-state.ts";
import { KeyBuffer } from "./key-buffer.ts";
import type { Sealer } from "../../../../core/sealed.ts";

/** A session's credentials and keys, as its socket works with them. */
export interface Keys {
  readonly auth: AuthState;
  /** Whether a phone has accepted this device. */
  readonly isPaired: boolean;
  /** Resolves when everything so far is in the database; rejects when it cannot be. */
  flushed(): Promise<void>;
  /** Nothing is written after it. */
  close(): Promise<void>;
}

export interface KeysOptions {
  store: SessionStore;
  sealer: Sealer;
  lease: Lease;
  onLost(): void;
  log: Logger;
}

/** Opens them. A pairing that was not completed leaves keys that the next one cannot go on with: those are wiped. */
export async function openKeys(options: KeysOptions): Promise<Keys> {
  const keys = await open(options);
  if (keys.isPaired) return keys;
  await keys.close();
  await options.store.wipe(options.lease, false);
  return open(options);
}

async function open({ store, sealer, lease, onLost, log }: KeysOptions): Promise<Keys> {
  const buffer = await KeyBuffer.open({ store, lease, onLost, log });
  const auth = await openAuthState({ store: buffer, sealer, lease, onLost, log });
  return {
    auth,
    get isPaired() {
      return Boolean(auth.state.creds.account);
    },
    flushed: () => buffer.flushed(),
    async close() {
      await auth.close();
      await buffer.close();
    },
  };
}
