import { proto } from "@whiskeysockets/baileys";
import type { SentStore } from "../../../../store/sessions.ts";
import type { Sealer } from "../../../../core/sealed.ts";

const RESEAL_PAGE = 200;

/** What a session has sent, sealed: for a recipient that could not decrypt it, and for giving it to WhatsApp once more. */
export class SentMessages {
  readonly #store: SentStore;
  readonly #sealer: Sealer;
  readonly #sessionId: string;

  constructor(store: SentStore, sealer: Sealer, sessionId: string) {
    this.#store = store;
    this.#sealer = sealer;
    this.#sessionId = sessionId;
  }

  /** Keeps a message that is about to be sent. Rejects with `UnavailableError`. */
  keep({
    id,
    jid,
    phone,
    message,
  }: {
    id: string;
    jid: string;
    phone: string;
    message: proto.IMessage;
  }): Promise<void> {
    const sealed = this.#sealer.seal(Buffer.from(proto.Message.encode(message).finish()), this.#aad(id));
    return this.#store.keepSent({ id, sessionId: this.#sessionId, jid, phone, sealed });
  }

  /** What was sent under WhatsApp's id; undefined when it was not, or is too long ago. */
  async find(id: string): Promise<{ jid: string; message: proto.IMessage } | undefined> {
    const sent = await this.#store.sent(id);
    if (!sent || sent.sessionId !== this.#sessionId) return undefined;
    return { jid: sent.jid, message: proto.Message.decode(this.#sealer.open(sent.sealed, this.#aad(id))) };
  }

  /** Seals a page of what an earlier key has sealed anew; answers where to go on, undefined at the end. */
  async reseal(after: string): Promise<string | undefined> {
    const stale = await this.#store.staleSent(this.#sessionId, this.#sealer.mark, after, RESEAL_PAGE);
    const rows = stale.map(({ id, sealed }) => {
      const aad = this.#aad(id);
      return { id, sealed: this.#sealer.seal(this.#sealer.open(sealed, aad), aad) };
    });
    if (rows.length > 0) await this.#store.resealSent(this.#sessionId, rows);
    return stale.at(-1)?.id;
  }

  #aad(id: string): string {
    return JSON.stringify([this.#sessionId, "sent", id]);
  }
}
