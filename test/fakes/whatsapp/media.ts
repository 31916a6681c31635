import { createDecipheriv, createHash, createHmac, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { type MediaType, getMediaKeys, type proto } from "@whiskeysockets/baileys";
import { LoopbackServer } from "../loopback-server.ts";
import { LOOPBACK_TLS } from "../twilio/tls.ts";

/** The media host: keeps what is uploaded, encrypted as it comes, and hands it out again. */
export class FakeMedia extends LoopbackServer {
  readonly #files = new Map<string, Buffer>();
  /** To be trusted by the client's `fetchAgent: new https.Agent({ ca })`. */
  readonly ca = LOOPBACK_TLS.cert;
  /** `127.0.0.1:PORT`, as the IQ `media_conn` names it. */
  host = "";
  /** How many of the next uploads are refused with a 500. */
  failNext = 0;

  constructor() {
    super(LOOPBACK_TLS);
  }

  get uploads(): number {
    return this.#files.size;
  }

  override async listen(): Promise<void> {
    await super.listen();
    this.host = new URL(this.url).host;
  }

  /** The encrypted bytes of an upload; undefined when there is none. */
  raw(directPath: string): Buffer | undefined {
    return this.#files.get(directPath);
  }

  /** The bytes that the sender had, decrypted with the key in the message; throws when a hash or the MAC is wrong. */
  async of(message: proto.IMessage): Promise<Buffer> {
    const [kind, content] = mediaOf(message);
    const file = this.#files.get(content.directPath ?? "");
    if (file === undefined) throw new Error(`nothing was uploaded to ${content.directPath}`);
    const { cipherKey, iv, macKey } = await getMediaKeys(content.mediaKey, kind);
    const sealed = file.subarray(0, -10);
    const mac = createHmac("sha256", macKey ?? "")
      .update(iv)
      .update(sealed)
      .digest()
      .subarray(0, 10);
    if (!mac.equals(file.subarray(-10))) throw new Error("the MAC of the upload is wrong");
    const decipher = createDecipheriv("aes-256-cbc", cipherKey, iv);
    const plain = Buffer.concat([decipher.update(sealed), decipher.final()]);
    const hash = createHash("sha256").update(plain).digest();
    if (!hash.equals(content.fileSha256 ?? Buffer.alloc(0))) throw new Error("the hash of the upload is wrong");
    return plain;
  }

  protected override async handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { pathname } = new URL(request.url ?? "/", this.url);
    if (request.method === "GET") {
      const file = this.#files.get(pathname);
      return void response.writeHead(file === undefined ? 404 : 200).end(file);
    }
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    if (this.failNext > 0) {
      this.failNext -= 1;
      return void response.writeHead(500).end("{}");
    }
    const directPath = `/v/${randomUUID()}`;
    this.#files.set(directPath, Buffer.concat(chunks));
    response.writeHead(200, { "content-type": "application/json" });
    response.end(JSON.stringify({ url: `${this.url}${directPath}`, direct_path: directPath }));
  }
}

function mediaOf({ imageMessage, videoMessage, audioMessage, documentMessage }: proto.IMessage) {
  const kinds = { image: imageMessage, video: videoMessage, audio: audioMessage, document: documentMessage };
  for (const [kind, content] of Object.entries(kinds)) if (content) return [kind as MediaType, content] as const;
  throw new Error("the message has no media");
}
