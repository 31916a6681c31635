import type { Server } from "node:http";
import type { AddressInfo } from "node:net";

/** Resolves when it listens. */
export function listen(server: Server, { host, port }: { host: string; port: number }): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/** Idle connections close at once, busy ones when they have been answered; at the deadline all of them. */
export async function closeServer(server: Server, deadline: AbortSignal): Promise<boolean> {
  let closed = true;
  const force = (): void => {
    closed = false;
    server.closeAllConnections();
  };
  await new Promise<void>((resolve) => {
    server.close(() => resolve());
    server.closeIdleConnections();
    if (deadline.aborted) force();
    else deadline.addEventListener("abort", force, { once: true });
  });
  deadline.removeEventListener("abort", force);
  return closed;
}

/** Where it can be reached from this machine. */
export function urlOf(server: Server, host: string): string {
  const { port } = server.address() as AddressInfo;
  const reachable = host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
  return `http://${reachable.includes(":") ? `[${reachable}]` : reachable}:${port}`;
}
