import type { Logger } from "pino";
import { UnavailableError } from "../../../../core/errors.ts";
import type { Lease, SealedKey, SessionStore } from "../../../../store/sessions.ts";

/**
 * Keys of which the last writes may be missing after a crash: the messages that they were for are then in doubt, and
 * given to WhatsApp again. All others, above all those that WhatsApp is told of, are written before anything goes on.
 */
const WRITTEN_BEHIND = new Set(["session", "device-list", "lid-mapping", "tctoken"]);
/** Read once at the most each, and there are hundreds. */
const NOT_NAMED = new Set(["pre-key", "creds"]);
const MAX_NAMES = 20_000;
/** Rows on their way at the most: whoever has more waits. */
const MAX_WAITING = 500;
const RETRY_MS = 500;
/** Keys of messages are written no sooner after those before, unless so many messages need them to be there. */
const COMPANY = { messages: 8, afterMs: 25 };

export interface KeyBufferOptions {
  store: Pick<SessionStore, "readKeys" | "writeKeys" | "staleKeys" | "keyNames">;
  lease: Lease;
  /** A write was refused; called once. */
  onLost(): void;
  log: Logger;
}

/**
 * A session's keys on their way to the database. Baileys makes one message of a session ready after the other, and would
 * wait for the database once for each: here the rows of many leave together, and `flushed` tells when they are there.
 * Nobody else writes them, so it also knows which there are, and does not ask for those of people that are new.
 *
 * What it was given it keeps, and reads, until it is written, also where whoever gave it was told that the write has failed:
 * Baileys commits a ratchet after the message that was encrypted with it has left, and an older one would be used twice.
 */
export class KeyBuffer implements Omit<KeyBufferOptions["store"], "keyNames"> {
  readonly #options: KeyBufferOptions;
  #names: Set<string> | undefined;
  #waiting = new Map<string, SealedKey>();
  #writing = new Map<string, SealedKey>();
  /** The write that is under way, and the one after it, with the calls of `flushed` that wait for it. */
  #current: Promise<boolean> | undefined;
  #next: { written: Promise<boolean>; calls: number; begin(): void } | undefined;
  #last: Promise<unknown> = Promise.resolve();
  #begunAt = -Infinity;
  #isFailing = false;
  #isOver = false;
  #timer: NodeJS.Timeout | undefined;

  private constructor(options: KeyBufferOptions, names: readonly string[] | undefined) {
    this.#options = options;
    this.#names = names && new Set(names);
  }

  static async open(options: KeyBufferOptions): Promise<KeyBuffer> {
    return new KeyBuffer(options, await options.store.keyNames(options.lease.id, MAX_NAMES));
  }

  async readKeys(sessionId: string, type: string, ids: readonly string[] | undefined): Promise<Map<string, string>> {
    const { store } = this.#options;
    if (ids === undefined) {
      await this.flushed();
      return store.readKeys(sessionId, type, ids);
    }
    const found = new Map<string, string>();
    const asked = ids.filter((id) => {
      const name = nameOf(type, id);
      const row = this.#waiting.get(name) ?? this.#writing.get(name);
      if (row?.sealed) found.set(id, row.sealed);
      return !row && (NOT_NAMED.has(type) || (this.#names?.has(name) ?? true));
    });
    if (asked.length > 0) {
      for (const [id, sealed] of await store.readKeys(sessionId, type, asked)) found.set(id, sealed);
    }
    return found;
  }

  async writeKeys(_lease: Lease, keys: readonly SealedKey[]): Promise<boolean> {
    if (this.#isOver) return false;
    for (const key of keys) {
      const name = nameOf(key.type, key.id);
      this.#waiting.set(name, key);
      if (!NOT_NAMED.has(key.type)) this.#names?.add(name);
    }
    if (this.#names && this.#names.size > MAX_NAMES) this.#names = undefined;
    const isBehind = keys.every(({ type }) => WRITTEN_BEHIND.has(type));
    const mayWait = isBehind && !this.#isFailing && this.#waiting.size < MAX_WAITING;
    if (!mayWait) return this.#write();
    this.#prepare().written.catch(() => {});
    return true;
  }

  async staleKeys(sessionId: string, mark: string, limit: number): Promise<SealedKey[]> {
    await this.flushed();
    return this.#options.store.staleKeys(sessionId, mark, limit);
  }

  /** Resolves when all that was given to it is in the database; rejects when it could not be written. */
  async flushed(): Promise<void> {
    const next = this.#waiting.size > 0 ? this.#prepare() : undefined;
    if (next && ++next.calls >= COMPANY.messages) next.begin();
    const written = next?.written ?? this.#current;
    if (!((await written) ?? !this.#isOver)) throw new Error("The session's keys are not written here any more.");
  }

  /** Writes nothing any more; resolves when the last write is over. */
  async close(): Promise<void> {
    this.#isOver = true;
    clearTimeout(this.#timer);
    await this.#last;
  }

  /** All that waits, together, once the write that is under way is over. */
  #write(): Promise<boolean> {
    const { written, begin } = this.#prepare();
    begin();
    return written;
  }

  /** The next write; it begins by itself, at once when nothing was written lately. */
  #prepare() {
    if (this.#next) return this.#next;
    const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
    const timer = setTimeout(begin, Math.max(0, this.#begunAt + COMPANY.afterMs - performance.now()));
    const written = Promise.all([begun, this.#last]).then(() => {
      clearTimeout(timer);
      this.#next = undefined;
      this.#current = written;
      this.#begunAt = performance.now();
      return this.#writeAll().finally(() => (this.#current = undefined));
    });
    this.#last = written.catch(() => {});
    return (this.#next = { written, calls: 0, begin });
  }

  async #writeAll(): Promise<boolean> {
    const { store, lease, onLost, log } = this.#options;
    if (this.#isOver) return false;
    const rows = this.#waiting;
    if (rows.size === 0) return true;
    this.#waiting = new Map();
    this.#writing = rows;
    try {
      const isMine = await store.writeKeys(lease, [...rows.values()]);
      this.#isFailing = false;
      if (isMine) return true;
      this.#isOver = true;
      onLost();
      return false;
    } catch (error) {
      if (!this.#isFailing && !(error instanceof UnavailableError)) {
        log.error(
          { err: error },
          "the database refuses a session's keys: they are given to it again until it takes them",
        );
      }
      this.#isFailing = true;
      // What has come since is newer.
      this.#waiting = new Map([...rows, ...this.#waiting]);
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => void this.#write().catch(() => {}), RETRY_MS);
      throw error;
    } finally {
      this.#writing = new Map();
    }
  }
}

/** No type has a dot. */
const nameOf = (type: string, id: string): string => `${type}.${id}`;
