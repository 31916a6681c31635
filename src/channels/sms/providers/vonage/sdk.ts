import { Messages } from "@vonage/messages";
import { Direction, Product, Reports } from "@vonage/reports";
import type { HttpAnswer, HttpCaller } from "../../../providers/http-call.ts";

export const PRODUCT = Product.MESSAGES;
export const DIRECTION = Direction.OUTBOUND;

type Credentials = ConstructorParameters<typeof Messages>[0];
type SdkRequest = Parameters<Messages["sendRequest"]>[0];

/** Vonage has answered, with something else than 2xx. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  readonly answer: HttpAnswer;

  constructor(answer: HttpAnswer) {
    super(`HTTP ${answer.status}`);
    this.answer = answer;
  }
}

/** How a client of the SDK reaches the network for one call. */
export interface Way {
  credentials: Credentials;
  apiHost: string;
  caller: HttpCaller;
  signal: AbortSignal | undefined;
}

/**
 * Both clients with our way to the network in place of the SDK's `fetch`, which neither takes an abort signal nor tells
 * whether a request had left. Everything else (paths, serialisation, authentication) is the SDK's.
 */
export class MessagesClient extends Messages {
  readonly #way: Way;

  constructor(way: Way) {
    super(way.credentials, { apiHost: way.apiHost });
    this.#way = way;
  }

  override async sendRequest<T>(request: SdkRequest) {
    const prepared = await this.prepareRequest(request);
    return this.parseResponse<T>(prepared, await exchange(prepared, this.prepareBody(prepared), this.#way));
  }
}

export class ReportsClient extends Reports {
  readonly #way: Way;

  constructor(way: Way) {
    super(way.credentials, { apiHost: way.apiHost });
    this.#way = way;
  }

  override async sendRequest<T>(request: SdkRequest) {
    const prepared = await this.prepareRequest(request);
    return this.parseResponse<T>(prepared, await exchange(prepared, this.prepareBody(prepared), this.#way));
  }
}

async function exchange(request: SdkRequest, body: string | undefined, { caller, signal }: Way): Promise<Response> {
  const answer = await caller.call(
    { url: new URL(request.url), method: request.method, headers: { ...request.headers }, body },
    signal,
  );
  if (answer.status < 200 || answer.status > 299) throw new RefusedError(answer);
  const headers = {
    "content-type": answer.headers["content-type"] ?? "",
    "content-length": String(answer.body.length),
  };
  return new Response(answer.status === 204 ? null : answer.body, { status: answer.status, headers });
}
