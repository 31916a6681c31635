import type { WASocket } from "@whiskeysockets/baileys";
import { Batcher, type BatcherOptions } from "../../../../store/batcher.ts";
import { isMalformed } from "./patience.ts";

type Flush<Item, Result> = (items: Item[], sock: WASocket) => Promise<Result[]>;

/** People in one question to WhatsApp; several, so that one without an answer does not hold up the next. */
const ASKED = {
  maxSize: 20,
  maxConcurrent: 4,
  maxWaitMs: 2,
  waitForDatabase: false,
  // A malformed one spoils the others' question. Whoever is told to ask less must not ask twice as often.
  isAboutItem: isMalformed,
} satisfies Partial<BatcherOptions<never, never>>;

/** Asks WhatsApp in batches, a batcher for each socket: a dead one may leave its last question open for a minute. */
export function askedTogether<Item, Result>(
  flush: Flush<Item, Result>,
): (item: Item, sock: WASocket) => Promise<Result> {
  const batchers = new WeakMap<WASocket, Batcher<Item, Result>>();
  return (item, sock) => {
    const batcher = batchers.get(sock) ?? new Batcher({ flush: (items: Item[]) => flush(items, sock), ...ASKED });
    batchers.set(sock, batcher);
    return batcher.add(item);
  };
}
