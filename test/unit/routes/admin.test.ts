import { Redis } from "ioredis";
import request from "supertest";
import { expect, test } from "vitest";
import { cookieOf } from "../../../src/routes/admin-session.ts";
import { maskJobData } from "../../../src/routes/bull-board.ts";
import { OTHER_SECRET, SECRET, madeUpApp } from "./made-up-app.ts";

type App = ReturnType<typeof madeUpApp>["app"];

const login = (app: App, secret: string) =>
  request(app).post("/admin/login").type("form").set("Accept", "text/html").send({ secret });

async function sessionOf(app: App, secret = SECRET): Promise<string> {
  const answer = await login(app, secret);
  expect(answer.status).toBe(303);
  return answer.headers["set-cookie"]![0]!.split(";")[0]!;
}

test("without a session a browser is led to the login and others get a 401 problem", async () => {
  const { app } = madeUpApp();
  const browser = await request(app).get("/admin/queues").set("Accept", "text/html,*/*");
  expect([browser.status, browser.headers.location]).toEqual([303, "/admin/login"]);
  const program = await request(app).get("/admin/queues/api/queues").set("Accept", "application/json");
  expect([program.status, program.body.code]).toEqual([401, "login_required"]);
});

test("the login page is a form without scripts", async () => {
  const answer = await request(madeUpApp().app).get("/admin/login");
  expect(answer.status).toBe(200);
  expect(answer.text).toContain('<form method="post" action="/admin/login">');
  expect(answer.text).not.toContain("<script");
  expect(answer.headers["cache-control"]).toBe("no-store");
});

test("a good login gives a strict cookie and leads to the console, beside it Bull Board", async () => {
  const { app } = madeUpApp();
  const answer = await login(app, SECRET);
  expect([answer.status, answer.headers.location]).toEqual([303, "/admin"]);
  expect(answer.headers["set-cookie"]![0]).toMatch(
    /^auto_prospect_admin=[\w.-]+; Path=\/admin; HttpOnly; SameSite=Strict; Max-Age=43200$/,
  );
  const Cookie = answer.headers["set-cookie"]![0]!.split(";")[0]!;
  const board = await request(app).get("/admin/queues").set({ Cookie, Accept: "text/html" });
  expect(board.status).toBe(200);
  expect(board.text).toContain("<title>Auto-Prospect</title>");
  expect(board.headers["content-security-policy"]).toContain("script-src 'self'");
  // What its policy refuses it does not ask for.
  expect(board.text.match(/(?:href|src)="https?:[^"]+"/g)).toBeNull();
  expect(board.headers).not.toHaveProperty("x-powered-by");
  const script = /src="(static\/js\/main[^"]+)"/.exec(board.text)![1]!;
  expect((await request(app).get(`/admin/queues/${script}`).set({ Cookie })).status).toBe(200);
  expect((await request(app).get("/admin").set({ Cookie })).text).toContain("/admin/console/main.js");
  expect((await request(app).get("/admin/login").set({ Cookie })).headers.location).toBe("/admin");
});

test("while stopping, Bull Board's answers close their connection too", async () => {
  const { app } = madeUpApp({ isStopping: () => true });
  const Cookie = await sessionOf(app);
  const board = await request(app).get("/admin/queues").set({ Cookie, Connection: "keep-alive" });
  expect([board.status, board.headers.connection]).toEqual([200, "close"]);
});

test("behind a trusted proxy that speaks HTTPS the cookie is Secure, behind an unknown one not", async () => {
  const trusted = await login(madeUpApp({ trustProxy: 1 }).app, SECRET).set("X-Forwarded-Proto", "https");
  expect(trusted.headers["set-cookie"]![0]).toMatch(/; Secure$/);
  const unknown = await login(madeUpApp().app, SECRET).set("X-Forwarded-Proto", "https");
  expect(unknown.headers["set-cookie"]![0]).not.toMatch(/Secure/);
});

test("a wrong secret gives the form again with 401 and no cookie", async () => {
  const answer = await login(madeUpApp().app, "<wrong>");
  expect(answer.status).toBe(401);
  expect(answer.text).toContain("This secret is not known.");
  expect(answer.text).not.toContain("<wrong>");
  expect(answer.headers).not.toHaveProperty("set-cookie");
});

