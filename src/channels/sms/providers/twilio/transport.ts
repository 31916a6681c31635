import http from "node:http";
import https from "node:https";
import { stringify } from "node:querystring";
import type twilio from "twilio";

/** What one call learned beside the SDK's own answer, which drops the headers of an error. */
export interface Exchange {
  status?: number;
  retryAfter?: string | undefined;
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

type RequestOptions = Parameters<twilio.RequestClient["request"]>[0];

/** A list of 100 messages of 1600 characters, with room to spare. */
const MAX_RESPONSE_BYTES = 4 * 1024 * 1024;

/** Below the 5 s after which Node's own servers close an idle connection: a reused one must not be half closed. */
const IDLE_SOCKET_MS = 4_000;

interface TransportOptions {
  /** Replaces scheme and host of the SDK's addresses. */
  baseUrl: string;
  timeoutMs: number;
}

/**
 * The SDK's way to the network, in place of its own axios client, which neither tells whether the request had left
 * when it failed, nor takes an abort signal or a base URL. Whether it had left decides between sending again and
 * never again: the request is taken to have left as soon as its connection (with TLS, its handshake) is up.
 */
export class Transport {
  readonly #base: URL;
  readonly #timeoutMs: number;
  readonly #agent: http.Agent;

  constructor({ baseUrl, timeoutMs }: TransportOptions) {
    this.#base = new URL(baseUrl);
    this.#timeoutMs = timeoutMs;
    const options = { keepAlive: true, timeout: IDLE_SOCKET_MS };
    this.#agent = this.#base.protocol === "https:" ? new https.Agent(options) : new http.Agent(options);
  }

  /** A client for one call. The cast: the SDK calls nothing but `request`, yet its type has a private member. */
  clientFor(exchange: Exchange, signal: AbortSignal | undefined): twilio.RequestClient {
    return {
      request: (options: RequestOptions) => this.#request(options, exchange, signal),
    } as unknown as twilio.RequestClient;
  }

  close(): void {
    this.#agent.destroy();
  }

  #request(options: RequestOptions, exchange: Exchange, signal: AbortSignal | undefined) {
    const { promise, resolve, reject } = Promise.withResolvers<{
      statusCode: number;
      body: string;
      headers: http.IncomingHttpHeaders;
    }>();
    if (signal?.aborted) {
      reject(new TransportError("aborted", false));
      return promise;
    }
    const secure = this.#base.protocol === "https:";
    const authorization = Buffer.from(`${options.username}:${options.password}`).toString("base64");
    let left = false;
    const fail = (kind: TransportError["kind"], cause?: Error) => reject(new TransportError(kind, left, cause));

    const request = (secure ? https : http).request(this.#address(options), {
      method: options.method.toUpperCase(),
      headers: { ...(options.headers as http.OutgoingHttpHeaders), Authorization: `Basic ${authorization}` },
      agent: this.#agent,
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
      else socket.once(secure ? "secureConnect" : "connect", () => (left = true));
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
        exchange.status = response.statusCode ?? 0;
        exchange.retryAfter = response.headers["retry-after"];
        resolve({
          statusCode: exchange.status,
          body: Buffer.concat(chunks).toString("utf8"),
          headers: response.headers,
        });
      });
    });
    request.end(options.data === undefined ? undefined : stringify(options.data as NodeJS.Dict<string>));
    return promise;
  }

  #address({ uri, params }: RequestOptions): URL {
    const { pathname, search } = new URL(uri);
    const address = new URL(this.#base.pathname.replace(/\/$/, "") + pathname, this.#base);
    address.search = params === undefined ? search : stringify(params as NodeJS.Dict<string>);
    return address;
  }
}
