import { connect, createServer, type Socket } from "node:net";
import { portOf } from "./ports.ts";
import { Requests } from "./requests.ts";
import { codeOf, PortTakenError } from "./stack-error.ts";

const PREFIX = "/rest/v1";
/** Less than the 30 s after which PostgREST closes an idle connection: a request must not meet one that is closing. */
const IDLE_TIMEOUT_MS = 10_000;
const REASONS = { 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable" };

/** The gateway of a hosted project, as far as supabase-js sees it: PostgREST under `/rest/v1`. */
export interface RestProxy {
  readonly port: number;
  /** Refuses connections and cuts the open ones. */
  pause(): Promise<void>;
  /** Listens again, on the same port. */
  resume(): Promise<void>;
  stop(): Promise<void>;
}

interface ProxyTarget {
  upstreamPort: number;
  /** Told the path of each request, without the prefix. */
  onRequest?: ((path: string) => void) | undefined;
}

/**
 * Starts the proxy on 127.0.0.1. Bytes are handed on as they are, but for the prefix: each test calls the database through it, and
 * node:http on both sides would cost more than the service's own client. While PostgREST is away it answers 503 with a JSON error.
 *
 * @param options.port 0 takes a free one
 * @throws {PortTakenError} when another program listens there
 */
export async function startRestProxy(options: ProxyTarget & { port: number }): Promise<RestProxy> {
  const clients = new Set<Socket>();
  const server = createServer({ noDelay: true }, (client) => {
    clients.add(client);
    client.once("close", () => clients.delete(client));
    serve(client, options);
  });

  function listen(port: number): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const refused = (error: Error): void => {
      const words = `port ${port} for the /rest/v1 proxy is taken by another program`;
      reject(codeOf(error) === "EADDRINUSE" ? new PortTakenError(words, { cause: error }) : error);
    };
    server.once("error", refused);
    server.listen(port, "127.0.0.1", () => {
      server.off("error", refused);
      resolve();
    });
    return promise;
  }

  function close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    server.close(() => resolve());
    for (const client of clients) client.destroy();
    return promise;
  }

  await listen(options.port);
  const port = portOf(server);
  return {
    port,
    pause: close,
    resume: () => (server.listening ? Promise.resolve() : listen(port)),
    stop: close,
  };
}

/** One connection of a client, with one to PostgREST while there is something to ask. */
function serve(client: Socket, { upstreamPort, onRequest }: ProxyTarget): void {
  let upstream: Socket | undefined;
  /** Something was asked, and nothing of an answer has come. */
  let asked = false;
  /** What is left of a request that is refused is not read. */
  let refused = false;
  const refuse = (status: keyof typeof REASONS, message: string): void => {
    refused = true;
    client.resume();
    const body = JSON.stringify({ code: `PROXY${status}`, message, details: null, hint: null });
    const head = `HTTP/1.1 ${status} ${REASONS[status]}\r\ncontent-type: application/json\r\nconnection: close`;
    client.end(`${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  };

  function reach(): Socket {
    const socket = connect({ host: "127.0.0.1", port: upstreamPort, noDelay: true });
    let fault: Error | undefined;
    socket.setTimeout(IDLE_TIMEOUT_MS, () => {
      if (asked) return;
      upstream = undefined;
      socket.destroy();
    });
    socket.on("data", (bytes) => {
      asked = false;
      pass(bytes, socket, client);
    });
    socket.on("error", (error) => (fault = error));
    socket.on("close", () => {
      // Either end may leave in the middle, and then there is nobody left to tell.
      if (upstream !== socket) return;
      upstream = undefined;
      if (asked) refuse(503, `PostgREST is not reachable: ${fault?.message ?? "it hung up"}`);
      else client.destroySoon();
    });
    return socket;
  }

  const requests = new Requests({
    onHead(head) {
      const [, method, path] = /^([A-Z]+) \/rest\/v1(|[/?]\S*) HTTP\/1\.1\r\n/.exec(head) ?? [];
      if (method === undefined || path === undefined) return refuse(404, `only ${PREFIX} is served here`);
      onRequest?.(path);
      upstream ??= reach();
      asked = true;
      const to = path.startsWith("/") ? path : `/${path}`;
      pass(Buffer.from(`${method} ${to} HTTP/1.1${head.slice(head.indexOf("\r\n"))}`, "latin1"), client, upstream);
    },
    onBody(part) {
      if (!refused && upstream) pass(part, client, upstream);
    },
  });
  client.on("data", (bytes: Buffer) => {
    if (refused) return;
    try {
      requests.take(bytes);
    } catch (error) {
      refuse(400, String(error));
    }
  });
  client.on("error", () => {});
  client.on("close", () => {
    const socket = upstream;
    upstream = undefined;
    socket?.destroy();
  });
}

function pass(bytes: Buffer, from: Socket, to: Socket): void {
  if (to.write(bytes) || from.isPaused()) return;
  from.pause();
  to.once("drain", () => from.resume());
}
