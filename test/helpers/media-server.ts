import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { expect, onTestFinished } from "vitest";
import type { MediaKind } from "../../src/channels/media.ts";
import { createOpenMedia, type OpenMediaOptions } from "../../src/channels/whatsapp/open-media.ts";
import type { FetchPolicy } from "../../src/core/addresses.ts";
import { ProviderError } from "../../src/core/errors.ts";
import type { UploadedMedia } from "../../src/store/sessions.ts";

export const LOCAL: FetchPolicy = { allowPrivate: true, ports: "any" };
const uploads = { media: async (): Promise<UploadedMedia | undefined> => undefined };

export interface Served {
  origin: string;
  port: number;
  requests: IncomingMessage[];
  sockets: Set<Socket>;
}

/** A server until the end of the test. */
export async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<Served> {
  const requests: IncomingMessage[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((request, response) => {
    requests.push(request);
    handler(request, response);
  });
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { origin: `http://127.0.0.1:${port}`, port, requests, sockets };
}

/** Serves one file. */
export const file = (type: string | undefined, bytes: Buffer) =>
  serve((_request, response) => {
    response.writeHead(200, type === undefined ? {} : { "content-type": type }).end(bytes);
  });

/** Opens what is at an address, for the provider `baileys`. */
export function openerFor(options: Partial<OpenMediaOptions> = {}) {
  const open = createOpenMedia({ provider: "baileys", uploads, policy: LOCAL, ...options });
  return (url: string, kind: MediaKind = "image", signal?: AbortSignal) =>
    open({ url }, kind, { accountId: undefined, signal });
}

/** The error with which it ends: always one of a provider, and that nothing was sent. */
export async function errorOf(failing: Promise<unknown>): Promise<ProviderError> {
  const error = await failing.then(
    () => expect.fail("was opened"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(ProviderError);
  expect(error).toMatchObject({ provider: "baileys", delivery: "not_sent" });
  return error as ProviderError;
}

/** Nothing was left open at the server. */
export async function isLeftAlone(server: Served): Promise<void> {
  await expect.poll(() => server.sockets.size).toBe(0);
}
