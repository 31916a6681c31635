import http from "node:http";
import https from "node:https";
import { retryAfterOf } from "../../../sms/providers/twilio/errors.ts";

/** A complete answer. `body` is undefined when it is not JSON. */
export interface Answer {
  status: number;
  body: unknown;
  retryAfterMs: number | undefined;
}

/** No complete answer came. */
export class CallError extends Error {
  override readonly name = "CallError";
  readonly kind: "timeout" | "aborted" | "network";
  /** Whether any byte of the request can have reached the other side. */
  readonly left: boolean;

  constructor(kind: "timeout" | "aborted" | "network", left: boolean) {
    super(kind);
    this.kind = kind;
    this.left = left;
  }
}

interface ApiOptions {
  baseUrl: string;
  timeoutMs: number;
}

const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;
/** Below the 5 s after which Node's own servers close an idle connection: a reused one must not be half closed. */
const IDLE_SOCKET_MS = 4_000;

/**
 * JSON over HTTP, which knows whether a request had left when it failed: that decides between sending again and never
 * again. It is taken to have left as soon as its connection (with TLS, its handshake) is up. Errors have no cause: the
 * addresses of this API hold its key.
 */
export class Api {
  readonly #base: URL;
  readonly #timeoutMs: number;
  readonly #agent: http.Agent;

  constructor({ baseUrl, timeoutMs }: ApiOptions) {
    this.#base = new URL(baseUrl);
    this.#timeoutMs = timeoutMs;
    const options = { keepAlive: true, timeout: IDLE_SOCKET_MS };
    this.#agent = this.#secure ? new https.Agent(options) : new http.Agent(options);
  }

  get(path: string, signal?: AbortSignal): Promise<Answer> {
    return this.#request("GET", path, undefined, signal);
  }

  post(path: string, body: object, signal?: AbortSignal): Promise<Answer> {
    return this.#request("POST", path, JSON.stringify(body), signal);
  }

  close(): void {
    this.#agent.destroy();
  }

  get #secure(): boolean {
    return this.#base.protocol === "https:";
  }

  #request(method: string, path: string, body: string | undefined, signal: AbortSignal | undefined): Promise<Answer> {
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (signal?.aborted) {
      reject(new CallError("aborted", false));
      return promise;
    }
    let left = false;
    const fail = (kind: CallError["kind"]) => reject(new CallError(kind, left));
    const address = new URL(this.#base.pathname.replace(/\/$/, "") + path, this.#base);
    const request = (this.#secure ? https : http).request(address, {
      method,
      agent: this.#agent,
      headers: {
        accept: "application/json",
        ...(body === undefined
          ? {}
          : { "content-type": "application/json", "content-length": Buffer.byteLength(body) }),
      },
    });
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
    request.on("error", () => fail("network"));
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
        if (bytes > MAX_RESPONSE_BYTES) response.destroy();
      });
      response.on("error", () => fail("network"));
      response.once("end", () => {
        resolve({
          status: response.statusCode ?? 0,
          body: parsed(Buffer.concat(chunks).toString("utf8")),
          retryAfterMs: retryAfterOf(response.headers["retry-after"], Date.now()),
        });
      });
    });
    request.end(body);
    return promise;
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
