import type { CacheStore } from "@whiskeysockets/baileys";

/** A contact takes two: a session and a token. */
const MAX_ENTRIES = 4000;
const IDLE_MS = 300_000;
/** These are read once at the most each, or Baileys remembers them itself. */
const NOT_CACHED = /^(?:pre-key|lid-mapping|device-list)\./;

/**
 * What `makeCacheableSignalKeyStore` keeps in memory of one session: the most recently used keys, and nothing once it
 * was not asked for five minutes. Its default, five minutes a key without a bound and a timer that is never stopped,
 * would hold the 812 keys of each login.
 */
export class KeyCache implements CacheStore {
  /** In the order of use. */
  readonly #entries = new Map<string, unknown>();
  #isUsed = false;
  #timer: NodeJS.Timeout | undefined;

  get size(): number {
    return this.#entries.size;
  }

  get<T>(key: string): T | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) this.set(key, value);
    return value as T | undefined;
  }

  set(key: string, value: unknown): void {
    if (NOT_CACHED.test(key)) return;
    this.#entries.delete(key);
    this.#entries.set(key, value);
    if (this.#entries.size > MAX_ENTRIES) this.#entries.delete(this.#entries.keys().next().value as string);
    this.#isUsed = true;
    this.#timer ??= setTimeout(() => this.#rest(), IDLE_MS).unref();
  }

  del(key: string): void {
    this.#entries.delete(key);
  }

  flushAll(): void {
    this.#entries.clear();
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #rest(): void {
    if (!this.#isUsed) return this.flushAll();
    this.#isUsed = false;
    this.#timer = setTimeout(() => this.#rest(), IDLE_MS).unref();
  }
}
