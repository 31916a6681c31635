import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo, Socket } from "node:net";

/** A server that listens. */
export interface Listening {
  /** Where it can be reached from this machine. */
  readonly url: string;
  /**
   * Idle connections close at once, busy ones when they have been answered; at the deadline all of them. Resolves when all are
   * closed: whether without the deadline.
   */
  close(deadline: AbortSignal): Promise<boolean>;
}

/**
 * At the end, a connection on which no request has come is given so long for one, milliseconds: it may be on its way. Node takes
 * such a connection for a busy one, and would wait for it for ever; browsers and proxies open some in advance.
 */
const SILENT_MS = 500;

/** Resolves when it listens. */
export async function listen(app: RequestListener, address: { host: string; port: number }): Promise<Listening> {
  const server = createServer(app);
  const silent = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  server.on("request", ({ socket }) => silent.delete(socket));
  server.listen(address.port, address.host);
  await once(server, "listening");

  return {
    url: urlOf(server.address() as AddressInfo, address.host),
    async close(deadline) {
      let inTime = true;
      const force = (): void => {
        inTime = false;
        server.closeAllConnections();
      };
      const closed = once(server, "close");
      server.close();
      server.closeIdleConnections();
      const timer = setTimeout(() => silent.forEach((socket) => socket.destroy()), SILENT_MS);
      if (deadline.aborted) force();
      else deadline.addEventListener("abort", force, { once: true });
      await closed;
      clearTimeout(timer);
      deadline.removeEventListener("abort", force);
      return inTime;
    },
  };
}

function urlOf({ port }: AddressInfo, host: string): string {
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
