import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { buffer } from "node:stream/consumers";
import { inspect } from "node:util";
import { describe, expect, onTestFinished, test } from "vitest";
import type { MediaKind } from "../../src/channels/media.ts";
import { createOpenMedia, type OpenMediaOptions } from "../../src/channels/whatsapp/open-media.ts";
import { createRecentUploads } from "../../src/channels/whatsapp/recent-uploads.ts";
import type { FetchPolicy } from "../../src/core/addresses.ts";
import { PermanentError, ProviderError, TransientError, UnavailableError } from "../../src/core/errors.ts";
import type { UploadedMedia } from "../../src/store/sessions.ts";
import { FILES } from "../helpers/media-files.ts";

const LOCAL: FetchPolicy = { allowPrivate: true, ports: "any" };
const TOKEN = "s3cr3t-t0k3n";
const uploads = { media: async (): Promise<UploadedMedia | undefined> => undefined };

interface Served {
  origin: string;
  port: number;
  requests: IncomingMessage[];
  sockets: Set<Socket>;
}

async function serve(handler: (request: IncomingMessage, response: ServerResponse) => void): Promise<Served> {
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

const file = (type: string | undefined, bytes: Buffer) =>
  serve((_request, response) => {
    response.writeHead(200, type === undefined ? {} : { "content-type": type }).end(bytes);
  });

function openerFor(options: Partial<OpenMediaOptions> = {}) {
  const open = createOpenMedia({ provider: "baileys", uploads, policy: LOCAL, ...options });
  return (url: string, kind: MediaKind = "image", signal?: AbortSignal) =>
    open({ url }, kind, { accountId: undefined, signal });
}
const open = openerFor();

async function errorOf(failing: Promise<unknown>): Promise<ProviderError> {
  const error = await failing.then(
    () => expect.fail("was opened"),
    (error: unknown) => error,
  );
  expect(error).toBeInstanceOf(ProviderError);
  expect(error).toMatchObject({ provider: "baileys", delivery: "not_sent" });
  return error as ProviderError;
}

/** Nothing was left open at the server. */
async function isLeftAlone(server: Served): Promise<void> {
  await expect.poll(() => server.sockets.size).toBe(0);
}

describe("a file by URL", () => {
  test("of a wanted type → its bytes, streamed, and the type", async () => {
    const whole = Buffer.concat([FILES.jpeg, Buffer.alloc(1_000_000, 7)]);
    const { origin } = await file("image/jpeg; x=y", whole);
    const { stream, contentType, fileName } = await open(`${origin}/a`);
    expect([contentType, fileName]).toEqual(["image/jpeg", undefined]);
    let chunks = 0;
    const parts: Buffer[] = [];
    for await (const chunk of stream) {
      chunks += 1;
      parts.push(chunk as Buffer);
    }
    expect(Buffer.concat(parts).equals(whole)).toBe(true);
    expect(chunks).toBeGreaterThan(3);
  });

  test.each([1, 511, 512, 513])("with %i bytes after its mark → not one is lost", async (length) => {
    const whole = Buffer.concat([FILES.pdf, Buffer.alloc(length, 1)]);
    const { origin } = await file("application/pdf", whole);
    const { stream } = await open(origin, "document");
    expect((await buffer(stream)).equals(whole)).toBe(true);
  });

  test("that comes byte by byte → not one is lost", async () => {
    const whole = Buffer.concat([FILES.png, Buffer.alloc(600, 1)]);
    const { origin } = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/png" });
      let place = 0;
      const next = (): void => {
        if (place >= whole.length) response.end();
        else response.write(whole.subarray(place, (place += 7)), () => setImmediate(next));
      };
      next();
    });
    const { stream } = await open(origin);
    expect((await buffer(stream)).equals(whole)).toBe(true);
  });

  test("whose server does not say what it is → what its bytes say", async () => {
    const { origin } = await file(undefined, FILES.png);
    expect(await open(origin)).toMatchObject({ contentType: "image/png" });
    const wrong = await file("image/png", FILES.jpeg);
    expect(await open(wrong.origin)).toMatchObject({ contentType: "image/jpeg" });
  });

  test("that is opened and then not wanted → the connection is given back", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]));
    });
    const { stream } = await open(server.origin);
    stream.destroy();
    await isLeftAlone(server);
    expect(server.requests).toHaveLength(1);
  });

  test.each([
    [404, PermanentError, "media_gone"],
    [410, PermanentError, "media_gone"],
    [401, PermanentError, "media_refused"],
    [403, PermanentError, "media_refused"],
    [429, TransientError, "media_unreachable"],
    [500, TransientError, "media_unreachable"],
    [503, TransientError, "media_unreachable"],
  ])("answered with %i → %o %s", async (status, kind, code) => {
    const { origin } = await serve((_request, response) => void response.writeHead(status).end("no"));
    const error = await errorOf(open(origin));
    expect(error).toBeInstanceOf(kind);
    expect(error.code).toBe(code);
  });

  test("nobody answers, or breaks off in the middle → may succeed later", async () => {
    expect(await errorOf(open("http://127.0.0.1:1/"))).toMatchObject({
      name: "TransientError",
      code: "media_unreachable",
    });
    const { origin } = await serve((request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg", "content-length": 5000 });
      response.write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]), () => request.socket.destroy());
    });
    const { stream } = await open(origin);
    expect(await errorOf(buffer(stream))).toMatchObject({ name: "TransientError", code: "media_unreachable" });
  });

  test("the attempt is ended, before or within the file → not sent, and nothing stays open", async () => {
    const controller = new AbortController();
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(Buffer.concat([FILES.jpeg, Buffer.alloc(1000)]));
    });
    const { stream } = await open(server.origin, "image", controller.signal);
    const failing = errorOf(buffer(stream));
    controller.abort(new Error("the service stops"));
    expect(await failing).toMatchObject({ name: "TransientError", code: "media_aborted" });
    await isLeftAlone(server);
    expect(await errorOf(open(server.origin, "image", controller.signal))).toMatchObject({ code: "media_aborted" });
    expect(server.requests).toHaveLength(1);
  });

  test("more redirects than anybody needs → refused", async () => {
    const { origin } = await serve((_request, response) => void response.writeHead(302, { location: "/again" }).end());
    expect(await errorOf(open(origin))).toMatchObject({ name: "PermanentError", code: "media_refused" });
  });
});