test("after five attempts a minute even the right secret waits", async () => {
  const { app } = madeUpApp();
  for (let attempt = 0; attempt < 5; attempt++) expect((await login(app, "wrong")).status).toBe(401);
  const refused = await login(app, SECRET);
  expect(refused.status).toBe(429);
  expect(Number(refused.headers["retry-after"])).toBeGreaterThan(0);
  const program = await request(app).post("/admin/login").type("form").send({ secret: SECRET });
  expect([program.status, program.body.code]).toEqual([429, "too_many_attempts"]);
});

test("attempts that come all at once are counted as well", async () => {
  const { app } = madeUpApp();
  const statuses = (await Promise.all(Array.from({ length: 12 }, () => login(app, "wrong")))).map(
    ({ status }) => status,
  );
  expect(statuses.filter((status) => status === 401)).toHaveLength(5);
});

test("a good login forgives the address its wrong ones", async () => {
  const { app } = madeUpApp();
  for (let attempt = 0; attempt < 4; attempt++) await login(app, "wrong");
  await sessionOf(app);
  for (let attempt = 0; attempt < 5; attempt++) expect((await login(app, "wrong")).status).toBe(401);
});

test("each address has its own attempts, a whole IPv6 network counts as one", async () => {
  const { app } = madeUpApp({ trustProxy: 1 });
  const from = (address: string) => login(app, "wrong").set("X-Forwarded-For", address);
  for (let host = 1; host <= 5; host++) expect((await from(`2001:db8:0:1::${host}`)).status).toBe(401);
  expect((await from("2001:db8:0:1:ffff::9")).status).toBe(429);
  expect((await from("2001:db8:0:2::1")).status).toBe(401);
  expect((await from("203.0.113.7")).status).toBe(401);
});

test("many addresses together meet the common limit", async () => {
  const { app } = madeUpApp({ trustProxy: 1 });
  for (let host = 0; host < 100; host++) {
    expect((await login(app, "wrong").set("X-Forwarded-For", `198.51.100.${host}`)).status).toBe(401);
  }
  expect((await login(app, "wrong").set("X-Forwarded-For", "192.0.2.1")).status).toBe(429);
});

test("while Redis is down attempts are counted in memory", async () => {
  const client = new Redis({ lazyConnect: true });
  const { app } = madeUpApp({ limiterStore: { client, keyPrefix: "test:" } });
  for (let attempt = 0; attempt < 5; attempt++) expect((await login(app, "wrong")).status).toBe(401);
  expect((await login(app, "wrong")).status).toBe(429);
  client.disconnect();
});

test("a session ends after twelve hours", async () => {
  const { app, clock } = madeUpApp();
  const Cookie = await sessionOf(app);
  clock.ms += 12 * 3_600_000 - 1_000;
  expect((await request(app).get("/admin").set({ Cookie })).status).toBe(200);
  clock.ms += 1_000;
  expect((await request(app).get("/admin").set({ Cookie })).status).toBe(401);
});

test("a session that was tampered with is none", async () => {
  const { app } = madeUpApp();
  const [name, token] = (await sessionOf(app)).split("=") as [string, string];
  const [expiry, id, mac] = token.split(".") as [string, string, string];
  const later = (Number.parseInt(expiry, 36) + 1).toString(36);
  const forged = [`${later}.${id}.${mac}`, `${expiry}.${id}.${mac.slice(0, -2)}AA`, `${expiry}.${id}`, "", "a.b.c"];
  for (const value of forged) {
    expect((await request(app).get("/admin").set("Cookie", `${name}=${value}`)).status).toBe(401);
  }
});

test("rotating a secret out ends its sessions and keeps the others", async () => {
  const before = madeUpApp().app;
  const [rotated, kept] = [await sessionOf(before, SECRET), await sessionOf(before, OTHER_SECRET)];
  const after = madeUpApp({ apiSecrets: ["new-secret", OTHER_SECRET] }).app;
  expect((await request(after).get("/admin").set("Cookie", rotated)).status).toBe(401);
  expect((await request(after).get("/admin").set("Cookie", kept)).status).toBe(200);
});

