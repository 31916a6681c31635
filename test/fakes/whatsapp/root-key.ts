import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import { Curve, WA_CERT_DETAILS, proto } from "@whiskeysockets/baileys";

const PKCS8_X25519 = Buffer.from("302e020100300506032b656e04220420", "hex");

/** The key pair that belongs to a word: the same in every process, so that another process can trust it. */
function keyPairOf(seed: string) {
  const secret = createHash("sha256").update(seed).digest();
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_X25519, secret]), format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return { private: secret, public: Buffer.from(spki.subarray(-32)) };
}

const root = keyPairOf("fake-whatsapp root certificate");
const intermediate = keyPairOf("fake-whatsapp intermediate certificate");

/** The static key of the server's end of the Noise handshake. */
export const SERVER_STATIC = keyPairOf("fake-whatsapp server");

/** The root of the fake's certificate chain, fixed; a service in another process sets it in `WA_CERT_DETAILS.PUBLIC_KEY`. */
export const FAKE_WHATSAPP_ROOT = root.public;

/**
 * Makes Baileys in this process take the fake's certificate.
 *
 * Baileys 7.0.0-rc14 does not need it: its `Curve.verify` drops the result of the check and is true for any well-formed
 * signature. Call it all the same, or the tests break with the release that mends this.
 */
export function trustFakeWhatsApp(): void {
  WA_CERT_DETAILS.PUBLIC_KEY = FAKE_WHATSAPP_ROOT;
}

let chain: Uint8Array | undefined;

/** Leaf and intermediate certificate, made once: a signature takes 6 ms. */
export function certificateChain(): Uint8Array {
  chain ??= proto.CertChain.encode({
    intermediate: certificate(1, 0, intermediate.public, root.private),
    leaf: certificate(2, 1, SERVER_STATIC.public, intermediate.private),
  }).finish();
  return chain;
}

function certificate(serial: number, issuerSerial: number, key: Buffer, signer: Buffer) {
  const details = proto.CertChain.NoiseCertificate.Details.encode({ serial, issuerSerial, key }).finish();
  return { details, signature: Curve.sign(signer, details) };
}
