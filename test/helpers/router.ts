import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestService } from "./service.ts";

/** A layer of an Express router: a route, or a router or another application that is mounted. */
interface Layer {
  route?: { path: string | string[]; methods: Record<string, boolean> };
  handle: { stack?: Layer[]; router?: { stack: Layer[] } };
}

export interface RoutedPath {
  path: string;
  /** In capitals; of the application's own each is looked at. */
  methods: string[];
  /** How many routers it lies within: 0 for the application's own. */
  depth: number;
}

/** Every path of the Express application that answers, those of what is mounted in it too. */
export async function pathsOfTheRouter(service: TestService): Promise<RoutedPath[]> {
  return pathsOf((await routerOf(service)).stack, 0);
}

function pathsOf(stack: readonly Layer[], depth: number): RoutedPath[] {
  return stack.flatMap(({ route, handle }) => {
    if (!route) return pathsOf(handle.stack ?? handle.router?.stack ?? [], depth + 1);
    const methods = Object.keys(route.methods).map((method) => method.toUpperCase());
    return [route.path].flat().map((path) => ({ path, methods, depth }));
  });
}

/** Node names the server with each request. */
async function routerOf(service: TestService): Promise<{ stack: Layer[] }> {
  const servers: Server[] = [];
  const note = (message: unknown): void => void servers.push((message as { server: Server }).server);
  subscribe("http.server.request.start", note);
  await service.get("/health");
  unsubscribe("http.server.request.start", note);
  const { port } = new URL(service.url);
  const server = servers.find((each) => String((each.address() as AddressInfo | null)?.port) === port);
  if (!server) throw new Error("no server of this process answered at the service's address");
  return (server.listeners("request")[0] as unknown as { router: { stack: Layer[] } }).router;
}
