import { randomBytes } from "node:crypto";
import { type BinaryNode, decodeBinaryNode, encodeBinaryNode } from "@whiskeysockets/baileys";
import { el } from "./nodes.ts";
import { type ClientFinish, ServerNoise } from "./noise.ts";
import type { ServerWebSocket } from "./web-socket.ts";

/** What a connection is told; each call is awaited before the next frame is looked at. */
export interface ConnectionEvents {
  finish(connection: Connection, client: ClientFinish): void;
  node(connection: Connection, node: BinaryNode): Promise<void>;
  closed(connection: Connection): void;
  fault(error: unknown): void;
}

/** One client's WebSocket from the handshake to its end: nodes in, in order, and nodes out. */
export class Connection {
  readonly #socket: ServerWebSocket;
  readonly #noise = new ServerNoise();
  readonly #events: ConnectionEvents;
  readonly #queries = new Map<string, { resolve: (answer: BinaryNode) => void; reject: (error: Error) => void }>();
  #tail: Promise<void> = Promise.resolve();
  /** Takes everything and answers nothing, as a peer behind a dead line. */
  frozen = false;
  open = true;
  /** Ended by the fake: what the client has sent after that was never looked at. */
  #ended = false;

  constructor(socket: ServerWebSocket, events: ConnectionEvents) {
    this.#socket = socket;
    this.#events = events;
    socket.onBytes = (bytes) => this.#take(bytes);
    socket.onClose = () => {
      this.open = false;
      for (const { reject } of this.#queries.values()) reject(new Error("the client went away"));
      this.#queries.clear();
      events.closed(this);
    };
  }

  send(node: BinaryNode): void {
    if (this.open && !this.frozen) this.#socket.send(this.#noise.seal(encodeBinaryNode(node)));
  }

  /** Sends an IQ and resolves to the client's answer; rejects when the client goes away. */
  query(node: BinaryNode): Promise<BinaryNode> {
    const id = randomBytes(8).toString("hex");
    const { promise, resolve, reject } = Promise.withResolvers<BinaryNode>();
    if (!this.open) reject(new Error("the client went away"));
    this.#queries.set(id, { resolve, reject });
    this.send({ ...node, attrs: { ...node.attrs, id } });
    return promise;
  }

  /** Sends last words, then closes. */
  closeWith(node: BinaryNode): void {
    this.send(node);
    this.#ended = true;
    this.#socket.close();
  }

  /** `<stream:error code>`: 503, 515 and whatever else has no form of its own. */
  streamError(code: number | undefined, reason?: BinaryNode): void {
    const attrs = { code: code === undefined ? undefined : String(code) };
    this.closeWith(el("stream:error", attrs, reason && [reason]));
  }

  /** `<failure reason>`: a login that is refused. */
  failure(reason: number): void {
    this.closeWith(el("failure", { reason: String(reason), location: "fake" }));
  }

  /** Gone without a word. */
  destroy(): void {
    this.#ended = true;
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    try {
      for (const frame of this.#noise.frames(bytes)) {
        this.#tail = this.#tail.then(() => this.#handle(frame)).catch((error: unknown) => this.#fail(error));
      }
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    this.#events.fault(error);
    this.destroy();
  }

  async #handle(frame: Buffer): Promise<void> {
    if (this.#ended) return;
    if (!this.#noise.inTransport) return this.#shakeHands(frame);
    // Decrypted even when nobody listens: the counter of the frames has to move on.
    const node = await decodeBinaryNode(this.#noise.open(frame));
    if (this.frozen) return;
    const answered = node.tag === "iq" && this.#queries.get(node.attrs["id"] ?? "");
    if (!answered) return this.#events.node(this, node);
    this.#queries.delete(node.attrs["id"] ?? "");
    if (node.attrs["type"] === "result") answered.resolve(node);
    else answered.reject(new Error("the client answered with an error"));
  }

  #hello = false;

  #shakeHands(frame: Buffer): void {
    if (this.#hello) return this.#events.finish(this, this.#noise.finish(frame));
    this.#hello = true;
    this.#socket.send(this.#noise.hello(frame));
  }
}
