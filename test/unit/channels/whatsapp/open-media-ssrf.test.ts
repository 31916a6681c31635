import type { IncomingMessage, ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import type { FetchPolicy } from "../../../../src/core/addresses.ts";
import { FILES } from "../../../helpers/media-files.ts";
import { errorOf, file, isLeftAlone, openerFor, serve } from "../../../helpers/media-server.ts";

const TOKEN = "s3cr3t-t0k3n";
const open = openerFor();

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
