import { createHmac, randomBytes } from "node:crypto";
import {
  type BinaryNode,
  Curve,
  S_WHATSAPP_NET,
  WA_ADV_ACCOUNT_SIG_PREFIX,
  aesDecryptCTR,
  aesDecryptGCM,
  aesEncryptCTR,
  derivePairingCodeKey,
  hkdf,
  proto,
} from "@whiskeysockets/baileys";
import type { Connection } from "./connection.ts";
import { bytesOf, e164, el, find, iqResult, nowInSeconds, phoneOfJid, unsigned } from "./nodes.ts";
import type { ClientFinish } from "./noise.ts";
import type { FakePerson } from "./person.ts";
import type { Account, Companion, World } from "./world.ts";

/** A client that wants to be linked. */
interface Candidate {
  connection: Connection;
  noiseKey: Buffer;
  keys: Companion["keys"];
  refs: string[];
  /** Secrets that a `companion_reg_refresh` has made worthless. */
  retired: Set<string>;
  hello?: { phone: string; wrappedEphemeral: Buffer };
  finish?: PromiseWithResolvers<BinaryNode>;
}

/** The server's and the phone's part in linking a device. */
export class Pairing {
  readonly #world: World;
  readonly #candidates = new Map<Connection, Candidate>();
  /** The next scan is answered by `companion_reg_refresh` instead of a pairing. */
  interruptNextScan = false;
  /** As many as WhatsApp gives; a client shows each for 20 s or more, then gives up. */
  refCount = 6;

  constructor(world: World) {
    this.#world = world;
  }

  has(connection: Connection): boolean {
    return this.#candidates.has(connection);
  }

  codeAsked(phone: string): boolean {
    return [...this.#candidates.values()].some(({ hello }) => hello?.phone === phone);
  }

  /** The connections of all that want to be linked break. */
  break(): void {
    for (const connection of this.#candidates.keys()) connection.destroy();
  }

  forget(connection: Connection): void {
    this.#candidates.get(connection)?.finish?.reject(new Error("the client went away"));
    this.#candidates.delete(connection);
  }

  /** Sends the references for the QR codes. */
  begin(connection: Connection, { staticKey, payload }: ClientFinish): void {
    const { eRegid, eIdent, eSkeyId, eSkeyVal, eSkeySig } = payload.devicePairingData ?? {};
    const [id, identity, skeyId, skey, signature] = [eRegid, eIdent, eSkeyId, eSkeyVal, eSkeySig].map((bytes) =>
      Buffer.from(bytes ?? []),
    ) as [Buffer, Buffer, Buffer, Buffer, Buffer];
    const signedPreKey = { id: unsigned(skeyId), key: skey, signature };
    const keys = { registrationId: unsigned(id), identityKey: identity, signedPreKey };
    const refs = Array.from({ length: this.refCount }, () => `2@${randomBytes(48).toString("base64")}`);
    this.#candidates.set(connection, { connection, noiseKey: staticKey, keys, refs, retired: new Set() });
    const children = refs.map((ref) => el("ref", {}, Buffer.from(ref)));
    // Fails when the client goes away, which is nothing to worry about.
    connection
      .query(el("iq", { from: S_WHATSAPP_NET, type: "set" }, [el("pair-device", {}, children)]))
      .catch(() => {});
    this.#world.changed();
  }

  /** The IQs of a client that is not linked yet: those of the pairing code. */
  takeIq(connection: Connection, iq: BinaryNode): void {
    const candidate = this.#candidates.get(connection);
    const link = find(iq, "link_code_companion_reg");
    const stage = link?.attrs["stage"];
    if (candidate === undefined || link === undefined) return connection.send(iqResult(iq.attrs["id"]));
    if (stage === "companion_finish") return candidate.finish?.resolve(iq);
    // 9 is the number of a browser that WhatsApp does not know: it takes no pairing code from that.
    if (bytesOf(link, "companion_platform_id").toString() === "9") {
      return connection.send(iqResult(iq.attrs["id"], undefined, 400));
    }
    const phone = phoneOfJid(link.attrs["jid"] ?? "") ?? "";
    candidate.hello = { phone, wrappedEphemeral: bytesOf(link, "link_code_pairing_wrapped_companion_ephemeral_pub") };
    const ref = el("link_code_pairing_ref", {}, randomBytes(16));
    connection.send(iqResult(iq.attrs["id"], [el("link_code_companion_reg", { stage }, [ref])]));
    this.#world.changed();
  }

  /** Retires the secret in a QR at once, as the server does since mid-2026 when it feels like it. */
  interrupt(qr: string): void {
    const { candidate, secret } = this.#read(qr);
    candidate.retired.add(secret);
    const attrs = { from: S_WHATSAPP_NET, type: "companion_reg_refresh", id: randomBytes(4).readUInt32BE().toString() };
    candidate.connection.send(el("notification", { ...attrs, t: nowInSeconds() }, [el("companion_reg_refresh")]));
  }

  /** A phone scans a QR: resolves when the client has been linked and told to reconnect (515). */
  async scan(phone: string, qr: string): Promise<void> {
    const { candidate, secret } = this.#read(qr);
    if (this.interruptNextScan) {
      this.interruptNextScan = false;
      this.interrupt(qr);
    }
    if (candidate.retired.has(secret)) throw new Error("couldn't link the device: the QR was retired");
    await this.#link(this.#world.account(e164(phone)), candidate, Buffer.from(secret, "base64"));
  }

  /** A phone's owner types the code that the client shows. */
  async enterCode(phone: string, typed: string): Promise<void> {
    const account = this.#world.account(e164(phone));
    const code = typed.replaceAll("-", "").toUpperCase();
    const candidate = [...this.#candidates.values()].findLast(({ hello }) => hello?.phone === account.person.phone);
    if (candidate?.hello === undefined) throw new Error(`nobody has asked for a code for ${account.person.phone}`);
    const companionEphemeral = await unwrapWithCode(candidate.hello.wrappedEphemeral, code);
    const ephemeral = Curve.generateKeyPair();
    const ref = randomBytes(16);
    const finish = await this.#finishOf(candidate, [
      el("link_code_pairing_ref", {}, ref),
      el("primary_identity_pub", {}, account.person.identity.public),
      el("link_code_pairing_wrapped_primary_ephemeral_pub", {}, await wrapWithCode(ephemeral.public, code)),
    ]);
    const link = find(finish, "link_code_companion_reg");
    const sharedKey = Curve.sharedKey(ephemeral.private, companionEphemeral);
    const identity = bytesOf(link, "companion_identity_public");
    const random = openBundle(bytesOf(link, "link_code_pairing_wrapped_key_bundle"), sharedKey);
    const right = random !== undefined && bytesOf(link, "link_code_pairing_ref").equals(ref);
    candidate.connection.send(iqResult(finish.attrs["id"], undefined, right ? undefined : 400));
    if (!right) throw new Error("couldn't link the device: wrong code");
    const shared = Curve.sharedKey(account.person.identity.private, identity);
    const secret = hkdf(Buffer.concat([sharedKey, shared, random]), 32, { info: "adv_secret" });
    await this.#link(account, candidate, Buffer.from(secret));
  }

  #finishOf(candidate: Candidate, content: BinaryNode[]): Promise<BinaryNode> {
    const attrs = { from: S_WHATSAPP_NET, type: "link_code_companion_reg", id: "link-code", t: nowInSeconds() };
    candidate.finish = Promise.withResolvers<BinaryNode>();
    const link = el("link_code_companion_reg", { stage: "primary_hello" }, content);
    candidate.connection.send(el("notification", attrs, [link]));
    return candidate.finish.promise;
  }

