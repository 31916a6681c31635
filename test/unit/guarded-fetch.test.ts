import { execFile } from "node:child_process";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { getEventListeners, once } from "node:events";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, isIP, type Server, type Socket } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { fileURLToPath } from "node:url";
import { inspect, promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { FetchPolicy } from "../../src/core/addresses.ts";
import { guardedFetch, GuardedFetchError, type GuardedFetchOptions } from "../../src/core/guarded-fetch.ts";

/** Of `media.test`, signed by itself, valid from 2020 to 2126. It guards nothing. */
const CERTIFICATE = new X509Certificate(
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

const SECRET = "s3cr3t-t0k3n";
const LOCAL: FetchPolicy = { allowPrivate: true, ports: "any" };

interface TestServer extends AsyncDisposable {
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

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

function serve(handler: Handler, { host = "127.0.0.1", port = 0, tls = false } = {}): Promise<TestServer> {
  const requests: IncomingMessage[] = [];
  const listener: Handler = (request, response) => {
    requests.push(request);
    handler(request, response);
  };
  const server = tls ? createHttpsServer({ cert: CERTIFICATE, key: KEY }, listener) : createHttpServer(listener);
  return opened(server, requests, host, port);
}

/** A server that speaks for itself, byte by byte. */
function serveRaw(onSocket: (socket: Socket) => void): Promise<TestServer> {
  const server = createTcpServer((socket) => onSocket(socket.resume()));
  return opened(server, [], "127.0.0.1");
}

const image: Handler = (_request, response) => {
  response.writeHead(200, { "content-type": "image/jpeg" }).end("picture");
};

function redirectTo(location: string, status = 302): Handler {
  return (_request, response) => {
    response.writeHead(status, { location }).end("moved");
  };
}

/** A resolver that gives one list of addresses after another, the last for ever, and counts how often it was asked. */
function resolver(...answers: string[][]): { lookup: NonNullable<FetchPolicy["lookup"]>; asked: string[] } {
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

function get(url: string, options: Partial<GuardedFetchOptions> = {}): ReturnType<typeof guardedFetch> {
  return guardedFetch(url, { maxBytes: 1_000, policy: LOCAL, ...options });
}

async function errorOf(failing: Promise<unknown>): Promise<GuardedFetchError> {
  const error = await failing.then(
    () => expect.fail("was fetched"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(GuardedFetchError);
  return error as GuardedFetchError;
}

/** The error with which the body ends, for a download whose head is as wanted. */
async function bodyErrorOf(url: string, options: Partial<GuardedFetchOptions> = {}): Promise<GuardedFetchError> {
  const { body } = await get(url, options);
  return errorOf(buffer(body));
}

async function expectAllClosed(server: TestServer): Promise<void> {
  await expect.poll(() => server.sockets.every((socket) => socket.destroyed)).toBe(true);
}

const nextTurn = promisify(setImmediate);

const defaultCertificates = getCACertificates("default");
beforeAll(() => setDefaultCACertificates([...defaultCertificates, CERTIFICATE]));
afterEach(() => vi.useRealTimers());
afterAll(() => setDefaultCACertificates(defaultCertificates));

describe("API7:2023 Server Side Request Forgery: what is contacted", () => {
  test.each([
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "0x7f000001",
    "[::ffff:127.0.0.1]",
    "[::1]",
    "localhost",
    "x.localhost.",
  ])("without a policy, a server that listens on this machine is not contacted as %s", async (host) => {
    await using server = await serve(image);
    const error = await errorOf(get(`http://${host}:${server.port}/`, { policy: { ports: "any" } }));
    expect(error).toMatchObject({ code: "not_allowed", transient: false });
    expect(error.message).toBe("The URL points to a private or reserved network, which is never contacted.");
    expect(server.sockets).toHaveLength(0);
  });

  test("a name of a private address is not contacted, and its error says no more than that of the address", async () => {
    await using server = await serve(image);
    const { lookup, asked } = resolver(["127.0.0.1"]);
    const error = await errorOf(get(`http://media.test:${server.port}/`, { policy: { ports: "any", lookup } }));
    expect(error.message).toBe("The URL points to a private or reserved network, which is never contacted.");
    expect(inspect(error, { depth: 9 })).not.toContain("127.0.0.1");
    expect(asked).toEqual(["media.test"]);
    expect(server.sockets).toHaveLength(0);
  });

  test("the system's own resolver is guarded as well", async () => {
    await using server = await serve(image);
    const policy: FetchPolicy = { ports: "any", allowPrivate: () => false };
    const error = await errorOf(get(`http://localhost:${server.port}/`, { policy }));
    expect(error.code).toBe("not_allowed");
    expect(server.sockets).toHaveLength(0);
  });

  test("a name with public and private addresses is refused whole, whichever comes first", async () => {
    await using server = await serve(image);
    for (const answer of [
      ["8.8.8.8", "127.0.0.1"],
      ["127.0.0.1", "8.8.8.8"],
      ["2606:4700::1111", "::ffff:127.0.0.1"],
    ]) {
      const { lookup } = resolver(answer);
      const error = await errorOf(get(`http://media.test:${server.port}/`, { policy: { ports: "any", lookup } }));
      expect(error.code).toBe("not_allowed");
    }
    expect(server.sockets).toHaveLength(0);
  });

  test("a name that is rebound between two answers is asked once and connected to by the checked answer", async () => {
    await using open = await serve(image, { host: "127.0.0.2" });
    await using inner = await serve(image, { port: open.port });
    const { lookup, asked } = resolver(["127.0.0.2"], ["127.0.0.1"]);
    const policy: FetchPolicy = { ports: "any", lookup, allowPrivate: (address) => address === "127.0.0.2" };
    const url = `http://media.test:${open.port}/`;

    expect(await text((await get(url, { policy })).body)).toBe("picture");
    expect(asked).toEqual(["media.test"]);
    expect(open.sockets).toHaveLength(1);

    const error = await errorOf(get(url, { policy }));
    expect(error.code).toBe("not_allowed");
    expect(asked).toHaveLength(2);
    expect(open.sockets).toHaveLength(1);
    expect(inner.sockets).toHaveLength(0);
  });

  test("a name that is rebound between two hops is checked anew on the second, over a connection of its own", async () => {
    await using open = await serve(
      (request, response) => (request.url === "/" ? redirectTo("/next") : image)(request, response),
      { host: "127.0.0.2" },
    );
    await using inner = await serve(image, { port: open.port });
    const rebound = resolver(["127.0.0.2"], ["127.0.0.1"]);
    const allowPrivate = (address: string): boolean => address === "127.0.0.2";
    const url = `http://media.test:${open.port}/`;

    const error = await errorOf(get(url, { policy: { ports: "any", allowPrivate, lookup: rebound.lookup } }));
    expect(error.code).toBe("not_allowed");
    expect(error.message).toMatch(/^The URL redirects to one that points to a private/);
    expect(inner.sockets).toHaveLength(0);

    const steady = resolver(["127.0.0.2"]);
    const { body } = await get(url, { policy: { ports: "any", allowPrivate, lookup: steady.lookup } });
    expect(await text(body)).toBe("picture");
    expect(steady.asked).toHaveLength(2);
    expect(open.sockets).toHaveLength(3);
  });

  test.each([301, 302, 303, 307, 308])(
    "a %d to a private address is refused, and the address not contacted",
    async (status) => {
      await using inner = await serve(image);
      await using open = await serve(redirectTo(`${inner.origin}/?${SECRET}`, status));
      const allowPrivate = (_address: string, port: number): boolean => port === open.port;
      const error = await errorOf(get(open.origin, { policy: { ports: "any", allowPrivate } }));
      expect(error).toMatchObject({ code: "not_allowed", transient: false });
      expect(error.message).toBe(
        "The URL redirects to one that points to a private or reserved network, which is never contacted.",
      );
      expect(open.requests).toHaveLength(1);
      expect(inner.sockets).toHaveLength(0);
      await expectAllClosed(open);
    },
  );

  test.each([
    ["file:///etc/passwd", "bad_url"],
    ["gopher://127.0.0.1/", "bad_url"],
    ["http://[", "bad_url"],
    ["http://user:pass@127.0.0.1/", "bad_url"],
    ["http://169.254.169.254/latest/meta-data/", "not_allowed"],
    ["//0xa9fea9fe/latest/meta-data/", "not_allowed"],
    ["http://[::1]/", "not_allowed"],
    ["http://8.8.8.8:25/", "not_allowed"],
  ])("a redirect to %s is refused as a first URL would be", async (location, code) => {
    await using open = await serve(redirectTo(location));
    const { port } = open;
    const policy: FetchPolicy = { ports: [80, port], allowPrivate: (_address, to) => to === port };
    expect((await errorOf(get(open.origin, { policy }))).code).toBe(code);
  });

  test("a redirect out of https into http is not followed", async () => {
    await using plain = await serve(image);
    await using secure = await serve(redirectTo(plain.origin), { tls: true });
    const { lookup } = resolver(["127.0.0.1"]);
    const error = await errorOf(get(`https://media.test:${secure.port}/`, { policy: { ...LOCAL, lookup } }));
    expect(error).toMatchObject({ code: "not_allowed", transient: false });
    expect(error.message).toMatch(/https to http/);
    expect(secure.requests).toHaveLength(1);
    expect(plain.sockets).toHaveLength(0);
  });

  test("a redirect out of http into https is followed, and the server's certificate checked against its name", async () => {
    await using secure = await serve(image, { tls: true });
    await using plain = await serve(redirectTo(`https://media.test:${secure.port}/a`));
    await using wrong = await serve(redirectTo(`https://other.test:${secure.port}/a`));
    const { lookup } = resolver(["127.0.0.1"]);
    const { body, url } = await get(plain.origin, { policy: { ...LOCAL, lookup } });
    expect(await text(body)).toBe("picture");
    expect(url).toBe(`https://media.test:${secure.port}/a`);
    expect((await errorOf(get(wrong.origin, { policy: { ...LOCAL, lookup } }))).code).toBe("unreachable");
    expect(secure.requests).toHaveLength(1);
  });

  test("five redirects are followed, a sixth is not, and a loop ends there", async () => {
    await using chain = await serve((request, response) => {
      const left = Number(request.url?.slice(1));
      (left === 0 ? image : redirectTo(`/${left - 1}`))(request, response);
    });
    const { body, url } = await get(`${chain.origin}/5`);
    expect(await text(body)).toBe("picture");
    expect(url).toBe(`${chain.origin}/0`);
    expect(await errorOf(get(`${chain.origin}/6`))).toMatchObject({ code: "too_many_redirects", transient: false });

    await using loop = await serve(redirectTo("/"));
    expect((await errorOf(get(loop.origin))).code).toBe("too_many_redirects");
    expect(loop.requests).toHaveLength(6);
    expect((await errorOf(get(loop.origin, { maxRedirects: 0 }))).code).toBe("too_many_redirects");
    expect(loop.requests).toHaveLength(7);
  });

  test("the connection of a redirect is closed, however much it has to say", async () => {
    await using chatty = await serve((request, response) => {
      if (request.url === "/next") image(request, response);
      else response.writeHead(302, { location: "/next" }).write("and then");
    });
    expect(await text((await get(chatty.origin)).body)).toBe("picture");
    expect(chatty.sockets).toHaveLength(2);
    await expectAllClosed(chatty);
  });

  test("nothing of ours goes along, and a cookie that is set on the way is not sent on", async () => {
    await using server = await serve((request, response) => {
      if (request.url === "/") response.setHeader("set-cookie", "a=b");
      (request.url === "/" ? redirectTo("/next") : image)(request, response);
    });
    (await get(server.origin)).body.destroy();
    expect(server.requests.map(({ method, headers }) => ({ method, headers }))).toEqual(
      [1, 2].map(() => ({
        method: "GET",
        headers: {
          accept: "*/*",
          "accept-encoding": "identity",
          connection: "close",
          host: `127.0.0.1:${server.port}`,
          "user-agent": "auto-prospect",
        },
      })),
    );
  });

  test("a proxy in the environment is not used, although Node is told to use it", async () => {
    await using proxy = await serve(image);
    await using server = await serve(image);
    const module = new URL("../../src/core/guarded-fetch.ts", import.meta.url).href;
    const script = `
      import { text } from "node:stream/consumers";
      import { get } from "node:http";
      import { guardedFetch } from ${JSON.stringify(module)};
      const policy = { allowPrivate: true, ports: "any" };
      const { body } = await guardedFetch(process.argv[1], { maxBytes: 100, policy });
      console.log(await text(body));
      if (process.argv[2] === "control") get(process.argv[1], (response) => response.resume());
    `;
    const run = (mode: string): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ["--input-type=module", "-e", script, server.origin, mode], {
        cwd: fileURLToPath(new URL(".", import.meta.url)),
        env: { NODE_USE_ENV_PROXY: "1", HTTP_PROXY: proxy.origin, http_proxy: proxy.origin },
      });
    expect((await run("guarded")).stdout).toBe("picture\n");
    expect(server.requests).toHaveLength(1);
    expect(proxy.sockets).toHaveLength(0);
    // Proof that such an environment does send an unguarded request to the proxy.
    await run("control");
    expect(proxy.requests).toHaveLength(1);
  });

  test.each([
    ["not a url", "bad_url"],
    ["file:///etc/passwd", "bad_url"],
    [`https://user:${SECRET}@media.test/`, "bad_url"],
    ["http://media.test:22/", "not_allowed"],
  ])("%s is refused before its name is looked up", async (url, code) => {
    const { lookup, asked } = resolver(["8.8.8.8"]);
    const error = await errorOf(get(url, { policy: { lookup } }));
    expect(error).toMatchObject({ code, transient: false });
    expect(inspect(error, { depth: 9 })).not.toContain(SECRET);
    expect(asked).toEqual([]);
  });
});

describe("guardedFetch: a download", () => {
  test("gives the final URL, the type without parameters, the length and the bytes", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "Audio/MPEG; charset=binary", "content-length": 5 }).end("sound");
    });
    const { body, ...head } = await get(`${server.origin}/a?b=c`);
    expect(head).toEqual({ url: `${server.origin}/a?b=c`, contentType: "audio/mpeg", contentLength: 5 });
    expect(await text(body)).toBe("sound");
    await expectAllClosed(server);
  });

  test.each([
    ["missing", undefined],
    ["no type", "nonsense"],
    ["not of a type's characters", "image/<script>"],
    ["endless", `image/${"x".repeat(500)}`],
  ])("a content type that is %s is taken for unknown bytes", async (_case, type) => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, type === undefined ? {} : { "content-type": type }).end("bytes");
    });
    const { body, contentType } = await get(server.origin);
    body.destroy();
    expect(contentType).toBe("application/octet-stream");
  });

  test("without a content-length none is given, and an empty body is one", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "transfer-encoding": "chunked" }).end();
    });
    const { body, ...head } = await get(server.origin);
    expect(head).not.toHaveProperty("contentLength");
    expect(await text(body)).toBe("");
  });

  test("one of a name's addresses that does not answer is passed over for the next", async () => {
    await using server = await serve(image);
    const { lookup } = resolver(["::1", "127.0.0.1"]);
    const { body } = await get(`http://media.test:${server.port}/`, { policy: { ...LOCAL, lookup } });
    expect(await text(body)).toBe("picture");
    expect(server.requests[0]?.headers.host).toBe(`media.test:${server.port}`);
  });

  test("several megabytes arrive whole at a reader that takes its time", async () => {
    const sent = Buffer.alloc(3_000_000, "0123456789");
    await using server = await serve((_request, response) => response.end(sent));
    const { body } = await get(server.origin, { maxBytes: sent.length });
    const chunks: Buffer[] = [];
    for await (const chunk of body) {
      chunks.push(chunk as Buffer);
      await nextTurn();
    }
    expect(Buffer.concat(chunks).equals(sent)).toBe(true);
    await expectAllClosed(server);
  });
});

