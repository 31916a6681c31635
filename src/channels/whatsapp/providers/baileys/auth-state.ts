import { setTimeout as delay } from "node:timers/promises";
import {
  type AuthenticationCreds,
  type AuthenticationState,
  BufferJSON,
  initAuthCreds,
  makeCacheableSignalKeyStore,
  proto,
  type SignalDataSet,
  type SignalDataTypeMap,
  type SignalKeyStore,
} from "@whiskeysockets/baileys";
import type { Logger } from "pino";
import { UnavailableError } from "../../../../core/errors.ts";
import type { Lease, SealedKey, SessionStore } from "../../../../store/sessions.ts";
import { KeyCache } from "./key-cache.ts";
import type { Sealer } from "../../../../core/sealed.ts";

const RESEAL_PAGE = 200;
const READ_TRIES = 20;
const READ_AGAIN_MS = 250;
const CREDS = { type: "creds", id: "" };

/** The session belongs to another process, or to none: its keys are neither read nor written here any more. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";

  constructor(sessionId: string) {
    super(`The lease of session ${sessionId} is lost.`);
  }
}

export interface AuthStateOptions {
  store: Pick<SessionStore, "readKeys" | "writeKeys" | "staleKeys">;
  sealer: Sealer;
  lease: Lease;
  /** Called once, when a write was refused; the socket has to end. */
  onLost(): void;
  log: Logger;
}

export interface AuthState {
  state: AuthenticationState;
  /**
   * Writes `state.creds` as they are when the write begins: calls that come before that share it, so that the newest
   * always wins. Rejects when it could not be written.
   */
  saveCreds(): Promise<void>;
  /** Seals again what an earlier key has sealed; answers how many. Safe while the socket is open. */
  reseal(): Promise<number>;
  /** Resolves when nothing is written any more: what a socket has still to write when it ends is refused. */
  close(): Promise<void>;
}

/**
 * A session's credentials and Signal keys, a sealed row each. A `set` is one atomic write, in the order of the calls,
 * and only while the lease is held: the first refusal calls `onLost`, and from then on reads and writes reject with
 * `LeaseLostError`. No failure is swallowed here, but libsignal takes a session that it could not load for none: so
 * a read waits some seconds for a database that is away.
 *
 * Rejects with `SealError` when the credentials cannot be opened: fresh ones would lose the pairing.
 */
export async function openAuthState({ store, sealer, lease, onLost, log }: AuthStateOptions): Promise<AuthState> {
  let isLost = false;
  const cache = new KeyCache();
  const inTurn = createTurns();

  const refuseIfLost = (): void => {
    if (isLost) throw new LeaseLostError(lease.id);
  };
  const sealedRow = (type: string, id: string, value: unknown): SealedKey => ({
    type,
    id,
    sealed: sealer.seal(JSON.stringify(value, BufferJSON.replacer), aadOf(lease.id, type, id)),
  });
  const opened = (type: string, id: string, sealed: string): unknown => {
    const value: unknown = JSON.parse(sealer.open(sealed, aadOf(lease.id, type, id)).toString(), BufferJSON.reviver);
    // Baileys calls the methods of these.
    return type === "app-state-sync-key" ? proto.Message.AppStateSyncKeyData.fromObject(value as object) : value;
  };
  /** Only in turn, so that one write at the most finds the lease lost. */
  const write = async (rows: SealedKey[]): Promise<void> => {
    refuseIfLost();
    if (await store.writeKeys(lease, rows)) return;
    isLost = true;
    cache.flushAll();
    onLost();
    throw new LeaseLostError(lease.id);
  };

  const stored: SignalKeyStore = {
    async get<T extends keyof SignalDataTypeMap>(type: T, ids: string[]) {
      const rows = await persistently(() => store.readKeys(lease.id, type, ids));
      refuseIfLost();
      return Object.fromEntries([...rows].map(([id, sealed]) => [id, opened(type, id, sealed)])) as {
        [id: string]: SignalDataTypeMap[T];
      };
    },
    async set(data) {
      const entries = entriesOf(data);
      if (entries.length === 0) return;
      try {
        await inTurn(() =>
          write(
            entries.map(([type, id, value]) =>
              value === null || value === undefined ? { type, id, sealed: null } : sealedRow(type, id, value),
            ),
          ),
        );
      } catch (error) {
        // They were cached before they were written; what counts now is what the store says.
        for (const [type, id] of entries) cache.del(`${type}.${id}`);
        throw error;
      }
    },
  };
  const cached = makeCacheableSignalKeyStore(stored, log, cache);

  const row = (await store.readKeys(lease.id, CREDS.type, [CREDS.id])).get(CREDS.id);
  const creds = row === undefined ? initAuthCreds() : (opened(CREDS.type, CREDS.id, row) as AuthenticationCreds);
  let nextSave: Promise<void> | undefined;

  return {
    state: {
      creds,
      keys: {
        async get(type, ids) {
          refuseIfLost();
          return cached.get(type, ids);
        },
        async set(data) {
          refuseIfLost();
          return cached.set(data);
        },
      },
    },
    saveCreds: () =>
      (nextSave ??= inTurn(async () => {
        nextSave = undefined;
        await write([sealedRow(CREDS.type, CREDS.id, creds)]);
      })),
    close() {
      isLost = true;
      cache.flushAll();
      return inTurn(async () => {});
    },
    async reseal() {
      let moved = 0;
      for (;;) {
        const count = await inTurn(() => resealPage());
        if (count === 0) return moved;
        moved += count;
      }
    },
  };

  /** Nothing else is written between the reading and the writing: an older key would come back. */
  async function resealPage(): Promise<number> {
    refuseIfLost();
    const stale = await store.staleKeys(lease.id, sealer.mark, RESEAL_PAGE);
    if (stale.length === 0) return 0;
    const rows = stale.map(({ type, id, sealed }) => {
      const aad = aadOf(lease.id, type, id);
      return { type, id, sealed: sealed === null ? null : sealer.seal(sealer.open(sealed, aad), aad) };
    });
    await write(rows);
    return rows.length;
  }
}

/** As JSON, because types and ids may hold any separator. */
const aadOf = (sessionId: string, type: string, id: string): string => JSON.stringify([sessionId, type, id]);

const entriesOf = (data: SignalDataSet): [string, string, unknown][] =>
  Object.entries(data).flatMap(([type, values]) =>
    Object.entries(values).map(([id, value]): [string, string, unknown] => [type, id, value]),
  );

/** Runs work one after another, in the order of the calls; a failed one does not keep up the next. */
function createTurns(): <T>(work: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  };
}

/** A database that is away for a moment must not look like keys that are not there. */
async function persistently<T>(read: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await read();
    } catch (error) {
      if (!(error instanceof UnavailableError) || tries >= READ_TRIES) throw error;
      await delay(READ_AGAIN_MS);
    }
  }
}
