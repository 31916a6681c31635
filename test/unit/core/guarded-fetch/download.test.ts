import type { Socket } from "node:net";
import { buffer, text } from "node:stream/consumers";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import {
  bodyErrorOf,
  errorOf,
  expectAllClosed,
  get,
  image,
  LOCAL,
  resolver,
  serve,
  serveRaw,
} from "../../../helpers/fetch-servers.ts";

const nextTurn = promisify(setImmediate);

describe("guardedFetch: a download", () => {
  test("gives the final URL, the type without parameters and the bytes", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "content-type": "Audio/MPEG; charset=binary", "content-length": 5 }).end("sound");
    });
    const { body, ...head } = await get(`${server.origin}/a?b=c`);
    expect(head).toEqual({ url: `${server.origin}/a?b=c`, contentType: "audio/mpeg" });
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

  test("an empty body is one, also without a content-length", async () => {
    await using server = await serve((_request, response) => {
      response.writeHead(200, { "transfer-encoding": "chunked" }).end();
    });
    const { body } = await get(server.origin);
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