describe("guardedFetch: size and type", () => {
  test("a content-length over the limit is refused before a byte is read, and the connection closed", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-length": 1_001 }).write("x");
    });
    expect(await errorOf(get(server.origin))).toMatchObject({ code: "too_big", transient: false });
    await expectAllClosed(server);
  });

  test("chunks without a length are cut off at the limit, and the connection closed", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200);
      const more = (): void => {
        while (!response.destroyed && response.write("x".repeat(100)));
      };
      response.on("drain", more);
      more();
    });
    expect(await bodyErrorOf(server.origin)).toMatchObject({ code: "too_big", transient: false });
    await expectAllClosed(server);
  });

  test("exactly the limit is not too big, with a length and without", async () => {
    await using server = await serve((request, response) => {
      if (request.url === "/length") response.setHeader("content-length", 1_000);
      else response.setHeader("transfer-encoding", "chunked");
      response.end("x".repeat(1_000));
    });
    for (const path of ["/length", "/chunked"]) {
      expect(await buffer((await get(server.origin + path)).body)).toHaveLength(1_000);
    }
  });

  test("one byte over the limit is, and the reader has never got more than the limit", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "transfer-encoding": "chunked" });
      response.write("x".repeat(1_000));
      response.end("x");
    });
    const { body } = await get(server.origin);
    let read = 0;
    const reading = (async () => {
      for await (const chunk of body) read += (chunk as Buffer).length;
    })();
    expect((await errorOf(reading)).code).toBe("too_big");
    expect(read).toBeLessThanOrEqual(1_000);
  });

  test.each(["gzip", "br", "x-unknown", "identity, gzip"])(
    "content encoded as %s is refused unread",
    async (encoding) => {
      const bomb = gzipSync(Buffer.alloc(5_000_000));
      await using server = await serve((_request, response) => {
        response.writeHead(200, { "content-encoding": encoding, "content-type": "image/jpeg" }).end(bomb);
      });
      expect(await errorOf(get(server.origin, { maxBytes: 100_000 }))).toMatchObject({
        code: "wrong_type",
        transient: false,
      });
      await expectAllClosed(server);
    },
  );

  test("an encoding that is none is let through", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-encoding": " Identity " }).end("plain");
    });
    expect(await text((await get(server.origin)).body)).toBe("plain");
  });

  test("a type that the caller does not want is refused, and the connection closed", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "Text/HTML; charset=utf-8" }).write("<html>");
    });
    const asked: string[] = [];
    const accept = (type: string): boolean => {
      asked.push(type);
      return type.startsWith("image/");
    };
    const error = await errorOf(get(server.origin, { accept }));
    expect(error).toMatchObject({ code: "wrong_type", transient: false });
    expect(error.message).toMatch(/sends text\/html/);
    expect(asked).toEqual(["text/html"]);
    await expectAllClosed(server);
  });
});

