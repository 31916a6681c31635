import type http from "node:http";
import { LoopbackServer } from "./loopback-server.ts";

/** How a fake answers one POST of a message, whoever's it is. */
export type VendorAnswer =
  | { kind: "accept" }
  /** Never answers; with `accept`, after having taken the message. */
  | { kind: "hang"; accept?: boolean }
  | { kind: "reset"; accept?: boolean }
  /** A success with half a JSON document, or with `body`. */
  | { kind: "malformed"; accept?: boolean; body?: string }
  | { kind: "slow"; delayMs: number };

/** A vendor's API, which answers as it was told to: first what is scripted for the recipient, then for anybody. */
export abstract class FakeVendor<Answer extends { kind: string }> extends LoopbackServer {
  readonly #byRecipient = new Map<string, Answer[]>();
  readonly #next: Answer[] = [];
  #otherwise: Answer | { kind: "accept" } = { kind: "accept" };
  /** From the address that a webhook was given to the one where it is reached: what a reverse proxy does. */
  via: (url: string) => string = (url) => url;

  /** Where requests to a public address really go, as through a proxy. */
  reach(publicUrl: string, url: string): void {
    this.via = (address) => address.replace(publicUrl, url);
  }

  /** The answers of the next messages to this recipient, whatever `next` says. */
  script(to: string, ...answers: Answer[]): void {
    this.#byRecipient.set(to, [...(this.#byRecipient.get(to) ?? []), ...answers]);
  }

  /** The answers of the next messages to anybody. */
  next(...answers: Answer[]): void {
    this.#next.push(...answers);
  }

  /** The answer of all messages that nothing else is scripted for. */
  otherwise(answer: Answer): void {
    this.#otherwise = answer;
  }

  protected answerTo(to: string): Answer | { kind: "accept" } {
    return this.#byRecipient.get(to)?.shift() ?? this.#next.shift() ?? this.#otherwise;
  }
}

/** Answers with `status`, and with what `accept` says of the message that it takes. */
export async function answerWith(
  answer: VendorAnswer,
  response: http.ServerResponse,
  { status, accept }: { status: number; accept: () => Promise<object> },
): Promise<void> {
  switch (answer.kind) {
    case "slow":
      await new Promise((resolve) => setTimeout(resolve, answer.delayMs));
      return json(response, status, await accept());
    case "accept":
      return json(response, status, await accept());
    case "hang":
      if (answer.accept) await accept();
      return;
    case "reset":
      if (answer.accept) await accept();
      response.socket?.resetAndDestroy();
      return;
    case "malformed": {
      const whole = JSON.stringify(answer.accept ? await accept() : { to: "" });
      const half = whole.slice(0, whole.length / 2);
      response.writeHead(status, { "content-type": "application/json" }).end(answer.body ?? half);
    }
  }
}

/** A request with its body. */
export interface VendorRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  headers: http.IncomingHttpHeaders;
  text: string;
}

export async function readRequest(incoming: http.IncomingMessage): Promise<VendorRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const { pathname, searchParams } = new URL(incoming.url ?? "/", "http://127.0.0.1");
  return {
    method: incoming.method ?? "",
    path: pathname,
    query: Object.fromEntries(searchParams),
    headers: incoming.headers,
    text: Buffer.concat(chunks).toString("utf8"),
  };
}

export function json(
  response: http.ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}
