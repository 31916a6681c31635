/** A caller waits for each of these: what comes while one call is under way shares the next. */
export const CALLERS = { maxSize: 100, maxConcurrent: 2, maxWaitMs: 1, waitForDatabase: false };
/** Around a provider's call: many small requests, so that the database works on some while the others' messages are called. */
export const MESSAGES = { maxSize: 100, maxConcurrent: 3, maxWaitMs: 1 };

export interface BatchListeners {
  /** Told each time that a batch has to wait for the database. */
  onRetry?(operation: string, error: unknown, items: number): void;
  /** Told of the size of each batch that is written. */
  onBatch?(operation: string, items: number): void;
}

/** What the batches of an operation have in common. */
export interface Batches {
  sized(operation: string): { onFlush(items: number): void };
  /** Of those that wait for a database that is away. */
  waitFor(operation: string): {
    onFlush(items: number): void;
    waitForDatabase: boolean;
    onRetry(error: unknown, items: number): void;
  };
}

export function createBatches(listeners: BatchListeners): Batches {
  const sized: Batches["sized"] = (operation) => ({ onFlush: (items) => listeners.onBatch?.(operation, items) });
  return {
    sized,
    waitFor: (operation) => ({
      ...sized(operation),
      waitForDatabase: true,
      onRetry: (error, items) => listeners.onRetry?.(operation, error, items),
    }),
  };
}
