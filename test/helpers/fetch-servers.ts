import { createPrivateKey, X509Certificate } from "node:crypto";
import { once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, isIP, type Server, type Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { expect } from "vitest";
import type { FetchPolicy } from "../../src/core/addresses.ts";
import { guardedFetch, type GuardedFetchOptions } from "../../src/core/guarded-fetch.ts";
import { GuardedFetchError } from "../../src/core/guarded-request.ts";

/** Of `media.test`, signed by itself, valid from 2020 to 2126. It guards nothing. */
export const CERTIFICATE = new X509Certificate(
  Buffer.from(
    "MIIBmDCCAT6gAwIBAgIUSSsxSE0ebamXtGKIfbk2FohBFogwCgYIKoZIzj0EAwIwFTETMBEGA1UEAwwKbWVkaWEudGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTI2MTAyOTAzMDMxN1owFTETMBEGA1UEAwwKbWVkaWEudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABHcfUBKfC9QMMcRA4dgFb+ZYBcPEHnWYkrYVPU1VmDjKSek0n90Wn9l6M4zzIWQrn2i3EgEx2M0d6kJEoudyyVCjajBoMB0GA1UdDgQWBBTQ/YAekuGuz9lTxkYIxz0Rvi7NMDAfBgNVHSMEGDAWgBTQ/YAekuGuz9lTxkYIxz0Rvi7NMDAVBgNVHREEDjAMggptZWRpYS50ZXN0MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgMGOUhd1s0qMyqCaq19XmesR3OPXNAwleBrrHFOx8On8CIQCeGSy+6EXce0mKDpavaWUNx53v/8uVp6bQMnw/tIwVVg==",
    "base64",
  ),
).toString();
const KEY = createPrivateKey({
  key: Buffer.from(
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpB4ZJLR1AJFk7XS7zhD4tzF15zXItOFyTII5BCyZU2OhRANCAAR3H1ASnwvUDDHEQOHYBW/mWAXDxB51mJK2FT1NVZg4yknpNJ/dFp/ZejOM8yFkK59otxIBMdjNHepCRKLncslQ",
    "base64",
  ),
  format: "der",
  type: "pkcs8",
}).export({ format: "pem", type: "pkcs8" });

export const SECRET = "s3cr3t-t0k3n";
export const LOCAL: FetchPolicy = { allowPrivate: true, ports: "any" };

export interface TestServer extends AsyncDisposable {
  port: number;
  /** `http://127.0.0.1:<port>` */
  origin: string;
  requests: IncomingMessage[];
  /** Every connection there has been. */
  sockets: Socket[];
}

async function opened(server: Server, requests: IncomingMessage[], host: string, port = 0): Promise<TestServer> {
  const sockets: Socket[] = [];
  server.on("connection", (socket: Socket) => {
    sockets.push(socket);
    // The client's going away in the middle is what much of this is about.
    socket.on("error", () => {});
  });
  server.listen(port, host);
  await once(server, "listening");
  const { port: opened } = server.address() as AddressInfo;
  return {
    port: opened,
    origin: `http://${host}:${opened}`,
    requests,
    sockets,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

export function serve(handler: Handler, { host = "127.0.0.1", port = 0, tls = false } = {}): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  const listener: Handler = (request, response) => {
    requests.push(request);
    handler(request, response);
  };
  const server = tls ? createHttpsServer({ cert: CERTIFICATE, key: KEY }, listener) : createHttpServer(listener);
  return opened(server, requests, host, port);
}

/** A server that speaks for itself, byte by byte. */
export function serveRaw(onSocket: (socket: Socket) => void): Promise<TestServer> {
  const server = createTcpServer((socket) => onSocket(socket.resume()));
  return opened(server, [], "127.0.0.1");
}

export const image: Handler = (_request, response) => {
  response.writeHead(200, { "content-type": "image/jpeg" }).end("picture");
};

export function redirectTo(location: string, status = 302): Handler {
  return (_request, response) => {
    response.writeHead(status, { location }).end("moved");
  };
}

/** A resolver that gives one list of addresses after another, the last for ever, and counts how often it was asked. */
export function resolver(...answers: string[][]): { lookup: NonNullable<FetchPolicy["lookup"]>; asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    async lookup(hostname) {
      const answer = answers[Math.min(asked.length, answers.length - 1)] ?? [];
      asked.push(hostname);
      return answer.map((address) => ({ address, family: isIP(address) }));
    },
  };
}

export function get(url: string, options: Partial<GuardedFetchOptions> = {}): ReturnType<typeof guardedFetch> {
  return guardedFetch(url, { maxBytes: 1_000, policy: LOCAL, ...options });
}

export async function errorOf(failing: Promise<unknown>): Promise<GuardedFetchError> {
  const error = await failing.then(
    () => expect.fail("was fetched"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(GuardedFetchError);
  return error as GuardedFetchError;
}

/** The error with which the body ends, for a download whose head is as wanted. */
export async function bodyErrorOf(url: string, options: Partial<GuardedFetchOptions> = {}): Promise<GuardedFetchError> {
  const { body } = await get(url, options);
  return errorOf(buffer(body));
}

export async function expectAllClosed(server: TestServer): Promise<void> {
  await expect.poll(() => server.sockets.every((socket) => socket.destroyed)).toBe(true);
}
