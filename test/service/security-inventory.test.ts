import { METHODS } from "node:http";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { CONSOLE_ROUTES } from "../../src/routes/console-api.ts";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import { exchange, rawRequest } from "../helpers/fuzz-raw.ts";
import { operationsOf } from "../helpers/fuzz-schema.ts";
import { pathsOfTheRouter, type RoutedPath } from "../helpers/router.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { WEBHOOKS } from "../helpers/sms-vendors.ts";

const BEARER = { authorization: `Bearer ${SECRET}` };
/** They describe everything but themselves. */
const OWN_PAGES = ["/docs", "/openapi.json"];
/** Of the operator's pages; whatever lies below is Bull Board's, behind the login. */
const OPERATOR = [
  "GET /",
  "GET /console/:file",
  "GET /login",
  "GET /logout",
  "POST /login",
  "POST /logout",
  ...CONSOLE_ROUTES.map((route) => route.replace(/^\w+/, (method) => method.toUpperCase())),
].toSorted();
const BOARD = "/admin/queues";
/** Node hands a CONNECT to whoever listens for it; nobody does. */
const SENDABLE = METHODS.filter((method) => method !== "CONNECT");

let world: World;
let service: TestService;
let document: OpenApiDocument;
let routed: RoutedPath[];

beforeAll(async () => {
  world = await openWorld();
  service = await world.start(WEBHOOKS, { version: "7.6.5" });
  document = (await service.get("/openapi.json")).body;
  routed = await pathsOfTheRouter(service);
});
afterAll(() => world[Symbol.asyncDispose]());

const ask = (method: string, target: string, headers: Record<string, string> = BEARER) =>
  rawRequest(service.url, { method, target, headers });

const own = (): string[] => routed.filter(({ depth }) => depth === 0).map(({ path }) => path);
/** Any id in place of each parameter. */
const filled = (path: string): string => path.replaceAll(/\{\w+\}|:\w+/g, "x");

