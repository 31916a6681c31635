import type { Logger } from "pino";
import { UnavailableError } from "../core/errors.ts";
import type { Inbound } from "../core/inbound.ts";
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
    async reply({ providerMessageId, ...rest }) {
      const quotes = providerMessageId === undefined ? {} : { providerMessageId: storable(providerMessageId) };
      const reply = { ...rest, ...quotes, text: storable(rest.text) };
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
