import type http from "node:http";
import { stringify } from "node:querystring";
import type twilio from "twilio";
import { HttpCaller } from "../providers/http-call.ts";

/** What one call learned beside the SDK's own answer, which drops the headers of an error. */
export interface Exchange {
  status?: number;
  retryAfter?: string | undefined;
}

type RequestOptions = Parameters<twilio.RequestClient["request"]>[0];

interface TransportOptions {
  /** Replaces scheme and host of the SDK's addresses. */
  baseUrl: string;
  timeoutMs: number;
}

/** The SDK's way to the network, in place of its own axios client, which takes neither an abort signal nor a base URL. */
export class Transport {
  readonly #base: URL;
  readonly #caller: HttpCaller;

  constructor(options: TransportOptions) {
    this.#base = new URL(options.baseUrl);
    this.#caller = new HttpCaller(options);
  }

  /** A client for one call. The cast: the SDK calls nothing but `request`, yet its type has a private member. */
  clientFor(exchange: Exchange, signal: AbortSignal | undefined): twilio.RequestClient {
    return {
      request: (options: RequestOptions) => this.#request(options, exchange, signal),
    } as unknown as twilio.RequestClient;
  }

  close(): void {
    this.#caller.close();
  }

  async #request(options: RequestOptions, exchange: Exchange, signal: AbortSignal | undefined) {
    const authorization = Buffer.from(`${options.username}:${options.password}`).toString("base64");
    const request = {
      url: this.#address(options),
      method: options.method.toUpperCase(),
      headers: { ...(options.headers as http.OutgoingHttpHeaders), Authorization: `Basic ${authorization}` },
      body: options.data === undefined ? undefined : stringify(options.data as NodeJS.Dict<string>),
    };
    const { status, headers, body } = await this.#caller.call(request, signal);
    exchange.status = status;
    exchange.retryAfter = headers["retry-after"];
    return { statusCode: status, body, headers };
  }

  #address({ uri, params }: RequestOptions): URL {
    const { pathname, search } = new URL(uri);
    const address = new URL(this.#base.pathname.replace(/\/$/, "") + pathname, this.#base);
    address.search = params === undefined ? search : stringify(params as NodeJS.Dict<string>);
    return address;
  }
}
