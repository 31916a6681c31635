import { subscribe, unsubscribe } from "node:diagnostics_channel";
import { getEventListeners, once } from "node:events";
import { buffer, text } from "node:stream/consumers";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { inspect, promisify } from "node:util";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import {
  bodyErrorOf,
  CERTIFICATE,
  errorOf,
  expectAllClosed,
  get,
  image,
  LOCAL,
  redirectTo,
  resolver,
  SECRET,
  serve,
  serveRaw,
} from "../../../helpers/fetch-servers.ts";

const nextTurn = promisify(setImmediate);

const defaultCertificates = getCACertificates("default");
beforeAll(() => setDefaultCACertificates([...defaultCertificates, CERTIFICATE]));
afterAll(() => setDefaultCACertificates(defaultCertificates));
afterEach(() => vi.useRealTimers());

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
      setTimeout(() => redirectTo("/")(_request, response), 120);
    });
    const error = await errorOf(get(server.origin, { timeouts: { totalMs: 400 } }));
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
