import type { BinaryNode, WASocket } from "@whiskeysockets/baileys";
import type { Receipt } from "../../../../core/inbound.ts";

export interface SentStatus {
  /** WhatsApp's id of a message of ours. */
  id: string;
  status: Receipt["status"];
}

/** By the `type` of a receipt. Other types are no news of a message: a request to send it again, a device of one's own. */
const STATUS = new Map<string | undefined, Receipt["status"]>([
  [undefined, "delivered"],
  ["read", "read"],
  ["played", "read"],
]);

/**
 * Has receipts stored before Baileys confirms them, which it would do at once: WhatsApp gives again what was not
 * confirmed, to whoever connects next. To be called once a socket, right after it was made.
 *
 * @param store resolves once they are stored; false: they will not be, here.
 */
export function storeReceiptsFirst(sock: WASocket, store: (statuses: SentStatus[]) => Promise<boolean>): void {
  const ws = sock.ws as unknown as NodeJS.EventEmitter;
  const handlers = ws.listeners("CB:receipt");
  ws.removeAllListeners("CB:receipt");
  ws.on("CB:receipt", (node: BinaryNode) => {
    const confirm = (): void => handlers.forEach((handle) => void handle(node));
    const statuses = statusesOf(node);
    if (statuses.length === 0) return confirm();
    void store(statuses).then((stored) => stored && confirm());
  });
}

/** What a receipt says of messages of ours. */
export function statusesOf({ attrs, content }: BinaryNode): SentStatus[] {
  const status = STATUS.get(attrs["type"]);
  // With a recipient it comes from another device of the session's own number; groups have participants.
  if (status === undefined || attrs["recipient"] !== undefined || attrs["participant"] !== undefined) return [];
  const [list] = Array.isArray(content) ? content : [];
  const items = Array.isArray(list?.content) ? list.content.filter(({ tag }) => tag === "item") : [];
  const ids = [attrs["id"], ...items.map((item) => item.attrs["id"])];
  return ids.flatMap((id) => (id ? [{ id, status }] : []));
}
