import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { until } from "./ledger.ts";

/** A webhook as it arrived. */
export interface Received {
  /** The path that it came to. */
  path: string;
  id: string;
  headers: Record<string, string>;
  /** As it was signed. */
  raw: string;
  body: { id: string; type: string; timestamp: string; data: Record<string, unknown> };
  /** What it was answered; undefined while it is not. */
  status: number | undefined;
}

type Reply = { status: number; text?: string; headers?: Record<string, string> };

/** An endpoint of the web app: keeps what comes, and answers as told. */
export interface Receiver extends AsyncDisposable {
  readonly url: string;
  /** All that came, in order. */
  readonly all: Received[];
  /** Those that came to one path. */
  at(path: string): Received[];
  /** From now on; default: 204. A promise holds the answer back. */
  answer(how: (received: Received) => Reply | Promise<Reply>): void;
  /** Waits until what came to a path is as wished for. */
  until(path: string, wished: (received: Received[]) => boolean): Promise<Received[]>;
}

export async function openReceiver(): Promise<Receiver> {
  const all: Received[] = [];
  let how: (received: Received) => Reply | Promise<Reply> = () => ({ status: 204 });
  const take = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    let raw = "";
    for await (const chunk of request) raw += String(chunk);
    const headers = request.headers as Record<string, string>;
    const body = JSON.parse(raw) as Received["body"];
    const received: Received = {
      path: request.url ?? "",
      id: headers["webhook-id"] ?? "",
      headers,
      raw,
      body,
      status: undefined,
    };
    all.push(received);
    const { status, text = "", headers: extra = {} } = await how(received);
    received.status = status;
    response.writeHead(status, extra).end(text);
  };
  const server = createServer((request, response) => {
    // The sender being killed in the middle is what this is for.
    take(request, response).catch(() => response.destroy());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const at = (path: string): Received[] => all.filter((each) => each.path === path);
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    all,
    at,
    answer(next) {
      how = next;
    },
    until: (path, wished) => until(async () => at(path), wished, 15_000),
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
