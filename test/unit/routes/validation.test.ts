import { createHash } from "node:crypto";
import request from "supertest";
import { expect, test } from "vitest";
import { z } from "zod";
import { invalidRequest } from "../../../src/core/problem.ts";
import { route } from "../../../src/core/route.ts";
import { check, pointerOf } from "../../../src/core/faults.ts";
import { BEARER, madeUpApp } from "./made-up-app.ts";

const { app } = madeUpApp();
const post = (path: string) => request(app).post(path).set("Authorization", BEARER);

test("all faults of header, query and body come at once", async () => {
  const answer = await post("/api/things?limit=0&dry=maybe&what=1")
    .set("Idempotency-Key", "x".repeat(256))
    .send({ count: "3", kind: "huge", tags: ["a", 5, null] });
  expect(answer.status).toBe(400);
  expect(answer.body).toMatchObject({ code: "invalid_request", detail: expect.stringMatching(/^9 faults were found/) });
  expect(answer.body.errors).toEqual([
    { pointer: "/query/what", detail: "is not a known parameter; known are limit, dry" },
    { pointer: "/query/limit", detail: "must be at least 1" },
    { pointer: "/query/dry", detail: 'must be one of "yes", "no"' },
    { pointer: "/header/Idempotency-Key", detail: "must be 1 to 255 printable ASCII characters" },
    { pointer: "/name", detail: "is missing; expected text" },
    { pointer: "/count", detail: "expected a number, got text" },
    { pointer: "/kind", detail: 'must be one of "big", "small"' },
    { pointer: "/tags/1", detail: "expected text, got a number" },
    { pointer: "/tags/2", detail: "expected text, got null" },
  ]);
});

test("an invalid path parameter is a 400 by its schema", async () => {
  const answer = await request(app).get("/api/things/NOT-lower").set("Authorization", BEARER);
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toEqual([{ pointer: "/path/thingId", detail: "does not have the expected form" }]);
});

test("a parameter on a path that takes none is refused, on a public one it is left alone", async () => {
  const refused = await request(app).get("/api/things/a?x=1").set("Authorization", BEARER);
  expect(refused.body.errors).toEqual([
    { pointer: "/query/x", detail: "is not a known parameter: this path takes none in the query" },
  ]);
  expect((await request(app).get("/health?probe=1")).status).toBe(200);
});

test("a parameter given twice is a fault", async () => {
  const answer = await post("/api/things?dry=yes&dry=no").send({ name: "x" });
  expect(answer.body.errors).toEqual([{ pointer: "/query/dry", detail: 'must be one of "yes", "no"' }]);
});

test("handlers get what the schemas made of the request", async () => {
  const answer = await post("/api/things?limit=5").send({ name: "x", unknown: 1 });
  expect(answer.body).toEqual({ body: { name: "x", count: 1 }, query: { limit: 5 } });
});

test("faults of a route's own check join those of the query", async () => {
  const own = route({
    method: "post",
    path: "/api/own",
    tag: "Made up",
    summary: "Checks by itself",
    responses: {},
    body: z.unknown(),
    parseBody: async () => {
      throw invalidRequest([{ pointer: "/contacts/3", detail: "is odd" }]);
    },
    handle: async () => ({ status: 200, body: {} }),
  });
  const answer = await request(madeUpApp({ routes: [own] }).app)
    .post("/api/own?a=1")
    .set("Authorization", BEARER)
    .send({});
  expect(answer.body.errors.map((fault: { pointer: string }) => fault.pointer)).toEqual(["/query/a", "/contacts/3"]);
});

test("a hundred thousand faults are listed, each with its pointer", async () => {
  const many = madeUpApp({ maxBodyBytes: 10_000_000 }).app;
  const tags = Array.from({ length: 100_000 }, () => 1);
  const answer = await request(many).post("/api/things").set("Authorization", BEARER).send({ name: "x", tags });
  expect(answer.status).toBe(400);
  expect(answer.body.errors).toHaveLength(100_000);
  expect(answer.body.errors.at(-1).pointer).toBe("/tags/99999");
});

test("the idempotency scope is the concrete path, the digest that of the raw body", async () => {
  const raw = '{ "name":"x" }';
  const answer = await post("/api/things")
    .set("Content-Type", "application/json")
    .set("Idempotency-Key", "k 1")
    .send(raw);
  expect(answer.body.idempotency).toEqual({
    scope: "POST /api/things",
    key: "k 1",
    bodyHash: createHash("sha256").update(raw).digest("hex"),
  });
  const retry = await post("/api/things/a%2F7/retry/").set("Idempotency-Key", "k 1");
  expect(retry.body.idempotency).toEqual({
    scope: "POST /api/things/a%2F7/retry",
    key: "k 1",
    bodyHash: createHash("sha256").digest("hex"),
  });
});

test.each(["", "é"])("the Idempotency-Key %j is a 400", async (key) => {
  const answer = await post("/api/things/7/retry").set("Idempotency-Key", key);
  expect(answer.body.errors).toMatchObject([{ pointer: "/header/Idempotency-Key" }]);
});

test("pointers escape ~ and /", () => {
  expect(pointerOf(["a/b", "~c", 0], "/query")).toBe("/query/a~1b/~0c/0");
});

test.each<[string, z.ZodType, unknown, unknown]>([
  ["too short", z.string().min(3), "ab", { pointer: "", detail: "must have at least 3 characters; it has 2" }],
  ["too many", z.array(z.number()).max(1), [1, 2], { pointer: "", detail: "must have at most 1 item; it has 2" }],
  [
    "not whole",
    z.number().int(),
    1.5,
    { pointer: "", detail: "expected a whole number, got a number with a fraction" },
  ],
  [
    "not a number in a query",
    z.coerce.number(),
    "abc",
    { pointer: "", detail: "expected a number, got something that is not a number" },
  ],
  ["no URL", z.url(), "+33612345678", { pointer: "", detail: "must be a URL" }],
  ["an unknown field", z.strictObject({}), { "a/b": 1 }, { pointer: "/a~1b", detail: "is not a known field" }],
  ["the schema's own words", z.string({ error: "say who" }), 1, { pointer: "", detail: "say who" }],
  [
    "a wrong discriminator",
    z.discriminatedUnion("kind", [z.object({ kind: z.literal("a") }), z.object({ kind: z.literal("b") })]),
    { kind: "c" },
    { pointer: "/kind", detail: 'must be one of "a", "b"' },
  ],
  [
    "the branch that was meant",
    z.union([z.string(), z.object({ id: z.number() })]),
    { id: "7" },
    { pointer: "/id", detail: "expected a number, got text" },
  ],
  [
    "no branch in particular",
    z.union([z.string(), z.number()]),
    true,
    {
      pointer: "",
      detail: "fits none of 2 allowed forms: expected text, got true or false; or expected a number, got true or false",
    },
  ],
])("%s is put into plain words", (_, schema, value, fault) => {
  expect(check(schema, value).faults).toEqual([fault]);
});
