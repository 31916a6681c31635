import { once } from "node:events";
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";

/** A key and certificate with which a server speaks HTTPS. */
export interface Tls {
  key: string;
  cert: string;
}

/** A server over real HTTP on loopback. */
export abstract class LoopbackServer implements AsyncDisposable {
  readonly #server: http.Server;
  readonly #scheme: "http" | "https";
  /** `http://127.0.0.1:PORT`, once it listens. */
  url = "";

  constructor(tls?: Tls) {
    this.#scheme = tls === undefined ? "http" : "https";
    const handle = (request: http.IncomingMessage, response: http.ServerResponse): void => {
      // A client that goes away in the middle of its body is one of the situations under test.
      this.handle(request, response).catch(() => response.destroy());
    };
    this.#server = tls === undefined ? http.createServer(handle) : https.createServer(tls, handle);
  }

  protected abstract handle(request: http.IncomingMessage, response: http.ServerResponse): Promise<void>;

  async listen(port = 0): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `${this.#scheme}://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Stops listening: from now on connections are refused. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#server.listening) return;
    const closed = once(this.#server, "close");
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }
}