describe("API7:2023 server-side request forgery: a picture by URL", () => {
  /** As in production: nothing private. The ports are open, so that it is the address that is refused. */
  const guarded = openerFor({ policy: { ports: "any" } });

  test.each([
    ["the loopback address", (port: number) => `http://127.0.0.1:${port}/`],
    ["another of it", (port: number) => `http://127.7.7.7:${port}/`],
    ["its name", (port: number) => `http://localhost:${port}/`],
    ["it as one decimal number", (port: number) => `http://2130706433:${port}/`],
    ["it in octal", (port: number) => `http://0177.0.0.1:${port}/`],
    ["it in hexadecimal", (port: number) => `http://0x7f000001:${port}/`],
    ["it within IPv6", (port: number) => `http://[::ffff:127.0.0.1]:${port}/`],
    ["no address, which is this machine", (port: number) => `http://0.0.0.0:${port}/`],
    ["the cloud's metadata", () => "http://169.254.169.254/latest/meta-data/"],
  ])("%s → refused, and nobody is asked", async (_, urlAt) => {
    const server = await file("image/jpeg", FILES.jpeg);
    const error = await errorOf(guarded(urlAt(server.port)));
    expect(error).toMatchObject({ name: "PermanentError", code: "media_not_allowed" });
    expect(server.requests).toEqual([]);
  });

  test("a public server that redirects to the loopback address → refused there", async () => {
    const inside = await file("image/jpeg", FILES.jpeg);
    const outside = await serve(
      (_request, response) => void response.writeHead(302, { location: `${inside.origin}/?token=${TOKEN}` }).end(),
    );
    // Only the first server counts as public.
    const policy: FetchPolicy = { ports: "any", allowPrivate: (_address, port) => port === outside.port };
    const error = await errorOf(openerFor({ policy })(outside.origin));
    expect(error).toMatchObject({ name: "PermanentError", code: "media_not_allowed" });
    expect([outside.requests.length, inside.requests.length]).toEqual([1, 0]);
    expect(error.message).not.toContain(String(inside.port));
  });

  test("a name that resolves to the loopback address → refused", async () => {
    const server = await file("image/jpeg", FILES.jpeg);
    const lookup = async () => [{ address: "127.0.0.1", family: 4 }];
    const error = await errorOf(
      openerFor({ policy: { ports: "any", lookup } })(`http://cdn.example.com:${server.port}/`),
    );
    expect(error).toMatchObject({ name: "PermanentError", code: "media_not_allowed" });
    expect(server.requests).toEqual([]);
  });

  test("another scheme, a password, a port of something else → refused", async () => {
    const strict = openerFor({ policy: {} });
    for (const url of ["file:///etc/passwd", "ftp://example.com/a", "data:image/png;base64,AA", "gopher://x/"])
      expect(await errorOf(strict(url))).toMatchObject({ name: "PermanentError", code: "media_not_allowed" });
    for (const url of [`http://u:${TOKEN}@example.com/`, "http://example.com:6379/", "nonsense"]) {
      const error = await errorOf(strict(url));
      expect(error).toMatchObject({ name: "PermanentError", code: "media_not_allowed" });
      expect(inspect(error)).not.toContain(TOKEN);
    }
  });

  test.each([
    ["that never answers", () => {}],
    [
      "that stops in the middle",
      (_request: IncomingMessage, response: ServerResponse) =>
        void response.writeHead(200, { "content-type": "image/jpeg" }).write(FILES.jpeg),
    ],
  ])("a server %s → given up after a while, to be tried again", async (_, handler) => {
    const server = await serve(handler);
    const impatient = openerFor({ timeouts: { idleMs: 100 } });
    const error = await errorOf(impatient(server.origin));
    expect(error).toMatchObject({ name: "TransientError", code: "media_timeout" });
    await isLeftAlone(server);
  });

  test("a server that sends drop by drop for ever → ended by the deadline, within the stream", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(Buffer.concat([FILES.jpeg, Buffer.alloc(600)]));
      const dripping = setInterval(() => response.write("."), 10);
      response.once("close", () => clearInterval(dripping));
    });
    const { stream } = await openerFor({ timeouts: { totalMs: 200 } })(server.origin);
    expect(await errorOf(buffer(stream))).toMatchObject({ name: "TransientError", code: "media_timeout" });
    await isLeftAlone(server);
  });

  test("a stream without an end → ended at the limit, whatever it said of its length", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg" }).write(FILES.jpeg);
      const pour = (): void => {
        while (response.write(Buffer.alloc(64 * 1024)));
      };
      response.on("drain", pour);
      pour();
    });
    const { stream } = await openerFor({ maxBytes: 1_000_000 })(server.origin);
    expect(await errorOf(buffer(stream))).toMatchObject({ name: "PermanentError", code: "media_too_big" });
    await isLeftAlone(server);
  });

  test("a file that says it is too big → not read", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/jpeg", "content-length": 1_000_001 }).flushHeaders();
    });
    const error = await errorOf(openerFor({ maxBytes: 1_000_000 })(server.origin));
    expect(error).toMatchObject({ name: "PermanentError", code: "media_too_big" });
    await isLeftAlone(server);
  });

  test.each([
    ["HTML that says so", "text/html", FILES.html],
    ["HTML that says it is a picture", "image/jpeg", FILES.html],
    ["SVG", "image/svg+xml", FILES.svg],
    ["SVG that says it is a picture", "image/png", FILES.svg],
    ["a program", "image/png", FILES.exe],
    ["a PDF", "application/pdf", FILES.pdf],
    ["a PDF that says it is a picture", "image/jpeg", FILES.pdf],
    ["nothing at all", "image/jpeg", Buffer.alloc(0)],
  ])("%s → not a picture, for good", async (_, type, bytes) => {
    const server = await file(type, bytes);
    const error = await errorOf(open(`${server.origin}/?token=${TOKEN}`));
    expect(error).toMatchObject({ name: "PermanentError", code: "media_wrong_type" });
    expect(inspect(error, { depth: 9 })).not.toContain(TOKEN);
    await isLeftAlone(server);
  });

  test("a program that says it is a picture, and has no end → left as soon as it is known", async () => {
    const server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "image/png" });
      response.write(Buffer.concat([FILES.exe, Buffer.alloc(2000)]));
    });
    expect(await errorOf(open(server.origin))).toMatchObject({ code: "media_wrong_type" });
    await isLeftAlone(server);
  });

  test("what is asked of the server → a GET that carries nothing of ours", async () => {
    const server = await file("image/jpeg", FILES.jpeg);
    await open(server.origin);
    const [request] = server.requests;
    expect(request?.method).toBe("GET");
    expect(Object.keys(request?.headers ?? {}).toSorted()).toEqual([
      "accept",
      "accept-encoding",
      "connection",
      "host",
      "user-agent",
    ]);
  });
});

