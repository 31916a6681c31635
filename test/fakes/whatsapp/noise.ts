import { createHash, hkdfSync } from "node:crypto";
import { Curve, NOISE_MODE, NOISE_WA_HEADER, aesDecryptGCM, aesEncryptGCM, proto } from "@whiskeysockets/baileys";
import { SERVER_STATIC, certificateChain } from "./root-key.ts";

const EMPTY = Buffer.alloc(0);

/** What a client has told about itself by the end of the handshake. */
export interface ClientFinish {
  staticKey: Buffer;
  payload: proto.ClientPayload;
}

interface Direction {
  key: Buffer;
  counter: number;
}

/**
 * The server's end of WhatsApp's Noise_XX handshake and its frames.
 *
 * States: waiting for the intro (`WA…`, or `ED…` with routing info) → hello → finish → transport. Both directions of the
 * transport have their own key and counter, so frames must be fed and sent strictly in order.
 */
export class ServerNoise {
  #hash: Buffer = Buffer.from(NOISE_MODE);
  #salt: Buffer = this.#hash;
  #key: Buffer = this.#hash;
  #counter = 0;
  #inbox: Buffer = EMPTY;
  #state: "intro" | "hello" | "finish" | "transport" = "intro";
  readonly #ephemeral = Curve.generateKeyPair();
  #clientEphemeral: Buffer = EMPTY;
  #read: Direction = { key: EMPTY, counter: 0 };
  #write: Direction = { key: EMPTY, counter: 0 };

  get inTransport(): boolean {
    return this.#state === "transport";
  }

  /** Takes bytes off the wire and returns the whole frames in them, still encrypted. */
  frames(bytes: Buffer): Buffer[] {
    this.#inbox = Buffer.concat([this.#inbox, bytes]);
    if (this.#state === "intro" && !this.#skipIntro()) return [];
    const frames: Buffer[] = [];
    while (this.#inbox.length >= 3 && this.#inbox.length >= 3 + this.#inbox.readUIntBE(0, 3)) {
      const end = 3 + this.#inbox.readUIntBE(0, 3);
      frames.push(this.#inbox.subarray(3, end));
      this.#inbox = this.#inbox.subarray(end);
    }
    return frames;
  }

  /** Answers the `clientHello`. */
  hello(frame: Buffer): Buffer {
    const { clientHello } = proto.HandshakeMessage.decode(frame);
    this.#clientEphemeral = Buffer.from(clientHello?.ephemeral ?? EMPTY);
    this.#authenticate(NOISE_WA_HEADER);
    this.#authenticate(this.#clientEphemeral);
    this.#authenticate(this.#ephemeral.public);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, this.#clientEphemeral));
    const sealedStatic = this.#encrypt(SERVER_STATIC.public);
    this.#mix(Curve.sharedKey(SERVER_STATIC.private, this.#clientEphemeral));
    const payload = this.#encrypt(certificateChain());
    this.#state = "finish";
    const serverHello = { ephemeral: this.#ephemeral.public, static: sealedStatic, payload };
    return this.#frame(proto.HandshakeMessage.encode({ serverHello }).finish());
  }

  /** Reads the `clientFinish` and switches to the transport keys. */
  finish(frame: Buffer): ClientFinish {
    const { clientFinish } = proto.HandshakeMessage.decode(frame);
    const staticKey = this.#decrypt(clientFinish?.static ?? EMPTY);
    this.#mix(Curve.sharedKey(this.#ephemeral.private, staticKey));
    const payload = proto.ClientPayload.decode(this.#decrypt(clientFinish?.payload ?? EMPTY));
    const [read, write] = this.#derive(EMPTY);
    this.#read = { key: read, counter: 0 };
    this.#write = { key: write, counter: 0 };
    this.#state = "transport";
    return { staticKey, payload };
  }

  open(frame: Buffer): Buffer {
    return aesDecryptGCM(frame, this.#read.key, iv(this.#read.counter++), EMPTY);
  }

  seal(plain: Uint8Array): Buffer {
    return this.#frame(aesEncryptGCM(plain, this.#write.key, iv(this.#write.counter++), EMPTY));
  }

  #skipIntro(): boolean {
    const routed = this.#inbox.subarray(0, 2).toString("latin1") === "ED";
    if (routed && this.#inbox.length < 7) return false;
    const length = NOISE_WA_HEADER.length + (routed ? 7 + this.#inbox.readUIntBE(4, 3) : 0);
    if (this.#inbox.length < length) return false;
    const header = this.#inbox.subarray(length - NOISE_WA_HEADER.length, length);
    if (!header.equals(NOISE_WA_HEADER))
      throw new Error(`not a WhatsApp client: it begins with ${header.toString("hex")}`);
    this.#inbox = this.#inbox.subarray(length);
    this.#state = "hello";
    return true;
  }

  #frame(bytes: Uint8Array): Buffer {
    const framed = Buffer.allocUnsafe(3 + bytes.length);
    framed.writeUIntBE(bytes.length, 0, 3);
    framed.set(bytes, 3);
    return framed;
  }

  #authenticate(bytes: Uint8Array): void {
    this.#hash = createHash("sha256").update(this.#hash).update(bytes).digest();
  }

  #derive(secret: Uint8Array): [Buffer, Buffer] {
    const derived = Buffer.from(hkdfSync("sha256", secret, this.#salt, EMPTY, 64));
    return [derived.subarray(0, 32), derived.subarray(32)];
  }

  #mix(secret: Uint8Array): void {
    [this.#salt, this.#key] = this.#derive(secret);
    this.#counter = 0;
  }

  #encrypt(plain: Uint8Array): Buffer {
    const sealed = aesEncryptGCM(plain, this.#key, iv(this.#counter++), this.#hash);
    this.#authenticate(sealed);
    return sealed;
  }

  #decrypt(sealed: Uint8Array): Buffer {
    const plain = aesDecryptGCM(sealed, this.#key, iv(this.#counter++), this.#hash);
    this.#authenticate(sealed);
    return plain;
  }
}

function iv(counter: number): Buffer {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(counter, 8);
  return bytes;
}
