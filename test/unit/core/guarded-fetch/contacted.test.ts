import { execFile } from "node:child_process";
import { text } from "node:stream/consumers";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { fileURLToPath } from "node:url";
import { inspect, promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { FetchPolicy } from "../../../../src/core/addresses.ts";
import {
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
} from "../../../helpers/fetch-servers.ts";

const defaultCertificates = getCACertificates("default");
beforeAll(() => setDefaultCACertificates([...defaultCertificates, CERTIFICATE]));
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
    const module = new URL("../../../../src/core/guarded-fetch.ts", import.meta.url).href;
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
