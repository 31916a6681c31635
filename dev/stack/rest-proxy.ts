import { Agent, createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import { pipeline } from "node:stream";
import { portOf } from "./ports.ts";
import { codeOf, PortTakenError } from "./stack-error.ts";

const PREFIX = "/rest/v1";
/** Less than the 30 s after which PostgREST closes an idle connection: a request must not meet one that is closing. */
const IDLE_TIMEOUT_MS = 10_000;
const CLIENT_IDLE_TIMEOUT_MS = 65_000;

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
 * Starts the proxy on 127.0.0.1. Bodies are streamed both ways; while PostgREST is away it answers 503 with a JSON error.
 *
 * @param options.port 0 takes a free one
 * @throws {PortTakenError} when another program listens there
 */
export async function startRestProxy(options: ProxyTarget & { port: number }): Promise<RestProxy> {
  const agent = new Agent({ keepAlive: true, maxFreeSockets: 256, timeout: IDLE_TIMEOUT_MS });
  const server = createServer((incoming, outgoing) => forward(incoming, outgoing, agent, options));
  server.keepAliveTimeout = CLIENT_IDLE_TIMEOUT_MS;
  server.requestTimeout = 0;

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
    server.closeAllConnections();
    return promise;
  }

  await listen(options.port);
  const port = portOf(server);
  return {
    port,
    pause: close,
    resume: () => (server.listening ? Promise.resolve() : listen(port)),
    async stop() {
      await close();
      agent.destroy();
    },
  };
}

function forward(incoming: IncomingMessage, outgoing: ServerResponse, agent: Agent, options: ProxyTarget): void {
  const { url = "/", method, headers } = incoming;
  const path = url.slice(PREFIX.length);
  if (!url.startsWith(PREFIX) || !/^($|[/?])/.test(path)) {
    return refuse(incoming, outgoing, 404, `only ${PREFIX} is served here`);
  }
  options.onRequest?.(path);
  const upstream = request({
    host: "127.0.0.1",
    port: options.upstreamPort,
    method,
    headers,
    agent,
    path: path.startsWith("/") ? path : `/${path}`,
  });
  upstream.once("response", (response) => {
    outgoing.writeHead(response.statusCode ?? 502, response.rawHeaders);
    // Either end may leave in the middle; pipeline destroys the other, and there is nobody left to tell.
    pipeline(response, outgoing, () => {});
  });
  upstream.once("error", (error) => {
    if (outgoing.headersSent) outgoing.destroy();
    else refuse(incoming, outgoing, 503, `PostgREST is not reachable: ${error.message}`);
  });
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) upstream.destroy();
  });
  incoming.pipe(upstream);
}

function refuse(incoming: IncomingMessage, outgoing: ServerResponse, status: number, message: string): void {
  if (outgoing.destroyed) return;
  incoming.unpipe();
  incoming.resume();
  outgoing.writeHead(status, { "content-type": "application/json" });
  outgoing.end(JSON.stringify({ code: `PROXY${status}`, message, details: null, hint: null }));
}
