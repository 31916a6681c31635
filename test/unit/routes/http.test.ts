import request from "supertest";
import { expect, test } from "vitest";
import { route } from "../../../src/core/route.ts";
import { BEARER, madeUpApp } from "./made-up-app.ts";

test("a sane request id comes back in header, problem and log", async () => {
  const { app, lines } = madeUpApp();
  const answer = await request(app)
    .get("/api/things/none")
    .set("Authorization", BEARER)
    .set("X-Request-Id", "web-42.a_b");
  expect(answer.status).toBe(404);
  expect(answer.headers["x-request-id"]).toBe("web-42.a_b");
  expect(answer.body).toMatchObject({
    code: "not_found",
    requestId: "web-42.a_b",
    detail: 'There is no thing "none".',
  });
  expect(lines.find((line) => line.msg === "looked up")).toMatchObject({ requestId: "web-42.a_b" });
});

test.each(["", "two words", "x".repeat(129), "a;b"])(
  "a request id like %j is replaced by one of ours",
  async (given) => {
    const answer = await request(madeUpApp().app).get("/health").set("X-Request-Id", given);
    expect(answer.headers["x-request-id"]).toMatch(/^[0-9a-f-]{36}$/);
  },
);

test("the access log names the pattern, not the path with what may be somebody's number", async () => {
  const { app, lines } = madeUpApp();
  await request(app).get("/api/things/33612345678?secret=1").set("Authorization", BEARER);
  await expect
    .poll(() => lines.at(-1))
    .toMatchObject({
      level: "info",
      msg: "request",
      method: "GET",
      route: "/api/things/:thingId",
      status: 400,
      problem: "invalid_request",
    });
  expect(JSON.stringify(lines)).not.toContain("33612345678");
});

test("a probe is logged at debug", async () => {
  const { app, lines } = madeUpApp();
  await request(app).get("/health");
  await expect.poll(() => lines.at(-1)).toMatchObject({ level: "debug", route: "/health", status: 200, durationMs: 0 });
});

test("answers carry the security headers and no X-Powered-By or ETag", async () => {
  const { headers } = await request(madeUpApp().app).get("/api/things").set("Authorization", BEARER);
  expect(headers).toMatchObject({
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
  });
  expect(headers["content-security-policy"]).toMatch(/^default-src 'none'/);
  expect(headers).not.toHaveProperty("x-powered-by");
  expect(headers).not.toHaveProperty("etag");
});

test("an unknown path is a 404 problem", async () => {
  const answer = await request(madeUpApp().app).get("/nowhere");
  expect(answer.status).toBe(404);
  expect(answer.headers["content-type"]).toBe("application/problem+json; charset=utf-8");
  expect(answer.body).toMatchObject({
    type: "/docs#problem-unknown_route",
    title: "No such path",
    status: 404,
    code: "unknown_route",
    requestId: answer.headers["x-request-id"],
  });
});

test("a wrong method on a known path is a 405 with Allow", async () => {
  const { app } = madeUpApp();
  const onPublic = await request(app).delete("/health");
  expect([onPublic.status, onPublic.headers.allow]).toEqual([405, "GET, HEAD, OPTIONS"]);
  const behindTheGate = await request(app).put("/api/things").set("Authorization", BEARER);
  expect([behindTheGate.status, behindTheGate.headers.allow]).toEqual([405, "OPTIONS, POST"]);
  expect(behindTheGate.body.code).toBe("method_not_allowed");
});

test("OPTIONS on a known path is a 204 with Allow", async () => {
  const answer = await request(madeUpApp().app).options("/health");
  expect([answer.status, answer.headers.allow]).toEqual([204, "GET, HEAD, OPTIONS"]);
});

test("HEAD answers as GET does, without a body", async () => {
  const answer = await request(madeUpApp().app).head("/health");
  expect([answer.status, answer.headers["content-length"], answer.text]).toEqual([200, "11", undefined]);
});

test("an unforeseen error is a 500 without internals, and a log line with the stack and without secrets", async () => {
  const { app, lines } = madeUpApp();
  const answer = await request(app).get("/api/broken").set("Authorization", BEARER);
  expect(answer.status).toBe(500);
  expect(answer.body.code).toBe("internal_error");
  expect(answer.text).not.toMatch(/postgres|hunter2|at .*\.ts/);
  const logged = lines.find((line) => line.msg === "request failed");
  expect(logged).toMatchObject({ level: "error", requestId: answer.body.requestId, route: "/api/broken" });
  expect(JSON.stringify(logged)).toMatch(/made-up-app\.ts/);
  expect(JSON.stringify(logged)).not.toMatch(/hunter2|33612345678|text of a message/);
});

test.each(["database", "redis"])("an absent %s is a 503 that says when to come back", async (dependency) => {
  const answer = await request(madeUpApp().app).get(`/api/away/${dependency}`).set("Authorization", BEARER);
  expect([answer.status, answer.headers["retry-after"], answer.body.code]).toEqual([
    503,
    "5",
    `${dependency}_unavailable`,
  ]);
  expect(answer.text).not.toContain("ECONNREFUSED");
});

test("a path that cannot be decoded is a 400 problem", async () => {
  const answer = await request(madeUpApp().app).get("/api/things/%zz").set("Authorization", BEARER);
  expect([answer.status, answer.body.code]).toEqual([400, "malformed_request"]);
});

/** supertest asks for `close` by itself, which would hide what the service decides. */
const connectionAfter = async (app: ReturnType<typeof madeUpApp>["app"], path: string) =>
  (await request(app).get(path).set("Connection", "keep-alive")).headers.connection as string;

test("while stopping, answers and problems close their connection, before that they do not", async () => {
  let isStopping = false;
  const { app } = madeUpApp({ isStopping: () => isStopping });
  const paths = ["/health", "/nowhere", "/admin/login"];
  for (const path of paths) expect(await connectionAfter(app, path)).toBe("keep-alive");
  isStopping = true;
  for (const path of paths) expect(await connectionAfter(app, path)).toBe("close");
});

test("a stop in the middle of a request closes its connection too", async () => {
  let isStopping = false;
  const stopsTheService = route({
    method: "get",
    path: "/stop",
    public: true,
    tag: "Made up",
    summary: "Stops",
    responses: {},
    handle: async () => {
      isStopping = true;
      return { status: 204, body: undefined };
    },
  });
  const { app } = madeUpApp({ routes: [stopsTheService], isStopping: () => isStopping });
  expect(await connectionAfter(app, "/stop")).toBe("close");
});
