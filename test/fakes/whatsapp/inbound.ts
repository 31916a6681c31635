import { randomBytes } from "node:crypto";
import { type BinaryNode, S_WHATSAPP_NET, getBinaryNodeChildren, proto } from "@whiskeysockets/baileys";
import type { Connection } from "./connection.ts";
import { bytesOf, el, find, nowInSeconds, unsigned } from "./nodes.ts";
import type { DeviceKeys, FakePerson } from "./person.ts";
import type { Account, Companion, World } from "./world.ts";

export interface InboundOptions {
  /** Writes from the LID, with the phone number beside it, as WhatsApp does more and more; by phone number by default. */
  byLid?: boolean;
  /** Writes from the LID, and WhatsApp does not say which number that is. */
  hidesPhone?: boolean;
  /** As the sender's client has chosen it. */
  id?: string;
  /** The sender's name as they chose it. */
  name?: string;
  /** The ciphertext is spoilt: the client cannot decrypt it. */
  spoilt?: boolean;
  /** Whether the sender's phone encrypts anew when the client asks for it; it does by default. */
  resends?: boolean;
}

interface Sent extends InboundOptions {
  person: FakePerson;
  message: proto.IMessage;
}

/** Messages to the sessions: their retries need what was in them. */
export class Inbound {
  readonly #sent = new Map<string, Sent>();

  /** Sends an encrypted message to a session, or keeps it until that logs in; returns its id. */
  async send(account: Account, person: FakePerson, message: proto.IMessage, options: InboundOptions): Promise<string> {
    const { id = `3A${randomBytes(9).toString("hex").toUpperCase()}` } = options;
    const sent = { ...options, person, message };
    this.#sent.set(id, sent);
    await this.#deliver(account, id, sent, 0);
    return id;
  }

  /** Delivers a message once more under its id, encrypted anew. */
  async repeat(account: Account, id: string): Promise<void> {
    const sent = this.#sent.get(id);
    if (sent === undefined) throw new Error(`no message ${id} was sent`);
    await this.#deliver(account, id, sent, 0);
  }

  /** The client asks for a message again: a new session with its keys, the same id. */
  async resend(account: Account, receipt: BinaryNode): Promise<void> {
    const { id = "" } = receipt.attrs;
    const sent = this.#sent.get(id);
    const { companion } = account;
    if (sent === undefined || sent.resends === false || companion === undefined) return;
    await sent.person.beginSession(companion.lid, retryKeys(companion, receipt) ?? takeKeys(companion));
    const count = Number(find(receipt, "retry")?.attrs["count"] ?? 1);
    await this.#deliver(account, id, { ...sent, spoilt: false }, count);
  }

  async #deliver(account: Account, id: string, sent: Sent, retries: number): Promise<void> {
    const { person, message, byLid = false, hidesPhone = false, name = "Somebody", spoilt = false } = sent;
    const { companion } = account;
    if (companion === undefined) throw new Error(`${account.person.phone} is not paired`);
    if (!(await person.hasSession(companion.lid))) await person.beginSession(companion.lid, takeKeys(companion));
    const { type, ciphertext } = await person.encrypt(companion.lid, message);
    const content = Buffer.from(ciphertext);
    // The last bytes are the MAC of the message, or belong to it.
    if (spoilt) content.writeUInt8(content.readUInt8(content.length - 1) ^ 0xff, content.length - 1);
    const lid = { from: person.lid, addressing_mode: "lid" };
    const named = byLid ? { ...lid, sender_pn: person.jid } : { from: person.jid, sender_lid: person.lid };
    const addressed = hidesPhone ? lid : named;
    const own = person === account.person;
    const category = own ? "peer" : undefined;
    const attrs = {
      ...(own ? { from: person.jid } : addressed),
      id,
      t: nowInSeconds(),
      type: "text",
      notify: name,
      category,
    };
    const count = retries === 0 ? undefined : String(retries);
    account.deliver(el("message", attrs, [el("enc", { v: "2", type, count }, content)]));
  }
}

/** Notes the client's receipt, acknowledges it, and answers a request for a retry. */
export async function takeReceipt(
  world: World,
  inbound: Inbound,
  account: Account,
  connection: Connection,
  node: BinaryNode,
): Promise<void> {
  const { id = "", to = "", type } = node.attrs;
  const more = getBinaryNodeChildren(find(node, "list"), "item").map(({ attrs }) => attrs["id"] ?? "");
  for (const one of [id, ...more]) {
    world.receiptsFromClient.push({ phone: account.person.phone, to, id: one, type });
    account.acknowledged("message", { id: one });
  }
  connection.send(el("ack", { class: "receipt", id, from: to, type, t: nowInSeconds() }));
  if (type === "retry") await inbound.resend(account, node);
  world.changed();
}

/** What a phone sends to a device that it has just linked; Baileys holds its events back for 20 s waiting for it. */
export function historyNotice(payload: Uint8Array): proto.IMessage {
  const { HISTORY_SYNC_NOTIFICATION } = proto.Message.ProtocolMessage.Type;
  const syncType = proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP;
  const historySyncNotification = {
    syncType,
    initialHistBootstrapInlinePayload: payload,
    chunkOrder: 1,
    progress: 100,
  };
  return { protocolMessage: { type: HISTORY_SYNC_NOTIFICATION, historySyncNotification } };
}

/** A notification of the server itself, delivered until it is acknowledged. */
export function notify(account: Account, type: string, content: BinaryNode[]): void {
  const id = randomBytes(5).readUIntBE(0, 5).toString();
  account.deliver(el("notification", { from: S_WHATSAPP_NET, id, type, t: nowInSeconds() }, content));
}

/** The keys of a device with the next of its one-time keys, as long as there are any. */
function takeKeys(companion: Companion): DeviceKeys {
  const preKey = companion.preKeys.shift();
  return { ...companion.keys, ...(preKey && { preKey }) };
}

/** From its second request on a client sends fresh keys along. */
function retryKeys(companion: Companion, receipt: BinaryNode): DeviceKeys | undefined {
  const keys = find(receipt, "keys");
  if (keys === undefined) return undefined;
  const numbered = (tag: string) => ({ id: unsigned(bytesOf(keys, tag, "id")), key: bytesOf(keys, tag, "value") });
  return {
    registrationId: companion.keys.registrationId,
    identityKey: bytesOf(keys, "identity"),
    signedPreKey: { ...numbered("skey"), signature: bytesOf(keys, "skey", "signature") },
    preKey: numbered("key"),
  };
}
