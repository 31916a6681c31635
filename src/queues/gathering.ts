import { Batcher } from "../store/batcher.ts";

/** What one pipeline to Redis carries at the most. */
const MAX_SIZE = 100;

/**
 * Adds what comes in one turn of the event loop together: callers whose request went to the ledger in one batch are answered at once.
 * Where that is refused, and not because Redis is away, each is tried by itself: adding what is there already changes nothing.
 */
export function gathered<Item>(add: (items: readonly Item[]) => Promise<void>): (item: Item) => Promise<void> {
  const batcher = new Batcher<Item, void>({
    async flush(items) {
      await add(items);
      return items.map(() => undefined);
    },
    maxSize: MAX_SIZE,
    // A call that Redis leaves without an answer must not make later ones wait for it.
    maxConcurrent: Number.POSITIVE_INFINITY,
    maxWaitMs: 0,
    waitForDatabase: false,
  });
  return (item) => batcher.add(item);
}