test("logging out takes a POST and clears the cookie", async () => {
  const { app } = madeUpApp();
  expect((await request(app).get("/admin/logout")).text).toContain('method="post" action="/admin/logout"');
  const answer = await request(app).post("/admin/logout");
  expect([answer.status, answer.headers.location]).toEqual([303, "/admin/login"]);
  expect(answer.headers["set-cookie"]![0]).toMatch(/^auto_prospect_admin=; .*Max-Age=0$/);
});

test.each([
  ["Sec-Fetch-Site: cross-site", { "Sec-Fetch-Site": "cross-site" }],
  ["Sec-Fetch-Site: same-site", { "Sec-Fetch-Site": "same-site" }],
  ["a foreign Origin", { Origin: "https://evil.example" }],
  ["Origin: null", { Origin: "null" }],
])("a change with %s is refused", async (_, headers) => {
  const answer = await request(madeUpApp().app).post("/admin/logout").set(headers);
  expect([answer.status, answer.body.code]).toEqual([403, "cross_site_request"]);
});

test.each([
  ["Sec-Fetch-Site: same-origin", { "Sec-Fetch-Site": "same-origin", Origin: "null" }],
  ["its own Origin", { Host: "ops.example:8080", Origin: "http://ops.example:8080" }],
])("a change with %s is accepted", async (_, headers) => {
  expect((await request(madeUpApp().app).post("/admin/logout").set(headers)).status).toBe(303);
});

test("our pages let the browser name its origin to us", async () => {
  expect((await request(madeUpApp().app).get("/admin/login")).headers["referrer-policy"]).toBe("same-origin");
});

test("a form that is too large or no form is refused", async () => {
  const { app } = madeUpApp();
  expect((await login(app, "x".repeat(5_000))).status).toBe(413);
  expect((await request(app).post("/admin/login").send({ secret: SECRET })).status).toBe(415);
});

test.each([
  ["post", "/sms/add"],
  ["patch", "/sms/7/update-data"],
  ["put", "/sms/7/retry"],
  ["put", "/sms/7/promote"],
  ["put", "/sms/retry/failed"],
  ["put", "/SMS/ADD"],
  ["put", "/sms/obliterate"],
  ["patch", "/hunt/job-schedulers/7f1c"],
  ["put", "/hunt/job-schedulers/7f1c/run"],
  ["put", "/hunt/job-schedulers/7f1c/remove"],
  ["put", "/hunt/job-schedulers%2f7f1c/run"],
  ["patch", "/hunt/pause"],
] as const)("Bull Board's own way to send a message again (%s %s) is closed", async (method, path) => {
  const { app } = madeUpApp();
  const Cookie = await sessionOf(app);
  const answer = await request(app)[method](`/admin/queues/api/queues${path}`).set({ Cookie });
  expect([answer.status, answer.body.code]).toEqual([403, "refused_here"]);
});

test.each(["/pause", "/resume", "/nowhere/pause", "/nowhere/resume"])(
  "Bull Board may hold queues: %s",
  async (path) => {
    const { app } = madeUpApp();
    const Cookie = await sessionOf(app);
    const answer = await request(app).put(`/admin/queues/api/queues${path}`).set({ Cookie });
    expect(answer.body.code).not.toBe("refused_here");
  },
);

test("job data is shown with numbers and texts masked", () => {
  const data = { messageId: "m1", to: "+33612345678", content: { text: "x" }, nested: [{ message: "Bonjour" }] };
  expect(maskJobData(data)).toEqual({
    messageId: "m1",
    to: "+33…78",
    content: "[masked]",
    nested: [{ message: "[7 characters]" }],
  });
});

test("a cookie is found among others", () => {
  expect(cookieOf("a=1; bb=2;c=3", "bb")).toBe("2");
  expect(cookieOf("xbb=1", "bb")).toBeUndefined();
  expect(cookieOf(undefined, "bb")).toBeUndefined();
});
