import { createHash, randomBytes } from "node:crypto";
import {
  type BinaryNode,
  Curve,
  DEFAULT_CONNECTION_CONFIG,
  type KeyPair,
  type SignalRepositoryWithLIDStore,
  addTransactionCapability,
  encodeBigEndian,
  encodeWAMessage,
  generateSignalPubKey,
  initAuthCreds,
  proto,
  unpadRandomMax16,
} from "@whiskeysockets/baileys";
import { memoryKeys } from "./memory-keys.ts";
import { el } from "./nodes.ts";
import { silentLogger } from "./quiet.ts";

/** The public half of a device: what others need to write to it. Keys are 32 bytes, without the type byte. */
export interface DeviceKeys {
  registrationId: number;
  identityKey: Buffer;
  signedPreKey: { id: number; key: Buffer; signature: Buffer };
  preKey?: { id: number; key: Buffer };
}

// All fake people have this one identity: a signature takes 6 ms of pure JavaScript, too long for thousands of them.
let shared: ReturnType<typeof initAuthCreds> | undefined;

/**
 * Somebody with WhatsApp on a phone: one device (number 0) with Signal sessions of its own, which really decrypts what it
 * is sent and really encrypts what it writes. Made at the first contact.
 *
 * Whoever writes to a person is known to them by LID (`…:4@lid`), never by phone number: it saves the mapping.
 */
export class FakePerson {
  readonly phone: string;
  readonly jid: string;
  /** The user part of `lid`; derived from the phone number, so it is the same in every run. */
  readonly lidUser: string;
  readonly lid: string;
  readonly identity: KeyPair;
  readonly registrationId = randomBytes(2).readUInt16BE() & 0x3fff;
  readonly #signedPreKey;
  readonly #keys = memoryKeys();
  readonly #signal: SignalRepositoryWithLIDStore;
  #nextPreKeyId = 1;

  constructor(phone: string) {
    this.phone = phone;
    this.jid = `${phone.slice(1)}@s.whatsapp.net`;
    this.lidUser = String(10n ** 14n + (createHash("sha256").update(phone).digest().readBigUInt64BE() % 10n ** 14n));
    this.lid = `${this.lidUser}@lid`;
    shared ??= initAuthCreds();
    this.identity = shared.signedIdentityKey;
    this.#signedPreKey = shared.signedPreKey;
    const keys = addTransactionCapability(this.#keys, silentLogger, { maxCommitRetries: 1, delayBetweenTriesMs: 1 });
    const creds = { ...shared, registrationId: this.registrationId };
    this.#signal = DEFAULT_CONNECTION_CONFIG.makeSignalRepository({ creds, keys }, silentLogger);
  }

  /** The `<user>` of this person in the answer to a query for keys, with a new one-time key each time. */
  keyBundle(jid: string): BinaryNode {
    const id = this.#nextPreKeyId++;
    const preKey = Curve.generateKeyPair();
    this.#keys.set({ "pre-key": { [id]: preKey } });
    const { keyId, keyPair, signature } = this.#signedPreKey;
    return el("user", { jid }, [
      el("registration", {}, encodeBigEndian(this.registrationId)),
      el("type", {}, Buffer.from([5])),
      el("identity", {}, this.identity.public),
      el("skey", {}, [
        el("id", {}, encodeBigEndian(keyId, 3)),
        el("value", {}, keyPair.public),
        el("signature", {}, signature),
      ]),
      el("key", {}, [el("id", {}, encodeBigEndian(id, 3)), el("value", {}, preKey.public)]),
    ]);
  }

  /** Throws what libsignal throws: a used counter, no session, a bad MAC. */
  async decrypt(from: string, type: string | undefined, ciphertext: Buffer): Promise<proto.IMessage> {
    const kind = type === "pkmsg" ? "pkmsg" : "msg";
    const padded = await this.#signal.decryptMessage({ jid: from, type: kind, ciphertext });
    return proto.Message.decode(unpadRandomMax16(padded));
  }

  encrypt(to: string, message: proto.IMessage): Promise<{ type: "pkmsg" | "msg"; ciphertext: Uint8Array }> {
    return this.#signal.encryptMessage({ jid: to, data: encodeWAMessage(message) });
  }

  async hasSession(jid: string): Promise<boolean> {
    return (await this.#signal.validateSession(jid)).exists;
  }

  /** Begins a new session with a device, in place of the one there was. */
  async beginSession(jid: string, { registrationId, identityKey, signedPreKey, preKey }: DeviceKeys): Promise<void> {
    await this.#signal.deleteSession([jid]);
    const session = {
      registrationId,
      identityKey: generateSignalPubKey(identityKey),
      signedPreKey: {
        keyId: signedPreKey.id,
        publicKey: generateSignalPubKey(signedPreKey.key),
        signature: signedPreKey.signature,
      },
      ...(preKey && { preKey: { keyId: preKey.id, publicKey: generateSignalPubKey(preKey.key) } }),
    };
    await this.#signal.injectE2ESession({ jid, session });
  }

  close(): void {
    this.#signal.close?.();
  }
}