  #read(qr: string): { candidate: Candidate; secret: string } {
    const [ref = "", noiseKey = "", identity = "", secret = ""] = qr.slice(qr.indexOf("#") + 1).split(",");
    const candidate = [...this.#candidates.values()].find(({ refs }) => refs.includes(ref));
    if (candidate === undefined) throw new Error("couldn't link the device: the QR has expired");
    const same = candidate.noiseKey.toString("base64") === noiseKey;
    if (!same || candidate.keys.identityKey.toString("base64") !== identity) throw new Error("the QR has wrong keys");
    return { candidate, secret };
  }

  async #link(account: Account, { connection, noiseKey, keys }: Candidate, secret: Buffer): Promise<void> {
    const companion = companionOf(account, noiseKey, keys);
    const { person } = account;
    const details = proto.ADVSignedDeviceIdentity.encode(deviceIdentity(person, companion)).finish();
    const hmac = createHmac("sha256", secret).update(details).digest();
    const success = el("pair-success", {}, [
      el("device-identity", {}, proto.ADVSignedDeviceIdentityHMAC.encode({ details, hmac }).finish()),
      el("device", { jid: companion.jid, lid: companion.lid }),
      el("platform", { name: "android" }),
    ]);
    await connection.query(el("iq", { from: S_WHATSAPP_NET, type: "set", t: nowInSeconds() }, [success]));
    this.forget(connection);
    account.companion = companion;
    connection.streamError(515);
    this.#world.changed();
  }
}

/** The next device of an account; a fake account has one linked device, so this one takes the place of the last. */
export function companionOf(account: Account, noiseKey: Buffer, keys: Companion["keys"]): Companion {
  const device = ++account.lastDevice;
  const { phone, lidUser } = account.person;
  const jid = `${phone.slice(1)}:${device}@s.whatsapp.net`;
  return { device, jid, lid: `${lidUser}:${device}@lid`, noiseKey, keys, preKeys: [], fresh: true };
}

/** The phone's signature under a device of its account. */
export function deviceIdentity(person: FakePerson, companion: Companion): proto.IADVSignedDeviceIdentity {
  const { device: keyIndex } = companion;
  const identity = { rawId: keyIndex, timestamp: Number(nowInSeconds()), keyIndex, deviceType: 0 };
  const details = proto.ADVDeviceIdentity.encode(identity).finish();
  const signed = Buffer.concat([WA_ADV_ACCOUNT_SIG_PREFIX, details, companion.keys.identityKey]);
  const accountSignature = Curve.sign(person.identity.private, signed);
  return { details, accountSignature, accountSignatureKey: person.identity.public };
}

// salt (32) ‖ iv (16) ‖ key (32), encrypted with what is derived from the code
async function unwrapWithCode(wrapped: Buffer, code: string): Promise<Buffer> {
  const key = await derivePairingCodeKey(code, wrapped.subarray(0, 32));
  return aesDecryptCTR(wrapped.subarray(48, 80), key, wrapped.subarray(32, 48));
}

async function wrapWithCode(publicKey: Uint8Array, code: string): Promise<Buffer> {
  const [salt, iv] = [randomBytes(32), randomBytes(16)];
  return Buffer.concat([salt, iv, aesEncryptCTR(publicKey, await derivePairingCodeKey(code, salt), iv)]);
}

/** The random part of the client's bundle; undefined when the code was wrong, so that the two share no key. */
function openBundle(bundle: Buffer, sharedKey: Buffer): Buffer | undefined {
  const info = "link_code_pairing_key_bundle_encryption_key";
  const key = hkdf(sharedKey, 32, { salt: bundle.subarray(0, 32), info });
  try {
    return aesDecryptGCM(bundle.subarray(44), key, bundle.subarray(32, 44), Buffer.alloc(0)).subarray(64, 96);
  } catch {
    return undefined;
  }
}
