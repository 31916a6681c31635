import { deflateSync } from "node:zlib";
import { type BinaryNode, proto } from "@whiskeysockets/baileys";
import type { Connection, ConnectionEvents } from "./connection.ts";
import { type Inbound, historyNotice, takeReceipt } from "./inbound.ts";
import { answerIq } from "./iq.ts";
import type { FakeMedia } from "./media.ts";
import { e164, el, find, nowInSeconds, phoneOfJid } from "./nodes.ts";
import type { ClientFinish } from "./noise.ts";
import { takeMessage } from "./outgoing.ts";
import type { Pairing } from "./pairing.ts";
import type { Account, World } from "./world.ts";

/** Logins, and what a client that is logged in says. */
export class Sessions implements ConnectionEvents {
  readonly #world: World;
  readonly #pairing: Pairing;
  readonly #inbound: Inbound;
  readonly #media: FakeMedia;
  readonly #accounts = new Map<Connection, Account>();
  readonly refusals = new Map<string, { reason: number; times: number }>();
  /** Clients older than this are refused with 405. */
  minVersion: [number, number, number] | undefined;

  constructor(world: World, pairing: Pairing, inbound: Inbound, media: FakeMedia) {
    this.#world = world;
    this.#pairing = pairing;
    this.#inbound = inbound;
    this.#media = media;
  }

  finish(connection: Connection, client: ClientFinish): void {
    if (this.#isOld(client)) return connection.failure(405);
    if (client.payload.devicePairingData) return this.#pairing.begin(connection, client);
    this.#login(connection, client);
  }

  async node(connection: Connection, node: BinaryNode): Promise<void> {
    const account = this.#accounts.get(connection);
    if (account !== undefined) return this.#take(account, connection, node);
    if (node.tag === "iq" && this.#pairing.has(connection)) this.#pairing.takeIq(connection, node);
  }

  closed(connection: Connection): void {
    this.#world.connections.delete(connection);
    this.#pairing.forget(connection);
    const account = this.#accounts.get(connection);
    this.#accounts.delete(connection);
    account?.sockets.delete(connection);
    if (account?.connection === connection) {
      account.connection = undefined;
      account.ready = false;
    }
    this.#world.changed();
  }

  fault(error: unknown): void {
    this.#world.faults.push(error);
  }

  #isOld({ payload }: ClientFinish): boolean {
    if (this.minVersion === undefined) return false;
    const { primary, secondary, tertiary } = payload.userAgent?.appVersion ?? {};
    const version = [primary ?? 0, secondary ?? 0, tertiary ?? 0];
    const at = this.minVersion.findIndex((part, index) => part !== version[index]);
    return at >= 0 && (version[at] ?? 0) < (this.minVersion[at] ?? 0);
  }

  #login(connection: Connection, { staticKey, payload }: ClientFinish): void {
    const phone = e164(String(payload.username ?? ""));
    const refusal = this.refusals.get(phone);
    if (refusal !== undefined && refusal.times > 0) {
      refusal.times -= 1;
      return connection.failure(refusal.reason);
    }
    const account = this.#world.accounts.get(phone);
    const companion = account?.companion;
    const same = companion?.device === payload.device && companion?.noiseKey.equals(staticKey);
    if (account === undefined || companion === undefined || !same) return connection.failure(401);
    account.connection?.streamError(undefined, el("conflict", { type: "replaced" }));
    account.connection = connection;
    account.ready = false;
    account.sockets.add(connection);
    account.logins += 1;
    this.#accounts.set(connection, account);
    const t = nowInSeconds();
    connection.send(el("success", { t, creation: t, lid: companion.lid, location: "fake" }));
    this.#world.changed();
  }

  async #take(account: Account, connection: Connection, node: BinaryNode): Promise<void> {
    const { attrs, tag } = node;
    switch (tag) {
      case "iq":
        return this.#takeIq(account, connection, node);
      case "message":
        return takeMessage(this.#world, account, connection, node);
      case "receipt":
        return takeReceipt(this.#world, this.#inbound, account, connection, node);
      case "ack":
        return this.#takeAck(account, node);
      case "presence":
        this.#world.presences.push({ phone: account.person.phone, type: attrs["type"] ?? "name" });
        return this.#world.changed();
      case "chatstate":
        return this.#takeChatState(account, node);
      default:
    }
  }

  async #takeIq(account: Account, connection: Connection, iq: BinaryNode): Promise<void> {
    if (iq.attrs["type"] === "result") return;
    if (find(iq, "remove-companion-device")) {
      account.companion = undefined;
      connection.send(answerIq({ world: this.#world, account, media: this.#media, iq }));
      return this.#world.changed();
    }
    connection.send(answerIq({ world: this.#world, account, media: this.#media, iq }));
    if (iq.attrs["xmlns"] !== "passive" || account.ready || account.connection !== connection) return;
    account.catchUp();
    await this.#sendHistory(account);
    this.#world.changed();
  }

  async #sendHistory(account: Account): Promise<void> {
    if (!account.companion?.fresh) return;
    account.companion.fresh = false;
    const syncType = proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP;
    const { jid: pnJid, lid: lidJid } = account.person;
    const history = proto.HistorySync.encode({ syncType, phoneNumberToLidMappings: [{ pnJid, lidJid }] }).finish();
    const name = "Fake Phone";
    await this.#inbound.send(account, account.person, historyNotice(deflateSync(history)), { name });
  }

  #takeAck(account: Account, { attrs }: BinaryNode): void {
    const { class: of = "", id = "", error } = attrs;
    this.#world.acksFromClient.push({ phone: account.person.phone, of, id, error });
    account.acknowledged(of, attrs);
    this.#world.changed();
  }

  #takeChatState(account: Account, { attrs, content }: BinaryNode): void {
    const to = this.#world.personOf(attrs["to"] ?? "")?.phone ?? phoneOfJid(attrs["to"] ?? "") ?? "";
    const state = Array.isArray(content) ? (content[0]?.tag ?? "") : "";
    this.#world.chatStates.push({ from: account.person.phone, to, state, at: new Date() });
    this.#world.changed();
  }
}