describe("guardedFetch: answers that are none", () => {
  test.each([
    [304, false],
    [400, false],
    [401, false],
    [404, false],
    [410, false],
    [408, true],
    [429, true],
    [500, true],
    [503, true],
  ])("a %d is an error; worth another attempt: %s", async (status, transient) => {
    await using server = await serve((_request, response) => {
      response.writeHead(status).end();
    });
    const error = await errorOf(get(server.origin));
    expect(error).toMatchObject({ code: "http_status", status, transient });
    await expectAllClosed(server);
  });

  test("a redirect to nowhere is an error by its status", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(302).end();
    });
    expect(await errorOf(get(server.origin))).toMatchObject({ code: "http_status", status: 302 });
  });

  test.each([
    ["closes at once", (socket: Socket) => socket.destroy()],
    ["speaks something else", (socket: Socket) => socket.end("220 mail.test ESMTP\r\n")],
    [
      "switches protocols",
      (socket: Socket) => socket.write("HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"),
    ],
    [
      "sends headers without end",
      (socket: Socket) => socket.write(`HTTP/1.1 200 OK\r\n${"x-a: b\r\n".repeat(20_000)}`),
    ],
  ])("a server that %s is unreachable for now", async (_case, onSocket) => {
    await using server = await serveRaw(onSocket);
    expect(await errorOf(get(server.origin))).toMatchObject({ code: "unreachable", transient: true });
    await expectAllClosed(server);
  });

  test("so is a port where nobody listens", async () => {
    const server = await serve(image);
    await server[Symbol.asyncDispose]();
    expect(await errorOf(get(server.origin))).toMatchObject({ code: "unreachable", transient: true });
  });

  test("so is a name that does not resolve, or to nothing", async () => {
    const lookup = (): Promise<never> => Promise.reject(new Error("getaddrinfo ENOTFOUND"));
    for (const policy of [{ lookup }, resolver([])]) {
      expect(await errorOf(get("http://media.test/", { policy }))).toMatchObject({
        code: "unreachable",
        transient: true,
      });
    }
  });

  test("a body that breaks off is an error, not a shorter file", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("half", () => response.destroy());
    });
    expect(await bodyErrorOf(server.origin)).toMatchObject({ code: "unreachable", transient: true });
  });
});

