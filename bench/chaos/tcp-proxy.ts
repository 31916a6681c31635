import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { freePort } from "../../dev/stack/ports.ts";

/**
 * How a network fails:
 * - `refuse`: connections are reset, new ones refused;
 * - `lose-answers`: what is asked arrives; the connection breaks in the middle of the answer;
 * - `black-hole`: nothing arrives in either direction, and nobody is told. What was under way arrives when it is over,
 *   however long the sender has given up by then.
 */
export type Cut = "refuse" | "lose-answers" | "black-hole";

interface Link {
  client: Socket;
  upstream: Socket;
  /** Something was asked and nothing has been answered since. */
  open: boolean;
  /** What a black hole holds back, in order. */
  held: (() => void)[];
}

/** Another process may be quicker to take a port. */
const MOST_ATTEMPTS = 3;

/** One way through the network, on a port of its own. */
export class TcpProxy implements AsyncDisposable {
  readonly #target: number;
  readonly #server: Server;
  readonly #links = new Set<Link>();
  #cut: Cut | undefined;
  port = 0;

  constructor(target: number) {
    this.#target = target;
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#join(client));
  }

  static async open(target: number): Promise<TcpProxy> {
    const proxy = new TcpProxy(target);
    for (let attempt = 1; ; attempt += 1) {
      // One that outgoing connections do not get: while the proxy refuses, nobody may take it.
      proxy.port = await freePort();
      try {
        await proxy.#listen();
        return proxy;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE" || attempt === MOST_ATTEMPTS) throw error;
      }
    }
  }

  /** Connections on which an answer is awaited. */
  get openCalls(): number {
    return [...this.#links].filter(({ open }) => open).length;
  }

  async cut(kind: Cut): Promise<void> {
    this.#cut = kind;
    if (kind !== "refuse") return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#reset();
    await closed;
  }

  async mend(): Promise<void> {
    const kind = this.#cut;
    this.#cut = undefined;
    if (kind === "refuse") await this.#listen();
    for (const { held } of this.#links) for (const act of held.splice(0)) act();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#reset();
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    await closed;
  }

  async #listen(): Promise<void> {
    this.#server.listen(this.port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  #reset(): void {
    for (const { client, upstream } of this.#links) {
      reset(client);
      reset(upstream);
    }
  }

  #join(client: Socket): void {
    const upstream = connect({ port: this.#target, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
    const link: Link = { client, upstream, open: false, held: [] };
    this.#links.add(link);
    const act = (action: () => void): void => {
      if (this.#cut === "black-hole") link.held.push(action);
      else action();
    };
    client.on("data", (chunk: Buffer) => {
      link.open = true;
      act(() => upstream.write(chunk));
    });
    upstream.on("data", (chunk: Buffer) => {
      link.open = false;
      act(() => {
        if (this.#cut !== "lose-answers") return void client.write(chunk);
        client.write(chunk.subarray(0, chunk.length >> 1), () => reset(client));
        upstream.destroy();
      });
    });
    client.on("end", () => act(() => upstream.end()));
    upstream.on("end", () => act(() => client.end()));
    // A reset travels like everything else: in a black hole the other side learns of it later.
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on("error", () => act(() => other.destroy()));
      one.on("close", () => {
        if (client.destroyed && upstream.destroyed) this.#links.delete(link);
      });
    }
  }
}

/**
 * A socket whose end is on its way cannot be reset: Node then neither closes it nor says that it is closed, and a process that
 * has such a socket runs in circles when it is to end.
 */
function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
