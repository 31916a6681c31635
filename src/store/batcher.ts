import { setTimeout as delay } from "node:timers/promises";
import { UnavailableError } from "../core/errors.ts";

interface Waiting<Item, Result> {
  item: Item;
  resolve(result: Result): void;
  reject(error: unknown): void;
}

export interface BatcherOptions<Item, Result> {
  /** Handles many items in one call; answers one result an item, in their order. */
  flush(items: Item[]): Promise<Result[]>;
  /** Items a call at the most. */
  maxSize: number;
  /** Calls under way at the same time. */
  maxConcurrent: number;
  /** How long the first item of a batch waits for company, milliseconds; 0: for what comes in the same turn of the event loop. */
  maxWaitMs: number;
  /** While the database is gone, keep the items and try again (true), or reject them (false). */
  waitForDatabase: boolean;
  /** Whether a refusal is about one of the items, and their batch to be taken apart; default: each but `UnavailableError`. */
  isAboutItem?(error: unknown): boolean;
  onRetry?(error: unknown, items: number): void;
  /** Told of each batch that is handed to `flush` for the first time. */
  onFlush?(items: number): void;
}

/**
 * Turns many small writes into few big ones (group commit). `add` resolves when the batch that holds the item has
 * committed.
 *
 * States: open (takes items) → closed (every item that is not written yet is rejected).
 * A batch that is refused, rather than missed, is taken apart so that only the bad item fails.
 */
export class Batcher<Item, Result> {
  readonly #options: BatcherOptions<Item, Result>;
  readonly #closing = new AbortController();
  #waiting: Waiting<Item, Result>[] = [];
  #running = 0;
  #cancelStart: (() => void) | undefined;
  #idle: (() => void)[] = [];

  constructor(options: BatcherOptions<Item, Result>) {
    this.#options = options;
  }

  add(item: Item): Promise<Result> {
    if (this.#closing.signal.aborted) {
      return Promise.reject(new UnavailableError("database", "The store is closed."));
    }
    const { promise, resolve, reject } = Promise.withResolvers<Result>();
    this.#waiting.push({ item, resolve, reject });
    if (this.#waiting.length >= this.#options.maxSize) this.#start();
    else this.#cancelStart ??= startLater(this.#options.maxWaitMs, () => this.#start());
    return promise;
  }

  /** Resolves when nothing is waiting or being written. */
  async drained(): Promise<void> {
    if (this.#waiting.length === 0 && this.#running === 0) return;
    await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Gives up what is not written. */
  close(): void {
    this.#cancelStart?.();
    this.#closing.abort();
    const error = new UnavailableError("database", "The store was closed before this was written.");
    for (const { reject } of this.#waiting.splice(0)) reject(error);
    this.#settle();
  }

  #start(): void {
    this.#cancelStart?.();
    this.#cancelStart = undefined;
    while (this.#waiting.length > 0 && this.#running < this.#options.maxConcurrent) {
      const batch = this.#waiting.splice(0, this.#options.maxSize);
      this.#running += 1;
      this.#options.onFlush?.(batch.length);
      void this.#write(batch).finally(() => {
        this.#running -= 1;
        this.#start();
        this.#settle();
      });
    }
  }

  async #write(batch: Waiting<Item, Result>[]): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      try {
        const results = await this.#options.flush(batch.map(({ item }) => item));
        batch.forEach(({ resolve }, i) => resolve(results[i] as Result));
        return;
      } catch (error) {
        const unavailable = error instanceof UnavailableError;
        const isAboutItem = !unavailable && (this.#options.isAboutItem?.(error) ?? true);
        if (isAboutItem && batch.length > 1) {
          const middle = batch.length >> 1;
          await Promise.all([this.#write(batch.slice(0, middle)), this.#write(batch.slice(middle))]);
          return;
        }
        if (!unavailable || !this.#options.waitForDatabase || this.#closing.signal.aborted) {
          for (const { reject } of batch) reject(error);
          return;
        }
        this.#options.onRetry?.(error, batch.length);
        // Quick at first, because most outages are a restart; never slower than a second, because people wait.
        await delay(Math.min(1000, 50 * 2 ** attempt), undefined, { signal: this.#closing.signal }).catch(() => {});
      }
    }
  }

  #settle(): void {
    if (this.#waiting.length > 0 || this.#running > 0) return;
    for (const resolve of this.#idle.splice(0)) resolve();
  }
}

function startLater(waitMs: number, start: () => void): () => void {
  if (waitMs === 0) {
    const immediate = setImmediate(start);
    return () => clearImmediate(immediate);
  }
  const timer = setTimeout(start, waitMs);
  return () => clearTimeout(timer);
}