describe("guardedFetch: time", () => {
  test("a resolver that does not answer is given up", async () => {
    const lookup = (): Promise<never> => new Promise(() => {});
    const error = await errorOf(get("http://media.test/", { policy: { lookup }, timeouts: { connectMs: 50 } }));
    expect(error).toMatchObject({ code: "timeout", transient: true });
    expect(error.message).toMatch(/could not be connected to/);
  });

  test("a server that never finishes the TLS handshake is given up as not connected", async () => {
    await using server = await serveRaw(() => {});
    const error = await errorOf(get(`https://127.0.0.1:${server.port}/`, { timeouts: { connectMs: 50 } }));
    expect(error.code).toBe("timeout");
    expect(error.message).toMatch(/could not be connected to/);
    await expectAllClosed(server);
  });

  test.each([false, true])("a server that hangs before it answers is given up (TLS: %s)", async (tls) => {
    await using server = await serve(() => {}, { tls });
    const policy = { ...LOCAL, lookup: resolver(["127.0.0.1"]).lookup };
    const url = `${tls ? "https" : "http"}://media.test:${server.port}/`;
    const error = await errorOf(get(url, { policy, timeouts: { idleMs: 200 } }));
    expect(error).toMatchObject({ code: "timeout", transient: true });
    expect(error.message).toMatch(/does not answer/);
    expect(server.requests).toHaveLength(1);
    await expectAllClosed(server);
  });

  test.each([
    ["before its first byte", ""],
    ["in the middle", "half"],
  ])("a body that stalls %s is given up", async (_case, sent) => {
    await using server = await serve((_request, response) => {
      response.writeHead(200).flushHeaders();
      if (sent !== "") response.write(sent);
    });
    const error = await bodyErrorOf(server.origin, { timeouts: { idleMs: 300 } });
    expect(error).toMatchObject({ code: "timeout", transient: true });
    expect(error.message).toMatch(/stopped sending/);
    await expectAllClosed(server);
  });

  test("a trickle that never stalls ends with the deadline", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200).flushHeaders();
      const trickle = setInterval(() => response.write("x"), 10);
      response.on("close", () => clearInterval(trickle));
    });
    const error = await bodyErrorOf(server.origin, { timeouts: { idleMs: 5_000, totalMs: 400 } });
    expect(error).toMatchObject({ code: "timeout", transient: true });
    expect(error.message).toMatch(/not complete after 0.4 seconds/);
    await expectAllClosed(server);
  });

  test("a trickle of headers ends as a server that does not answer", async () => {
    await using server = await serveRaw((socket) => {
      socket.write("HTTP/1.1 200 OK\r\n");
      const trickle = setInterval(() => socket.write("x-a: b\r\n"), 10);
      socket.on("close", () => clearInterval(trickle));
    });
    expect((await errorOf(get(server.origin, { timeouts: { idleMs: 100 } }))).code).toBe("timeout");
    await expectAllClosed(server);
  });

  test("redirects do not start the deadline anew", async () => {
    await using server = await serve((_request, response) => {
      setTimeout(() => redirectTo("/")(_request, response), 60);
    });
    const error = await errorOf(get(server.origin, { maxRedirects: 100, timeouts: { totalMs: 400 } }));
    expect(error.code).toBe("timeout");
    expect(server.requests.length).toBeGreaterThan(1);
  });

  test("a reader that pauses is not taken for a server that stalls", async () => {
    const sent = Buffer.alloc(2_000_000, "x");
    await using server = await serve((_request, response) => response.end(sent));
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { body } = await get(server.origin, { maxBytes: sent.length, timeouts: { idleMs: 500, totalMs: 10_000 } });
    let read = 0;
    for await (const chunk of body) {
      if (read === 0) {
        await expect.poll(() => body.readableLength).toBeGreaterThanOrEqual(body.readableHighWaterMark);
        for (let turn = 0; turn < 100; turn += 1) await nextTurn();
        // The server is made to wait; its bytes are not piled up here.
        expect(body.readableLength).toBeLessThan(sent.length / 2);
        vi.advanceTimersByTime(5_000);
      }
      read += (chunk as Buffer).length;
    }
    expect(read).toBe(sent.length);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("a body that nobody reads is ended by the deadline, not as a stall, and the error waits for the reader", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200).write("half");
    });
    const { body } = await get(server.origin, { timeouts: { idleMs: 200, totalMs: 500 } });
    await expectAllClosed(server);
    const error = await errorOf(buffer(body));
    expect(error.code).toBe("timeout");
    expect(error.message).toMatch(/not complete/);
  });

  test("a body that has arrived whole is no longer watched", async () => {
    await using server = await serve(image);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { body } = await get(server.origin);
    expect(vi.getTimerCount()).toBe(1);
    await once(body, "readable");
    await expect.poll(() => vi.getTimerCount()).toBe(0);
    expect(await text(body)).toBe("picture");
  });

  test.each<[string, (url: string, signal: AbortSignal) => Promise<unknown>]>([
    ["is read", async (url, signal) => text((await get(url, { signal })).body)],
    ["is dropped", async (url, signal) => once((await get(url, { signal })).body.destroy(), "close")],
    ["breaks off", (url, signal) => errorOf(get(`${url}/gone`, { signal }))],
    ["is not wanted", (url, signal) => errorOf(get(url, { signal, accept: () => false }))],
    ["is refused", (url, signal) => errorOf(get(url, { signal, policy: {} }))],
  ])("a download that %s leaves no timer and no listener behind", async (_case, download) => {
    await using server = await serve((request, response) => {
      if (request.url === "/gone") request.socket.destroy();
      else image(request, response);
    });
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { signal } = new AbortController();
    await download(server.origin, signal);
    expect(vi.getTimerCount()).toBe(0);
    expect(getEventListeners(signal, "abort")).toEqual([]);
  });
});

