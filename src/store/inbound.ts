import type { Instructions, Receipt, Reply } from "../core/inbound.ts";
import { Batcher } from "./batcher.ts";
import { MESSAGES, type Batches } from "./batches.ts";
import type { Database } from "./database.ts";

/** What providers report later, and what people answer. */
export interface InboundStore {
  recordReceipt(receipt: Receipt): Promise<void>;
  /** Like `recordReceipt`, but rejects while the database is away: whoever brings it comes again. */
  takeReceipt(receipt: Receipt): Promise<void>;
  /** Twice and in any order. */
  takeInstructions(instructions: Instructions): Promise<void>;
  /**
   * How far the provider's question what to leave came; undefined: it has not asked, as far as the ledger knows. `asked`: the
   * report of the call's end is kept, and counts when it turns out that it was answered.
   */
  instructionsOf(attemptId: string, ended: Receipt): Promise<Instructions["step"] | undefined>;
  /** The contact of this attempt is tried over no further channel: nobody can prove that it has not reached them. */
  endWay(attempt: { messageId: string; attemptId: string }): Promise<void>;
  /** Like `recordReply`, but rejects while the database is away. */
  takeReply(reply: Reply & { stop: boolean; start?: boolean }): Promise<boolean>;
  /** Whether this is the first stop of that person. */
  recordReply(reply: Reply & { stop: boolean; start?: boolean }): Promise<boolean>;
}

interface Inbound {
  readonly store: InboundStore;
  /** What is on its way. */
  readonly batchers: readonly Pick<Batcher<never, never>, "drained" | "close">[];
}

export function createInbound({ rpc }: Pick<Database, "rpc">, { sized, waitFor }: Batches): Inbound {
  const writeReceipts = async (items: Receipt[]): Promise<void[]> => {
    await rpc("record_receipts", { p_items: items.map(toReceiptRow) });
    return items.map(() => undefined);
  };
  const takenReceipts = new Batcher<Receipt, void>({
    flush: writeReceipts,
    ...MESSAGES,
    ...sized("record_receipts"),
    waitForDatabase: false,
  });
  const receipts = new Batcher<Receipt, void>({
    flush: writeReceipts,
    // Nobody waits for a receipt: fewer, fuller batches leave the database to the senders.
    maxSize: 500,
    maxConcurrent: 1,
    maxWaitMs: 50,
    ...waitFor("record_receipts"),
  });
  const replies = new Batcher<Parameters<InboundStore["recordReply"]>[0], boolean>({
    flush: async (items) => {
      const answers: boolean[] = [];
      for (const item of items) answers.push(await rpc("record_reply", { p_reply: toReplyRow(item) }));
      return answers;
    },
    // One at a time, because a reply without an id that is written again would be there twice.
    maxSize: 1,
    maxConcurrent: 4,
    maxWaitMs: 0,
    ...waitFor("record_reply"),
  });

  const store: InboundStore = {
    recordReceipt: (receipt) => receipts.add(receipt),
    takeReceipt: (receipt) => takenReceipts.add(receipt),
    takeInstructions: ({ attemptId, step }) =>
      rpc("record_instructions", { p_attempt_id: attemptId, p_answered: step === "answered" }),
    instructionsOf: async (attemptId, ended) =>
      (await rpc<"asked" | "answered" | null>("instructions_of", {
        p_attempt_id: attemptId,
        p_ended: toReceiptRow(ended),
      })) ?? undefined,
    endWay: ({ messageId, attemptId }) => rpc("end_way", { p_message_id: messageId, p_attempt_id: attemptId }),
    takeReply: (reply) => rpc("record_reply", { p_reply: toReplyRow(reply) }),

    recordReply: (reply) => replies.add(reply),
  };
  return { store, batchers: [receipts, takenReceipts, replies] };
}

const toReceiptRow = ({ providerMessageId, attempt, price, at, ...rest }: Receipt): object => ({
  provider_message_id: providerMessageId,
  message_id: attempt?.messageId,
  attempt_id: attempt?.attemptId,
  price: price?.amount,
  currency: price?.currency,
  at: new Date(at).toISOString(),
  ...rest,
});

const toReplyRow = ({
  providerMessageId,
  replyId,
  accountId,
  from,
  at,
  ...rest
}: Reply & { stop: boolean }): object => ({
  provider_message_id: providerMessageId,
  reply_id: replyId,
  account_id: accountId,
  phone: from,
  at: new Date(at).toISOString(),
  ...rest,
});
