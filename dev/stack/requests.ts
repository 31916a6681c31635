/** What `Requests` finds in a connection's bytes, in their order. */
export interface RequestParts {
  /** A request's first line and headers, the empty line included. */
  onHead(head: string): void;
  /** A part of its body, as it was sent. */
  onBody(part: Buffer): void;
}

const END_OF_HEAD = "\r\n\r\n";
const END_OF_LINE = "\r\n";
const MAX_HEAD_BYTES = 65_536;

/**
 * Tells heads from bodies in the bytes of an HTTP/1.1 connection, without parsing more than says where a body ends.
 *
 * States: head → body → head, or head → (size → chunk)* → trailer → head for one in chunks.
 */
export class Requests {
  readonly #parts: RequestParts;
  #state: "head" | "body" | "size" | "chunk" | "trailer" = "head";
  /** Of a head or line, what has arrived so far. */
  #begun: Buffer = Buffer.alloc(0);
  /** Bytes of the body or chunk that are still to come. */
  #left = 0;

  constructor(parts: RequestParts) {
    this.#parts = parts;
  }

  /** @throws {Error} what is no request, or has a head of more than 64 KB */
  take(bytes: Buffer): void {
    let rest: Buffer | undefined = bytes;
    while (rest !== undefined && rest.length > 0) {
      rest = this.#state === "body" || this.#state === "chunk" ? this.#pass(rest) : this.#read(rest);
    }
  }

  #pass(bytes: Buffer): Buffer {
    const part = bytes.subarray(0, this.#left);
    this.#left -= part.length;
    this.#parts.onBody(part);
    if (this.#left === 0) this.#state = this.#state === "chunk" ? "size" : "head";
    return bytes.subarray(part.length);
  }

  #read(bytes: Buffer): Buffer | undefined {
    const all = this.#begun.length === 0 ? bytes : Buffer.concat([this.#begun, bytes]);
    const mark = this.#state === "head" ? END_OF_HEAD : END_OF_LINE;
    const at = all.indexOf(mark);
    if (at < 0) {
      if (all.length > MAX_HEAD_BYTES) throw new Error("The head of a request is too long.");
      this.#begun = all;
      return undefined;
    }
    const end = at + mark.length;
    this.#begun = Buffer.alloc(0);
    if (this.#state === "head") this.#onHead(all.toString("latin1", 0, end));
    else this.#onLine(all.subarray(0, end));
    return all.subarray(end);
  }

  #onHead(head: string): void {
    this.#parts.onHead(head);
    if (/^transfer-encoding:.*\bchunked\b/im.test(head)) this.#state = "size";
    else this.#left = Number(/^content-length:[ \t]*(\d+)/im.exec(head)?.[1] ?? 0);
    if (this.#left > 0) this.#state = "body";
  }

  #onLine(line: Buffer): void {
    this.#parts.onBody(line);
    if (this.#state === "trailer") {
      if (line.length === END_OF_LINE.length) this.#state = "head";
      return;
    }
    const size = Number.parseInt(line.toString("latin1"), 16);
    if (Number.isNaN(size)) throw new Error("A chunk of a request has no size.");
    if (size === 0) this.#state = "trailer";
    else {
      this.#state = "chunk";
      this.#left = size + END_OF_LINE.length;
    }
  }
}
