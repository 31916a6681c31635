import { type BinaryNode, type proto, encodeBigEndian, getBinaryNodeChildren } from "@whiskeysockets/baileys";
import type { Connection } from "./connection.ts";
import { bytesOf, el, find, nowInSeconds } from "./nodes.ts";
import type { FakePerson } from "./person.ts";
import type { Account, ReceivedMessage, World } from "./world.ts";

export type ReceiptKind = "delivered" | "read" | "retry";

/** Does with a message of a client what the rules say. */
export async function takeMessage(world: World, account: Account, connection: Connection, node: BinaryNode) {
  world.stanzas += 1;
  const { to = "" } = node.attrs;
  const { phone } = account.person;
  const recipient = world.personOf(to);
  // To the own phone: requests of the library to the app, which it need not answer.
  if (node.attrs["category"] === "peer") return connection.send(ackOf(node));
  const rule = world.rules.next(phone, recipient?.phone);
  const outcome = rule?.outcome ?? "ack";
  if (outcome === "drop") return world.changed();
  if (outcome === "disconnect-before") return connection.destroy();
  if (typeof outcome === "object") return connection.send(ackOf(node, outcome.error));
  const accepted = recipient && (await accept(world, account, recipient, node));
  if (outcome === "accept-then-disconnect") connection.destroy();
  world.later(rule?.delayMs ?? 0, () => {
    if (outcome === "ack") connection.send(ackOf(node));
    if (accepted !== undefined) autoReceipt(world, accepted);
  });
  world.changed();
}

function ackOf({ attrs }: BinaryNode, error?: number): BinaryNode {
  const from = attrs["to"];
  return el("ack", { class: "message", id: attrs["id"], from, t: nowInSeconds(), error: error?.toString() });
}

/** The recipient's phone decrypts each stanza, shows an id once, and asks again for what it cannot read. */
async function accept(world: World, account: Account, recipient: FakePerson, node: BinaryNode) {
  const enc = encryptedFor(recipient, node);
  if (enc === undefined || account.companion === undefined) return undefined;
  const { id = "", to: chat = "" } = node.attrs;
  const from = account.person.phone;
  const known = world.message(from, recipient.phone, id);
  let message: proto.IMessage | undefined;
  try {
    message = await recipient.decrypt(account.companion.lid, enc.attrs["type"], bytesOf(enc));
  } catch {
    // Not an error of the fake: a client that lost its last writes uses counters a second time.
  }
  const fresh = { id, from, to: recipient.phone, chat, at: new Date(), relays: 0, undecryptable: 0 };
  const entry = known ?? world.addMessage(fresh);
  entry.relays += 1;
  if (message === undefined) {
    entry.undecryptable += 1;
    // A phone gives up after five times; what it has shown already it does not ask for.
    if (entry.message === undefined && entry.undecryptable <= 5) sendReceipt(world, entry, "retry");
  } else if (entry.message === undefined) {
    entry.message = message;
    const text = textOf(message);
    if (text !== undefined) entry.text = text;
  }
  return entry;
}

function encryptedFor(recipient: FakePerson, node: BinaryNode): BinaryNode | undefined {
  const copies = getBinaryNodeChildren(find(node, "participants"), "to");
  const own = copies.find(({ attrs }) => attrs["jid"] === recipient.jid || attrs["jid"] === recipient.lid);
  // A resend to one device has no list of participants.
  return find(own, "enc") ?? find(node, "enc");
}

function textOf(message: proto.IMessage): string | undefined {
  const { conversation, extendedTextMessage, imageMessage, videoMessage, documentMessage } = message;
  const captions = [imageMessage, videoMessage, documentMessage].map((media) => media?.caption);
  return [conversation, extendedTextMessage?.text, ...captions].find((text) => text) ?? undefined;
}

/** What the recipient's phone tells the sender about a message. */
export function sendReceipt(world: World, entry: ReceivedMessage, kind: ReceiptKind, byLid = false): void {
  const { id } = entry;
  const from = byLid ? world.person(entry.to).lid : entry.chat;
  const t = nowInSeconds();
  const type = kind === "delivered" ? undefined : kind;
  const count = String(Math.max(1, entry.undecryptable));
  const registration = encodeBigEndian(world.person(entry.to).registrationId);
  const retry = [el("retry", { count, id, t, v: "1" }), el("registration", {}, registration)];
  world.account(entry.from).deliver(el("receipt", { from, id, t, type }, kind === "retry" ? retry : undefined));
}

function autoReceipt(world: World, entry: ReceivedMessage): void {
  const { kind, delayMs = 0 } = world.autoReceipts;
  if (kind === "none" || entry.message === undefined) return;
  world.later(delayMs, () => {
    sendReceipt(world, entry, "delivered");
    if (kind === "read") world.later(delayMs, () => sendReceipt(world, entry, "read"));
  });
}
