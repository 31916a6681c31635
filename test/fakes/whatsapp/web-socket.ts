import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";

const GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;

/**
 * The server's end of one WebSocket (RFC 6455), as much of it as Baileys uses: binary messages, ping and close.
 *
 * Written out because `ws` is a dependency of Baileys, not of this repository. No extension is ever agreed on.
 */
export class ServerWebSocket {
  readonly #stream: Duplex;
  #inbox: Buffer;
  #closing = false;
  onBytes: (bytes: Buffer) => void = () => {};
  onClose: () => void = () => {};

  constructor(request: IncomingMessage, stream: Duplex, head: Buffer) {
    this.#stream = stream;
    this.#inbox = head;
    const accept = createHash("sha1").update(`${request.headers["sec-websocket-key"]}${GUID}`).digest("base64");
    const headers = ["Upgrade: websocket", "Connection: Upgrade", `Sec-WebSocket-Accept: ${accept}`];
    stream.write(`HTTP/1.1 101 Switching Protocols\r\n${headers.join("\r\n")}\r\n\r\n`);
    stream.on("data", (chunk: Buffer) => this.#take(chunk));
    // A client that was killed resets the connection: its close is all there is to know.
    stream.on("error", () => stream.destroy());
    stream.once("close", () => this.onClose());
  }

  send(bytes: Uint8Array): void {
    if (!this.#closing) this.#write(BINARY, bytes);
  }

  /** A WebSocket close, then the end of the TCP connection; what was sent before still arrives. */
  close(): void {
    if (this.#closing) return;
    this.#write(CLOSE, Buffer.from([0x03, 0xe8]));
    this.#closing = true;
    this.#stream.end();
    // The client may never close its half.
    setTimeout(() => this.#stream.destroy(), 1_000).unref();
  }

  /** The connection is gone from one moment to the next. */
  destroy(): void {
    this.#closing = true;
    this.#stream.destroy();
  }

  #write(opcode: number, payload: Uint8Array): void {
    if (!this.#stream.writable) return;
    const { length } = payload;
    const header = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10);
    header[0] = 0x80 | opcode;
    header[1] = length < 126 ? length : length < 65_536 ? 126 : 127;
    if (header.length === 4) header.writeUInt16BE(length, 2);
    if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2);
    this.#stream.write(Buffer.concat([header, payload]));
  }

  #take(chunk: Buffer): void {
    this.#inbox = this.#inbox.length === 0 ? chunk : Buffer.concat([this.#inbox, chunk]);
    for (let frame = this.#shift(); frame !== undefined; frame = this.#shift()) this.#handle(frame);
  }

  /** Fragments need not be put together: what is inside is a stream of its own frames. */
  #handle({ opcode, payload }: { opcode: number; payload: Buffer }): void {
    if (opcode === CONTINUATION || opcode === TEXT || opcode === BINARY) this.onBytes(payload);
    else if (opcode === PING) this.#write(PONG, payload);
    else if (opcode === CLOSE) this.close();
  }

  #shift(): { opcode: number; payload: Buffer } | undefined {
    const inbox = this.#inbox;
    if (inbox.length < 2) return undefined;
    const short = inbox.readUInt8(1) & 0x7f;
    const maskAt = short < 126 ? 2 : short === 126 ? 4 : 10;
    if (inbox.length < maskAt + 4) return undefined;
    const length = short < 126 ? short : short === 126 ? inbox.readUInt16BE(2) : Number(inbox.readBigUInt64BE(2));
    const start = maskAt + 4;
    if (inbox.length < start + length) return undefined;
    const payload = Buffer.from(inbox.subarray(start, start + length));
    for (let at = 0; at < length; at++) payload[at] = payload.readUInt8(at) ^ inbox.readUInt8(maskAt + (at & 3));
    this.#inbox = inbox.subarray(start + length);
    return { opcode: inbox.readUInt8(0) & 0x0f, payload };
  }
}