describe("guardedFetch: the caller's will", () => {
  test("a signal that was given before prevents the look-up", async () => {
    const { lookup, asked } = resolver(["8.8.8.8"]);
    const reason = new Error("shutting down");
    await expect(get("http://media.test/", { policy: { lookup }, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
    expect(asked).toEqual([]);
  });

  test("a signal ends a request that is waiting, with its reason", async () => {
    const ending = new AbortController();
    const reason = new Error("shutting down");
    await using server = await serve(() => ending.abort(reason));
    await expect(get(server.origin, { signal: ending.signal })).rejects.toBe(reason);
    await expectAllClosed(server);
  });

  test("a signal at the very moment of the answer ends it too", async () => {
    const ending = new AbortController();
    const reason = new Error("shutting down");
    await using server = await serve(image);
    const onAnswer = (): void => ending.abort(reason);
    subscribe("http.client.response.finish", onAnswer);
    try {
      await expect(get(server.origin, { signal: ending.signal })).rejects.toBe(reason);
    } finally {
      unsubscribe("http.client.response.finish", onAnswer);
    }
    await expectAllClosed(server);
  });

  test("a signal ends a body in the middle, with its reason", async () => {
    const ending = new AbortController();
    const reason = new Error("shutting down");
    await using server = await serve((_request, response) => {
      response.writeHead(200).write("half");
    });
    const { body } = await get(server.origin, { signal: ending.signal });
    const reading = buffer(body);
    ending.abort(reason);
    await expect(reading).rejects.toBe(reason);
    await expectAllClosed(server);
  });

  test("a reader that stops in the middle closes the connection", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200).write("half");
    });
    const { body } = await get(server.origin);
    for await (const chunk of body) {
      expect(String(chunk)).toBe("half");
      break;
    }
    await expectAllClosed(server);
  });
});

