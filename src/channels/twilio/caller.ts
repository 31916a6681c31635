import type twilio from "twilio";
import type { Clock } from "../../core/clock.ts";
import { ProviderError, TransientError } from "../../core/errors.ts";
import { type Failure, redacted, retryAfterOf, type Vendor, vendorError } from "../providers/vendor-errors.ts";
import { type Exchange, Transport } from "./transport.ts";
import { TransportError } from "../providers/http-call.ts";

export type Sdk = typeof twilio;

/** Of errors, what must not be quoted: numbers, texts. */
type Personal = readonly (string | undefined)[];

interface TwilioAccount {
  accountSid: string;
  authToken: string;
  baseUrl: string;
  /** For one request, milliseconds. */
  timeoutMs: number;
}

interface Ports {
  sdk: Sdk;
  /** In whose name errors are thrown, and what its codes mean. */
  vendor: Vendor;
  clock: Clock;
}

/** Calls of Twilio's API in the name of one account, by its SDK. Rejects with nothing but our taxonomy of errors. */
export class TwilioCaller {
  readonly #account: TwilioAccount;
  readonly #ports: Ports;
  readonly #transport: Transport;

  constructor(account: TwilioAccount, ports: Ports) {
    this.#account = account;
    this.#ports = ports;
    this.#transport = new Transport(account);
  }

  /** Runs one SDK call. The client is made for it (20 µs): only so can the SDK's answer be tied to its connection. */
  async call<Result>(
    personal: Personal,
    signal: AbortSignal | undefined,
    use: (client: twilio.Twilio) => Promise<Result>,
  ): Promise<Result> {
    const { accountSid, authToken } = this.#account;
    const { sdk, vendor } = this.#ports;
    const exchange: Exchange = {};
    const httpClient = this.#transport.clientFor(exchange, signal);
    try {
      return await use(new sdk.Twilio(accountSid, authToken, { accountSid, autoRetry: false, httpClient }));
    } catch (error) {
      const hidden = [...personal, authToken].filter((value) => value !== undefined);
      throw vendorError(vendor, this.#failureOf(error, exchange), redacted(error, hidden));
    }
  }

  /** Asks what became of an attempt: `not_sent` of the question must not be read as `not_sent` of the message. */
  async ask<Result>(personal: Personal, use: (client: twilio.Twilio) => Promise<Result>): Promise<Result> {
    try {
      return await this.call(personal, undefined, use);
    } catch (error) {
      if (!(error instanceof ProviderError)) throw error;
      const { code, message, provider } = error;
      throw new TransientError(`Asked what became of an attempt: ${message}`, {
        code,
        provider,
        cause: error,
        delivery: "unknown",
      });
    }
  }

  close(): void {
    this.#transport.close();
  }

  #failureOf(error: unknown, { status, retryAfter }: Exchange): Failure {
    if (error instanceof TransportError) return { kind: error.kind, left: error.left };
    if (status === undefined || (status >= 200 && status < 300)) return { kind: "unreadable" };
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    return {
      kind: "answer",
      status,
      code: typeof code === "number" ? code : undefined,
      retryAfterMs: retryAfterOf(retryAfter, this.#ports.clock.now()),
    };
  }
}
