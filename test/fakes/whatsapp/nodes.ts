import { type BinaryNode, S_WHATSAPP_NET, getBinaryNodeChild, jidDecode } from "@whiskeysockets/baileys";

type Content = BinaryNode["content"];

/** One element of the binary XML; attributes without a value are left out. */
export function el(tag: string, attrs: Record<string, string | undefined> = {}, content?: Content): BinaryNode {
  const present = Object.entries(attrs).filter((entry): entry is [string, string] => entry[1] !== undefined);
  return { tag, attrs: Object.fromEntries(present), ...(content === undefined ? {} : { content }) };
}

/** The answer to an IQ of the client: a result, or with a `code` an error. */
export function iqResult(id: string | undefined, content?: BinaryNode[], code?: number): BinaryNode {
  const attrs = { from: S_WHATSAPP_NET, id, type: code === undefined ? "result" : "error" };
  return el("iq", attrs, code === undefined ? content : [el("error", { code: String(code), text: "bad-request" })]);
}

/** The child at the end of a path of tags. */
export function find(node: BinaryNode | undefined, ...path: string[]): BinaryNode | undefined {
  return path.reduce<BinaryNode | undefined>((at, tag) => getBinaryNodeChild(at, tag), node);
}

/** The bytes of the child at the end of a path; a client that leaves it out is out of its mind, so this throws. */
export function bytesOf(node: BinaryNode | undefined, ...path: string[]): Buffer {
  const content = find(node, ...path)?.content;
  if (content === undefined || Array.isArray(content)) throw new Error(`no bytes at ${path.join(" > ")}`);
  return Buffer.from(content);
}

export const unsigned = (bytes: Uint8Array): number => Buffer.from(bytes).readUIntBE(0, bytes.length);
export const nowInSeconds = (): string => String(Math.floor(Date.now() / 1000));

/** `+33612345678` from `33612345678:4@s.whatsapp.net`; undefined for anything but a phone number. */
export function phoneOfJid(jid: string): string | undefined {
  const decoded = jidDecode(jid);
  return decoded?.server === "s.whatsapp.net" && decoded.user !== "" ? `+${decoded.user}` : undefined;
}

/** Normalises `33612345678`, `+33 6 12 34 56 78` and the like to `+33612345678`. */
export const e164 = (phone: string): string => `+${phone.replaceAll(/\D/g, "")}`;
