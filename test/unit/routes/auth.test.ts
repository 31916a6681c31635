import request from "supertest";
import { expect, test } from "vitest";
import { OTHER_SECRET, SECRET, madeUpApp } from "./made-up-app.ts";

const { app } = madeUpApp();

test.each([
  ["no header", undefined],
  ["a wrong token", "Bearer wrong"],
  ["another scheme", `Basic ${SECRET}`],
  ["a token with more behind it", `Bearer ${SECRET} x`],
  ["a secret's beginning", `Bearer ${SECRET.slice(0, -1)}`],
])("%s under /api is a 401 problem with WWW-Authenticate", async (_, authorization) => {
  const asked = request(app).post("/api/things").send({ name: "x" });
  if (authorization !== undefined) asked.set("Authorization", authorization);
  const answer = await asked;
  expect(answer.status).toBe(401);
  expect(answer.headers["www-authenticate"]).toMatch(/^Bearer realm="auto-prospect"/);
  expect(answer.headers["content-type"]).toMatch(/^application\/problem\+json/);
  expect(answer.body.code).toBe("unauthorized");
});

test.each([
  ["POST", "/api"],
  ["GET", "/api/nowhere"],
  ["PUT", "/api/things"],
  ["OPTIONS", "/api/things"],
  ["GET", "/api/things/%zz"],
])("%s %s tells a stranger nothing but 401", async (method, path) => {
  const answer = await request(app)[method.toLowerCase() as "get"](path);
  expect(answer.status).toBe(401);
});

test("a token in the query is not accepted", async () => {
  const answer = await request(app).get(`/api/things/a?token=${SECRET}&access_token=${SECRET}`);
  expect(answer.status).toBe(401);
});

test.each([SECRET, OTHER_SECRET])(
  "each of several secrets is good, whatever the case of the scheme",
  async (secret) => {
    const answer = await request(app).post("/api/things").set("Authorization", `bEARER ${secret}`).send({ name: "x" });
    expect(answer.status).toBe(202);
  },
);

test("public routes want no token", async () => {
  expect((await request(app).get("/health")).status).toBe(200);
});

test.each([[[]], [[""]], [["good", " "]]])("the secrets %j are refused at the start", (apiSecrets) => {
  expect(() => madeUpApp({ apiSecrets })).toThrow(/at least one API secret/);
});
