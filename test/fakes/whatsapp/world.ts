import { EventEmitter, once } from "node:events";
import { type BinaryNode, S_WHATSAPP_NET, type proto, jidDecode } from "@whiskeysockets/baileys";
import type { Connection } from "./connection.ts";
import { type DeviceKeys, FakePerson } from "./person.ts";
import { el, phoneOfJid } from "./nodes.ts";
import { SendRules } from "./rules.ts";

/** A message that the server took: what the recipient's phone shows, once however often its id came. */
export interface ReceivedMessage {
  id: string;
  /** Phone numbers in E.164. */
  from: string;
  to: string;
  /** The JID that the client wrote to: a phone number or a LID. */
  chat: string;
  /** Text or caption. */
  text?: string;
  /** Missing as long as the recipient could not decrypt it. */
  message?: proto.IMessage;
  at: Date;
  /** How many stanzas with this id came. */
  relays: number;
  /** How many of them the recipient could not decrypt. */
  undecryptable: number;
}

/** The phones' receipts that come of themselves. */
export interface AutoReceipts {
  kind: "none" | "delivered" | "read";
  /** How long a phone takes for each of them. */
  delayMs?: number;
}

/** The service's end of an account: a linked device. */
export interface Companion {
  device: number;
  jid: string;
  lid: string;
  noiseKey: Buffer;
  keys: Omit<DeviceKeys, "preKey">;
  preKeys: { id: number; key: Buffer }[];
  /** Has not logged in yet: the phone will send its history. */
  fresh: boolean;
}

/** A phone number that a session was paired with. */
export class Account {
  readonly person: FakePerson;
  companion: Companion | undefined;
  connection: Connection | undefined;
  /** Logged in and told of everything that it missed. */
  ready = false;
  logins = 0;
  lastDevice = 0;
  readonly sockets = new Set<Connection>();
  /** What the client has not acknowledged: it comes again at the next login, as the real server does it. */
  readonly #pending = new Map<string, BinaryNode>();
  /** A restriction on writing to strangers, as `fetchAccountReachoutTimelock` reports it. */
  restriction: { enforcementType: string; until?: Date } | undefined;
  /** Queries that are refused for now, by `xmlns`: with which code. */
  readonly refusals = new Map<string, number>();

  constructor(person: FakePerson) {
    this.person = person;
  }

  deliver(node: BinaryNode): void {
    this.#pending.set(pendingKey(node.tag, node.attrs), node);
    if (this.ready) this.connection?.send(node);
  }

  get undelivered(): number {
    return this.#pending.size;
  }

  acknowledged(tag: string, attrs: BinaryNode["attrs"]): void {
    this.#pending.delete(pendingKey(tag, attrs));
  }

  /** Hands over what the client has missed, then says how much that was: until then Baileys keeps its events back. */
  catchUp(): void {
    const missed = [...this.#pending.values()];
    for (const [at, node] of missed.entries()) {
      this.connection?.send({ ...node, attrs: { ...node.attrs, offline: String(at + 1) } });
    }
    this.connection?.send(el("ib", { from: S_WHATSAPP_NET }, [el("offline", { count: String(missed.length) })]));
    this.ready = true;
  }
}

const pendingKey = (tag: string, { id, type }: BinaryNode["attrs"]) =>
  tag === "receipt" ? `${tag} ${id} ${type ?? ""}` : `${tag} ${id}`;

/** Everything that one fake knows; nothing is kept on a disk. */
export class World {
  readonly people = new Map<string, FakePerson>();
  readonly #byLid = new Map<string, FakePerson>();
  readonly accounts = new Map<string, Account>();
  readonly connections = new Set<Connection>();
  readonly unregistered = new Set<string>();
  /** Numbers that WhatsApp knows under another one, as Brazil's with and without the ninth digit. */
  readonly aliases = new Map<string, string>();
  readonly messages: ReceivedMessage[] = [];
  readonly #byId = new Map<string, ReceivedMessage>();
  readonly rules = new SendRules();
  autoReceipts: AutoReceipts = { kind: "none" };
  readonly receiptsFromClient: { phone: string; to: string; id: string; type: string | undefined }[] = [];
  readonly acksFromClient: { phone: string; of: string; id: string; error: string | undefined }[] = [];
  readonly chatStates: { from: string; to: string; state: string; at: Date }[] = [];
  readonly presences: { phone: string; type: string }[] = [];
  /** Errors in the fake itself: empty, unless a client breaks the protocol or the fake is wrong. */
  readonly faults: unknown[] = [];
  readonly unknownIqs: string[] = [];
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #events = new EventEmitter().setMaxListeners(0);
  stanzas = 0;

  person(phone: string): FakePerson {
    let person = this.people.get(phone);
    if (person === undefined) {
      person = new FakePerson(phone);
      this.people.set(phone, person);
      this.#byLid.set(person.lidUser, person);
    }
    return person;
  }

  /** Who is on WhatsApp under this JID; LIDs are known once their phone number has been heard of. */
  personOf(jid: string): FakePerson | undefined {
    const decoded = jidDecode(jid);
    if (decoded?.server === "lid") return this.#byLid.get(decoded.user);
    const phone = phoneOfJid(jid);
    return phone === undefined || !this.isOnWhatsApp(phone) ? undefined : this.person(phone);
  }

  isOnWhatsApp(phone: string): boolean {
    return !this.unregistered.has(phone) && !this.aliases.has(phone);
  }

  account(phone: string): Account {
    const account = this.accounts.get(phone) ?? new Account(this.person(phone));
    this.accounts.set(phone, account);
    return account;
  }

  /** The account of a session; throws when the number has never been paired. */
  pairedAccount(phone: string): Account & { companion: Companion } {
    const account = this.accounts.get(phone);
    if (account?.companion === undefined) throw new Error(`${phone} is not paired`);
    return account as Account & { companion: Companion };
  }

  message(from: string, to: string, id: string): ReceivedMessage | undefined {
    return this.#byId.get(`${from} ${to} ${id}`);
  }

  addMessage(message: ReceivedMessage): ReceivedMessage {
    this.messages.push(message);
    this.#byId.set(`${message.from} ${message.to} ${message.id}`, message);
    return message;
  }

  /** Now, or after a while unless the fake stops first. */
  later(delayMs: number, act: () => void): void {
    if (delayMs <= 0) return act();
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, delayMs);
    this.#timers.add(timer);
  }

  /** To be called after each change that somebody may wait for. */
  changed(): void {
    this.#events.emit("change");
  }

  /** Resolves to the first value of `look` that is not undefined; rejects after `timeoutMs`. */
  async until<T>(look: () => T | undefined, timeoutMs: number, what: string): Promise<T> {
    const signal = AbortSignal.timeout(timeoutMs);
    for (let found = look(); ; found = look()) {
      if (found !== undefined) return found;
      await once(this.#events, "change", { signal }).catch(() => {
        throw new Error(`${what}: not within ${timeoutMs} ms`);
      });
    }
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    for (const connection of this.connections) connection.destroy();
    for (const person of this.people.values()) person.close();
  }
}
