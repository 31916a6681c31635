import { EventEmitter } from "node:events";
import type { BinaryNode, WASocket } from "@whiskeysockets/baileys";
import { expect, test } from "vitest";
import {
  type SentStatus,
  statusesOf,
  storeReceiptsFirst,
} from "../../../../../src/channels/whatsapp/providers/baileys/receipts.ts";

const PERSON = "123456789012345@lid";

const receipt = (attrs: Record<string, string>, more: string[] = []): BinaryNode => {
  const items = more.map((id) => ({ tag: "item", attrs: { id } }));
  const content = more.length > 0 ? [{ tag: "list", attrs: {}, content: items }] : undefined;
  return { tag: "receipt", attrs: { from: PERSON, id: "A", ...attrs }, ...(content ? { content } : {}) };
};

test.each<[string, BinaryNode, string[]]>([
  ["no type", receipt({}), ["A delivered"]],
  ["read", receipt({ type: "read" }), ["A read"]],
  ["played", receipt({ type: "played" }), ["A read"]],
  ["several at once", receipt({ type: "read" }, ["B", "C"]), ["A read", "B read", "C read"]],
  ["content that is no list", { ...receipt({}), content: new Uint8Array(3) }, ["A delivered"]],
  ["a request to send it again", { ...receipt({ type: "retry" }), content: [{ tag: "retry", attrs: {} }] }, []],
  ["another device of one's own", receipt({ type: "read-self", recipient: PERSON }), []],
  ["another device that has received what we wrote", receipt({ recipient: PERSON }), []],
  ["a group's participant", receipt({ from: "1@g.us", participant: PERSON }), []],
  ["a type like an object's own property", receipt({ type: "constructor" }), []],
])("a receipt: %s", (_, node, told) => {
  expect(statusesOf(node).map(({ id, status }) => `${id} ${status}`)).toEqual(told);
});

/** A socket's stanzas, and those that Baileys gets to see: it confirms each of them. */
function listening(store: (statuses: SentStatus[]) => Promise<boolean>) {
  const ws = new EventEmitter();
  const confirmed: BinaryNode[] = [];
  ws.on("CB:receipt", (node: BinaryNode) => void confirmed.push(node));
  storeReceiptsFirst({ ws } as unknown as WASocket, store);
  return { ws, confirmed };
}

test("a receipt is confirmed once it is stored, and not before", async () => {
  const storing = Promise.withResolvers<boolean>();
  const { ws, confirmed } = listening(() => storing.promise);
  const node = receipt({});
  ws.emit("CB:receipt", node);
  await Promise.resolve();
  expect(confirmed).toEqual([]);
  storing.resolve(true);
  await expect.poll(() => confirmed).toEqual([node]);
});

test("a receipt that cannot be stored any more is not confirmed, and what is no news is at once", async () => {
  const { ws, confirmed } = listening(async () => false);
  const again = receipt({ type: "retry" });
  ws.emit("CB:receipt", receipt({}));
  await Promise.resolve();
  ws.emit("CB:receipt", again);
  await Promise.resolve();
  expect(confirmed).toEqual([again]);
});