describe("API9:2023 improper inventory management", () => {
  test("what the application serves → is in /openapi.json, and nothing else is", () => {
    const documented = Object.keys(document.paths).map((path) => path.replaceAll(/\{(\w+)\}/g, ":$1"));
    expect(own().toSorted()).toEqual([...documented, ...OWN_PAGES].toSorted());
    expect(document.openapi).toMatch(/^3\.1\./);
    expect(document.info.version).toBe("7.6.5");
  });

  test("what is mounted besides → is the operator's pages and Bull Board, with nothing that is open", async () => {
    const operator = routed.filter(({ depth }) => depth === 1);
    expect(operator.flatMap(({ methods, path }) => methods.map((method) => `${method} ${path}`)).toSorted()).toEqual(
      OPERATOR,
    );
    const board = routed.filter(({ depth }) => depth > 1);
    expect(board.length).toBeGreaterThan(20);
    for (const { path, methods } of board) {
      for (const method of methods) {
        for (const headers of [{}, BEARER, { accept: "text/html" }]) {
          const { status, headers: answered } = await ask(method, BOARD + filled(path), headers);
          const closed = status === 401 || (status === 303 && answered["location"] === "/admin/login");
          expect({ method, path, closed }).toEqual({ method, path, closed: true });
        }
      }
    }
  });

  test("a method that a path does not have, of all that there are → 405 with those that it has", async () => {
    for (const path of own()) {
      const methods = new Set(Object.keys(document.paths[path.replaceAll(/:(\w+)/g, "{$1}")] ?? { get: {} }));
      const known = new Set([...methods].map((method) => method.toUpperCase()));
      for (const method of SENDABLE) {
        if (known.has(method) || method === "OPTIONS" || (method === "HEAD" && known.has("GET"))) continue;
        const { status, headers } = await ask(method, filled(path));
        expect({ method, path, status }).toEqual({ method, path, status: 405 });
        for (const each of known) expect(headers["allow"]).toContain(each);
      }
    }
  });

  test("a method that there is not, on the operator's pages → nothing is done, and nothing is told", async () => {
    for (const method of SENDABLE) {
      if (["GET", "HEAD", "POST", "OPTIONS"].includes(method)) continue;
      for (const path of ["/admin", "/admin/login", "/admin/logout", BOARD]) {
        const { status } = await ask(method, path);
        expect({ method, path, refused: [401, 404, 405].includes(status) }).toEqual({ method, path, refused: true });
      }
    }
  });

  test("a method that HTTP does not know → 400, by the server itself", async () => {
    expect(await exchange(service.url, "FROBNICATE /health HTTP/1.1\r\nHost: x\r\n\r\n")).toMatch(/^HTTP\/1\.1 400 /);
  });

  const OTHERS = [
    ["another version", (path: string) => [`/v1${path}`, `/v2${path}`, path.replace(/^\/api/, "/api/v1")]],
    ["another version under /api", (path: string) => [`/api/v1${path}`, `/api/v0${path}`, `/api/latest${path}`]],
    ["another stage", (path: string) => [`/internal${path}`, `/beta${path}`, `/test${path}`, `/dev${path}`]],
    ["what was left lying", (path: string) => [`${path}.json`, `${path}.bak`, `${path}.old`, `${path}~`]],
    ["more below it", (path: string) => [`${path}/debug`, `${path}/test`, `${path}/_all`]],
  ] as const;

  test.each(OTHERS)("%s of each operation → is nothing, also for who has the secret", async (_, variants) => {
    const served = own().map((path) => new RegExp(`^${path.replaceAll(/:\w+/g, "[^/]+")}$`));
    let asked = 0;
    for (const { method, path } of operationsOf(document)) {
      if (path.includes("{")) continue;
      for (const target of variants(path).filter((each) => !served.some((known) => known.test(each)))) {
        const { status, text } = await ask(method.toUpperCase(), target);
        expect({ method, target, status }).toEqual({ method, target, status: 404 });
        expect(text).toContain("unknown_route");
        asked += 1;
      }
    }
    expect(asked).toBeGreaterThan(30);
  });

  test.each(
    [
      ["/api/debug", "/api/test", "/api/admin", "/api/config", "/api/env", "/api/health", "/api/docs", "/api"],
      ["/debug/pprof", "/_debug", "/trace", "/heapdump", "/env", "/info", "/status", "/version", "/healthz", "/readyz"],
      ["/swagger", "/swagger.json", "/swagger-ui", "/openapi.yaml", "/openapi", "/redoc", "/docs/", "/api-docs.json"],
      ["/queues", "/arena", "/bull", "/board", "/admin/queues.json", "/login", "/logout", "/metrics.json"],
    ].flat(),
  )("GET %s, where such things often are → 404 for who has the secret", async (target) => {
    const { status } = await ask("GET", target);
    const atOperators = target.startsWith("/admin");
    expect(status).toBe(atOperators ? 401 : target === "/docs/" ? 200 : 404);
  });

  test("no answer of any path → names what runs it, or in which version", async () => {
    const targets = [...own().map(filled), "/admin/login", "/admin/logout", BOARD, "/nothing", "/api/nothing", "/%zz"];
    for (const target of targets) {
      for (const method of ["GET", "POST", "DELETE", "OPTIONS"]) {
        for (const headers of [{}, BEARER]) {
          const answer = await ask(method, target, headers);
          for (const name of ["x-powered-by", "server", "via", "x-aspnet-version", "x-runtime", "x-version"]) {
            expect({ target, [name]: answer.headers[name] }).toEqual({ target, [name]: undefined });
          }
          expect(JSON.stringify(answer.headers)).not.toMatch(/express|node(?:js)?\b|bull|\b24\.\d+\.\d+/i);
        }
      }
    }
    const garbage = await exchange(service.url, "this is no HTTP\r\n\r\n");
    expect(garbage).toMatch(/^HTTP\/1\.1 400 Bad Request\r\n/);
    expect(garbage).not.toMatch(/server:|x-powered-by|express|node/i);
  });

  test("/docs and /openapi.json → the same for everybody, and nothing of the inside", async () => {
    const stack = Object.values(world.environment).filter((value) => value.length > 6);
    expect(stack).toContain(world.database.supabaseServiceKey);
    for (const path of OWN_PAGES) {
      const [stranger, friend] = [await ask("GET", path, {}), await ask("GET", path)];
      expect(stranger.status).toBe(200);
      expect(friend.text).toBe(stranger.text);
      for (const value of stack) expect({ path, tells: stranger.text.includes(value) }).toEqual({ path, tells: false });
      // The examples name the variable that the caller keeps the secret in.
      expect(stranger.text.replaceAll("$API_SECRET", "")).not.toMatch(
        /express|bullmq|ioredis|\bzod\b|postgre|pgrst|supabase|railway|node_modules|\.ts\b|SUPABASE_|_TOKEN|_SECRET|127\.0\.0\.1|localhost/i,
      );
      expect(stranger.text).not.toMatch(/\/admin(?!\/login)/);
    }
    // Where it is served is not written into it: no host of a stage that was forgotten.
    const { servers = [] } = document as { servers?: { url: string }[] };
    expect(servers.filter(({ url }) => !url.startsWith("/"))).toEqual([]);
    const hosts = [...JSON.stringify(document).matchAll(/https?:\/\/([^/"\s]+)/g)].map(([, host]) => host as string);
    expect(hosts.filter((host) => !/(?:^|\.)example\.(?:com|org|net)$/.test(host))).toEqual([]);
  });
});
