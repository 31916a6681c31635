import http from "node:http";
import https from "node:https";

export interface HttpRequest {
  url: URL;
  method: string;
  headers: http.OutgoingHttpHeaders;
  body: string | undefined;
}

export interface HttpAnswer {
  status: number;
  headers: http.IncomingHttpHeaders;
  body: string;
}

/** No complete answer came. */
export class TransportError extends Error {
  override readonly name = "TransportError";
  readonly kind: "timeout" | "aborted" | "network";
  /** Whether any byte of the request can have reached the other side. */
  readonly left: boolean;

  constructor(kind: "timeout" | "aborted" | "network", left: boolean, cause?: Error) {
    super(cause?.message ?? kind, { cause });
    this.kind = kind;
    this.left = left;
  }
}

/** A list of 100 messages of 1600 characters, with room to spare. */
const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;

/** Below the 5 s after which Node's own servers close an idle connection: a reused one must not be half closed. */
const IDLE_SOCKET_MS = 4_000;

/**
 * Calls a vendor over HTTP, in place of what its SDK would use: neither axios nor fetch tells whether the request had
 * left when it failed. That decides between sending again and never again: the request is taken to have left as soon as
 * its connection (with TLS, its handshake) is up.
 */
export class HttpCaller {
  readonly #secure: boolean;
  readonly #timeoutMs: number;
  readonly #agent: http.Agent;

  /** @param baseUrl only its scheme counts; every request goes over that. */
  constructor({ baseUrl, timeoutMs }: { baseUrl: string; timeoutMs: number }) {
    this.#secure = new URL(baseUrl).protocol === "https:";
    this.#timeoutMs = timeoutMs;
    const options = { keepAlive: true, timeout: IDLE_SOCKET_MS };
    this.#agent = this.#secure ? new https.Agent(options) : new http.Agent(options);
  }

  close(): void {
    this.#agent.destroy();
  }

  /** Rejects with nothing but `TransportError`. */
  call({ url, method, headers, body }: HttpRequest, signal: AbortSignal | undefined): Promise<HttpAnswer> {
    const { promise, resolve, reject } = Promise.withResolvers<HttpAnswer>();
    if (signal?.aborted) {
      reject(new TransportError("aborted", false));
      return promise;
    }
    let left = false;
    const fail = (kind: TransportError["kind"], cause?: Error) => reject(new TransportError(kind, left, cause));

    const request = (this.#secure ? https : http).request(url, { method, headers, agent: this.#agent });
    const timer = setTimeout(() => {
      fail("timeout");
      request.destroy();
    }, this.#timeoutMs);
    const onAbort = () => {
      fail("aborted");
      request.destroy();
    };
    signal?.addEventListener("abort", onAbort, { once: true });

    request.once("socket", (socket) => {
      if (request.reusedSocket || !socket.connecting) left = true;
      else socket.once(this.#secure ? "secureConnect" : "connect", () => (left = true));
    });
    request.on("error", (error) => fail("network", error));
    request.once("close", () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      fail("network");
    });
    request.once("response", (response) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      response.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        bytes += chunk.length;
        if (bytes > MAX_RESPONSE_BYTES) response.destroy(new Error("The answer is too large."));
      });
      response.on("error", (error) => fail("network", error));
      response.once("end", () => {
        const text = Buffer.concat(chunks).toString("utf8");
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text });
      });
    });
    request.end(body);
    return promise;
  }
}