describe("guardedFetch: what an error tells", () => {
  test("names the caller's host, and neither path nor query, in any of its failures", async () => {
    await using server = await serve((request, response) => {
      const { pathname } = new URL(request.url ?? "", "http://x");
      if (pathname === `/${SECRET}/big`) response.writeHead(200, { "content-length": 9_999 }).end();
      else if (pathname === `/${SECRET}/moved`) redirectTo(`/${SECRET}/moved?${SECRET}`)(request, response);
      else if (pathname === `/${SECRET}/inside`) redirectTo(`http://${SECRET}@127.0.0.1/?${SECRET}`)(request, response);
      else if (pathname === `/${SECRET}/hang`) return;
      else if (pathname === `/${SECRET}/gone`) request.socket.destroy();
      else response.writeHead(404, SECRET).end(SECRET);
    });
    for (const path of ["big", "moved", "inside", "hang", "gone", "missing"]) {
      const url = `${server.origin}/${SECRET}/${path}?token=${SECRET}#${SECRET}`;
      const error = await errorOf(get(url, { timeouts: { idleMs: 100 } }));
      expect(inspect(error, { depth: 9, showHidden: true })).not.toContain(SECRET);
    }
    expect((await errorOf(get(`${server.origin}/${SECRET}`))).message).toBe(
      `The server at 127.0.0.1:${server.port} answers with status 404.`,
    );
  });

  test("does not name where a redirect leads", async () => {
    await using second = await serve((_request, response) => {
      response.writeHead(404).end();
    });
    const { lookup } = resolver(["127.0.0.1"]);
    await using first = await serve(redirectTo(`http://inner.test:${second.port}/`));
    const error = await errorOf(get(first.origin, { policy: { ...LOCAL, lookup } }));
    expect(error.message).toBe(`A server that 127.0.0.1:${first.port} redirects to answers with status 404.`);
  });

  test("does not repeat a host without end", async () => {
    const lookup = (): Promise<never> => Promise.reject(new Error("no such name"));
    const error = await errorOf(get(`http://${"a".repeat(5_000)}.test/`, { policy: { lookup } }));
    expect(error.message.length).toBeLessThan(250);
  });
});
