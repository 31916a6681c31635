import { HttpCaller, type HttpRequest } from "../../../providers/http-call.ts";
import { retryAfterOf } from "../../../providers/vendor-errors.ts";

/** A complete answer. `body` is undefined when it is not JSON. */
export interface Answer {
  status: number;
  body: unknown;
  retryAfterMs: number | undefined;
}

/** VoicePartner's API: JSON over HTTP. Rejects with nothing but `TransportError`. Its addresses hold the key. */
export class Api {
  readonly #base: string;
  readonly #caller: HttpCaller;

  constructor(options: { baseUrl: string; timeoutMs: number }) {
    this.#base = options.baseUrl.replace(/\/+$/, "");
    this.#caller = new HttpCaller(options);
  }

  get(path: string, signal?: AbortSignal): Promise<Answer> {
    return this.#call({ method: "GET", headers: {}, body: undefined, path }, signal);
  }

  post(path: string, content: object, signal?: AbortSignal): Promise<Answer> {
    const body = JSON.stringify(content);
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    return this.#call({ method: "POST", headers, body, path }, signal);
  }

  close(): void {
    this.#caller.close();
  }

  async #call(
    { path, headers, ...rest }: Omit<HttpRequest, "url"> & { path: string },
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    const url = new URL(this.#base + path);
    const answer = await this.#caller.call(
      { url, headers: { accept: "application/json", ...headers }, ...rest },
      signal,
    );
    return {
      status: answer.status,
      body: parsed(answer.body),
      retryAfterMs: retryAfterOf(answer.headers["retry-after"], Date.now()),
    };
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