describe("a file by upload", () => {
  const upload: UploadedMedia = {
    id: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
    accountId: "acc",
    contentType: "application/pdf",
    fileName: "Estimation.pdf",
    data: FILES.pdf,
  };
  /** As the store answers: nothing to another account. */
  function storeOf(...all: UploadedMedia[]) {
    const asked: string[] = [];
    return {
      asked,
      async media(id: string, accountId: string) {
        asked.push(id);
        return all.find((each) => each.id === id && each.accountId === accountId);
      },
    };
  }
  const openUpload = (options: Partial<OpenMediaOptions>, accountId: string | undefined, kind: MediaKind) =>
    createOpenMedia({ provider: "baileys", uploads: storeOf(upload), ...options })({ mediaId: upload.id }, kind, {
      accountId,
    });

  test("of the same account → its bytes, type and name", async () => {
    const { stream, ...rest } = await openUpload({}, "acc", "document");
    expect(rest).toEqual({ contentType: "application/pdf", fileName: "Estimation.pdf" });
    expect(await buffer(stream)).toEqual(FILES.pdf);
  });

  test.each([["another"], [undefined]])("of account %s → gone", async (accountId) => {
    expect(await errorOf(openUpload({}, accountId, "document"))).toMatchObject({
      name: "PermanentError",
      code: "media_gone",
    });
  });

  test("of another kind, or bigger than is allowed now → refused", async () => {
    expect(await errorOf(openUpload({}, "acc", "image"))).toMatchObject({ code: "media_wrong_type" });
    expect(await errorOf(openUpload({ maxBytes: 5 }, "acc", "document"))).toMatchObject({ code: "media_too_big" });
  });

  test("the database is away → may succeed later", async () => {
    const away = { media: () => Promise.reject(new UnavailableError("database", "away")) };
    expect(await errorOf(openUpload({ uploads: away }, "acc", "document"))).toMatchObject({
      name: "TransientError",
      code: "media_unreachable",
    });
  });

  test("opened again and again, also at once → asked of the database once", async () => {
    const store = storeOf(upload);
    const opener = createOpenMedia({ provider: "baileys", uploads: store });
    const once = () => opener({ mediaId: upload.id }, "document", { accountId: "acc" });
    const opened = [...(await Promise.all([once(), once()])), await once()];
    for (const { stream } of opened) expect(await buffer(stream)).toEqual(FILES.pdf);
    expect(store.asked).toHaveLength(1);
    // Remembered for that account alone.
    expect(await errorOf(opener({ mediaId: upload.id }, "document", { accountId: "other" }))).toMatchObject({
      code: "media_gone",
    });
  });

  test("more of them than memory is for → the one that was longest not used is asked for again", async () => {
    const all = ["a", "b", "c"].map((id) => ({ ...upload, id, data: Buffer.alloc(40) }));
    const store = storeOf(...all);
    const media = createRecentUploads(store, 100);
    for (const id of ["a", "b", "a", "c", "a", "c", "b"]) await media(id, "acc");
    expect(store.asked).toEqual(["a", "b", "c", "b"]);
  });

  test("a question that failed → is asked again", async () => {
    let calls = 0;
    const media = createRecentUploads({
      media: () => (++calls === 1 ? Promise.reject(new UnavailableError("database", "away")) : Promise.resolve(upload)),
    });
    await expect(media(upload.id, "acc")).rejects.toThrow("away");
    expect(await media(upload.id, "acc")).toBe(upload);
  });
});
