import type { Logger } from "pino";
import { UnavailableError } from "../core/errors.ts";
import type { Inbound, Reply } from "../core/inbound.ts";
import type { Store } from "../store/store.ts";
import { isStart } from "./stop-words.ts";
import { storable } from "./webhooks.ts";

/** Takes what providers deliver later into the ledger. The store waits for the database by itself. */
export function createInbound(
  store: Pick<Store, "recordReceipt" | "recordReply">,
  log: Logger,
  isStop: (text: string) => boolean,
): Inbound {
  return {
    async receipt(receipt) {
      try {
        await store.recordReceipt(receipt);
        return true;
      } catch (error) {
        log.error({ err: error }, "could not record a receipt");
        return !(error instanceof UnavailableError);
      }
    },
    async reply(given) {
      const reply = cleaned(given);
      try {
        const stop = reply.stop === true || isStop(reply.text);
        return { firstStop: await store.recordReply({ ...reply, stop, start: isStart(reply.text) }) };
      } catch (error) {
        log.error({ err: error }, "could not record a reply");
        return { firstStop: false };
      }
    },
  };
}

/** Whoever wrote it has chosen its text, its id and the id that it quotes: all of that is to be stored. */
function cleaned(given: Reply): Reply {
  const reply = { ...given, text: storable(given.text) };
  if (given.providerMessageId !== undefined) reply.providerMessageId = storable(given.providerMessageId);
  if (given.replyId !== undefined) reply.replyId = storable(given.replyId);
  return reply;
}
