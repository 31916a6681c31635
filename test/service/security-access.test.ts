import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import { rawRequest } from "../helpers/fuzz-raw.ts";
import { operationsOf } from "../helpers/fuzz-schema.ts";
import { huntId, messagesOf, phone, run, settles } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

async function creditsOf(accountId: string): Promise<unknown> {
  const select = "select channel, balance, reserved, spent from credits where account_id = $1";
  return (await world.sql.query(select, [accountId])).rows;
}

// Who has the API secret is the web app, and may see everything: accounts are told apart where a request names one.
describe("API1:2023 broken object level authorisation", () => {
  test("a hunt of another account is named → 409: nothing is added to it, nothing is spent, nobody is called", async () => {
    const [owner, intruder] = [await world.account(), await world.account()];
    await world.credits(owner, "sms", 5);
    await world.credits(intruder, "sms", 5);
    const { huntId: id, jobId } = await run(service, {
      accountId: owner,
      contacts: [contact({ recipientPhone: phone(1) })],
    });
    const answer = await service.post("/api/hunt/execute", {
      huntId: id,
      accountId: intruder,
      contacts: [contact({ recipientPhone: phone(2) })],
    });
    expect(answer).toMatchObject({
      status: 409,
      body: { code: "hunt_of_other_account", errors: [{ pointer: "/huntId" }] },
    });
    for (const secret of [owner, jobId]) expect(JSON.stringify(answer.body)).not.toContain(secret);
    expect(await messagesOf(service, id)).toHaveLength(1);
    expect(await creditsOf(owner)).toEqual([{ channel: "sms", balance: "4", reserved: "0", spent: "1" }]);
    expect(await creditsOf(intruder)).toEqual([{ channel: "sms", balance: "5", reserved: "0", spent: "0" }]);
    expect((await world.sql.query("select 1 from leads where account_id = $1", [intruder])).rowCount).toBe(0);
  });

  test("two accounts claim the same new hunt id at once → it is one's, the other gets 409", async () => {
    const accounts = [await world.account(), await world.account()];
    const id = huntId();
    const answers = await Promise.all(
      Array.from({ length: 10 }, (_, n) =>
        service.post("/api/hunt/execute", {
          huntId: id,
          accountId: accounts[n % 2],
          contacts: [contact({ adId: `ad_${n}`, recipientPhone: phone(10 + n) })],
        }),
      ),
    );
    const { rows } = await world.sql.query("select account_id from hunts where id = $1", [id]);
    const winner = accounts.indexOf(rows[0].account_id);
    expect(answers.map(({ status }) => status)).toEqual(answers.map((_, n) => (n % 2 === winner ? 202 : 409)));
    await expect.poll(() => messagesOf(service, id)).toHaveLength(5);
    for (const { accountId } of await messagesOf(service, id)) expect(accountId).toBe(accounts[winner]);
  });

  test("another account's Idempotency-Key with another body → 409, and its answer is not told", async () => {
    const headers = { "idempotency-key": randomUUID() };
    const body = (accountId: string) => ({ recipientPhone: phone(20), message: "Bonjour", accountId });
    const first = await service.post("/api/phone/sms", body(await world.account()), headers);
    const answer = await service.post("/api/phone/sms", body(await world.account()), headers);
    expect(answer).toMatchObject({ status: 409, body: { code: "idempotency_conflict" } });
    expect(JSON.stringify(answer.body)).not.toContain(first.body.messageId);
  });

  test("messages are asked for by account → only that account's, whatever else the value says", async () => {
    const [mine, other] = [await world.account(), await world.account()];
    for (const accountId of [mine, other]) {
      await run(service, { accountId, contacts: [contact({ recipientPhone: "+33612340001" })] });
    }
    const accountsIn = async (accountId: string): Promise<string[]> => {
      const { status, body } = await service.get(
        `/api/messages?status=failed&accountId=${encodeURIComponent(accountId)}`,
      );
      expect(status).toBe(200);
      return body.messages.map((message: { accountId: string }) => message.accountId);
    };
    expect(await accountsIn(mine)).toEqual([mine]);
    for (const trick of [
      "*",
      "%",
      "neq.x",
      `${mine},${other}`,
      `in.(${mine},${other})`,
      `${mine}&account_id=eq.${other}`,
    ]) {
      expect(await accountsIn(trick)).toEqual([]);
    }
    expect(await service.get(`/api/messages?status=failed&accountId=${mine}&accountId=${other}`)).toMatchObject({
      status: 400,
    });
  });

  test("a suspended account is named → 403 on every route that sends, and nothing is written", async () => {
    const accountId = await world.account({ status: "suspended" });
    const single = { recipientPhone: phone(30), accountId };
    const requests: [string, object][] = [
      ["/api/phone/sms", { ...single, message: "Bonjour" }],
      ["/api/whatsapp/text", { ...single, message: "Bonjour" }],
      ["/api/whatsapp/image", { ...single, mediaUrl: "https://cdn.example.com/a.jpg" }],
      ["/api/whatsapp/poll", { ...single, question: "Quand ?", options: ["Ce soir", "Demain"] }],
      ["/api/phone/ringless-voice", { ...single, text: "Bonjour" }],
      ["/api/hunt/execute", { huntId: huntId(), accountId, contacts: [contact()] }],
    ];
    for (const [path, body] of requests) {
      expect(await service.post(path, body)).toMatchObject({ status: 403, body: { code: "suspended_account" } });
    }
    expect((await world.sql.query("select 1 from messages where account_id = $1", [accountId])).rowCount).toBe(0);
  });
});

const TOKENS: [string, string | undefined][] = [
  ["none", undefined],
  ["an empty one", ""],
  ["the scheme alone", "Bearer "],
  ["a wrong one", "Bearer wrong"],
  ["one with more behind it", `Bearer ${SECRET}0`],
  ["the first half of it", `Bearer ${SECRET.slice(0, 8)}`],
  ["it in capitals", `Bearer ${SECRET.toUpperCase()}`],
  ["it twice", `Bearer ${SECRET} ${SECRET}`],
  ["it as Basic", `Basic ${Buffer.from(`api:${SECRET}`).toString("base64")}`],
  ["it without a scheme", SECRET],
  ["null", "Bearer null"],
  ["one of 8,000 characters", `Bearer ${"x".repeat(8000)}`],
];

describe("API2:2023 broken authentication", () => {
  test.each(TOKENS)(
    "the token is %s → 401 on every operation that is not public, and nothing is told",
    async (_, token) => {
      const document: OpenApiDocument = (await service.get("/openapi.json")).body;
      const closed = operationsOf(document).filter(({ security }) => security?.length !== 0);
      const open = operationsOf(document).filter((operation) => !closed.some(({ path }) => path === operation.path));
      expect(open.map(({ path }) => path).toSorted()).toEqual(["/health", "/ready"]);
      for (const { method, path } of closed) {
        const response = await fetch(service.url + path.replaceAll(/\{\w+\}/g, "x"), {
          method,
          ...(token === undefined ? {} : { headers: { authorization: token } }),
        });
        expect({ path, status: response.status }).toEqual({ path, status: 401 });
        expect(response.headers.get("www-authenticate")).toMatch(/^Bearer /);
        expect(await response.text()).not.toContain(SECRET);
      }
    },
  );

  test("the token stands in the query, a cookie or the body → 401", async () => {
    const cases: [string, RequestInit][] = [
      [`/api/queues/stats?access_token=${SECRET}&api_secret=${SECRET}`, {}],
      ["/api/queues/stats", { headers: { cookie: `auto_prospect_admin=${SECRET}; token=${SECRET}` } }],
      ["/api/queues/stats", { headers: { "x-api-key": SECRET, "proxy-authorization": `Bearer ${SECRET}` } }],
      ["/api/phone/sms", { method: "POST", body: JSON.stringify({ secret: SECRET }) }],
    ];
    for (const [path, init] of cases) expect((await fetch(service.url + path, init)).status).toBe(401);
  });

  test("a path that is spelled otherwise → is not a way round the gate", async () => {
    const get = (target: string) => rawRequest(service.url, { method: "GET", target });
    for (const path of ["/api", "/api/", "/api/queues/stats/", "/api/%71ueues/stats", "/api/../api/queues/stats"]) {
      expect({ path, ...(await get(path)) }).toMatchObject({ path, status: 401 });
    }
    for (const path of [
      "/API/queues/stats",
      "//api/queues/stats",
      "/%61pi/queues/stats",
      "/docs/../api/queues/stats",
    ]) {
      const { status, text } = await get(path);
      expect({ path, open: status < 400 || text.includes("prioritized") }).toEqual({ path, open: false });
    }
  });

  test("two secrets → both are good; one is rotated out → it is none, nor is its session", async () => {
    const [old, young] = ["old-secret-of-rotation", "young-secret-of-rotation"];
    const status = async (at: TestService, headers: Record<string, string>): Promise<number> =>
      (await at.get("/api/queues/stats", headers)).status;
    const bearer = (secret: string) => ({ authorization: `Bearer ${secret}` });
    const login = async (at: TestService, secret: string): Promise<string> => {
      const response = await fetch(`${at.url}/admin/login`, {
        method: "POST",
        redirect: "manual",
        body: new URLSearchParams({ secret }),
      });
      return response.headers.get("set-cookie")?.split(";")[0] ?? "none";
    };
    const board = async (at: TestService, cookie: string): Promise<number> =>
      (await fetch(`${at.url}/admin/queues`, { headers: { cookie }, redirect: "manual" })).status;

    const both = await world.start({ API_SECRET: `${old}, ${young}` });
    expect(await status(both, bearer(old))).toBe(200);
    expect(await status(both, bearer(young))).toBe(200);
    expect(await status(both, bearer(`${old}, ${young}`))).toBe(401);
    expect(await status(both, bearer(SECRET))).toBe(401);
    const [oldSession, youngSession] = [await login(both, old), await login(both, young)];
    expect(await board(both, oldSession)).toBe(200);

    const rotated = await world.start({ API_SECRET: young });
    expect(await status(rotated, bearer(old))).toBe(401);
    expect(await status(rotated, bearer(young))).toBe(200);
    expect(await board(rotated, oldSession)).toBe(401);
    expect(await board(rotated, youngSession)).toBe(200);
  });
});

describe("API5:2023 broken function level authorisation", () => {
  const ADMIN = [
    "/admin",
    "/admin/",
    "/admin/queues",
    "/admin/queues/",
    "/admin/queues/queue/sms",
    "/admin/queues/api/queues",
    "/admin/queues/api/redis/stats",
    "/admin/queues/api/queues/sms/1",
    "/admin/queues/static/../api/queues",
    "/admin/login/../queues/api/queues",
    "/admin/queues/%61pi/queues",
    "/admin//queues/api/queues",
  ];

  test.each(ADMIN)("GET %s without a login → 401, or the way to the login; no data", async (path) => {
    const { body } = await service.post("/api/phone/sms", { recipientPhone: phone(40), message: "Bonjour" });
    await settles(service, body.messageId, "delivered");
    for (const headers of [
      {},
      { accept: "text/html" },
      { authorization: `Bearer ${SECRET}` },
      { cookie: "auto_prospect_admin=x" },
    ]) {
      const { status, text, ...answer } = await rawRequest(service.url, { method: "GET", target: path, headers });
      expect([303, 401, 404]).toContain(status);
      if (status === 303) expect(answer.headers["location"]).toBe("/admin/login");
      for (const data of [body.messageId, "33612", "counts", "redis_version"]) expect(text).not.toContain(data);
    }
  });

  test.each([
    ["PUT", "/admin/queues/api/queues/pause"],
    ["PUT", "/admin/queues/api/queues/sms/pause"],
    ["PUT", "/admin/queues/api/queues/sms/clean/completed"],
    ["PUT", "/admin/queues/api/queues/sms/empty"],
    ["PUT", "/admin/queues/api/queues/sms/obliterate"],
    ["POST", "/admin/queues/api/queues/sms/add"],
    ["DELETE", "/admin/queues/api/queues/sms"],
  ])("%s %s without a login, or with the API secret → 401, and the queue is as it was", async (method, path) => {
    for (const headers of [{}, { authorization: `Bearer ${SECRET}` }]) {
      expect((await fetch(service.url + path, { method, headers, redirect: "manual" })).status).toBe(401);
    }
    expect((await service.get("/api/queues/sms/stats")).body).toMatchObject({ paused: false });
  });

  test("GET /metrics without a token, or with an operator's session → 401 and no figure", async () => {
    const body = new URLSearchParams({ secret: SECRET });
    const login = await fetch(`${service.url}/admin/login`, { method: "POST", redirect: "manual", body });
    const cookie = login.headers.get("set-cookie")?.split(";")[0] ?? "";
    expect(cookie).toContain("auto_prospect_admin=");
    for (const path of ["/metrics", "/metrics/", "/api/queues/stats"]) {
      for (const headers of [{}, { cookie }]) {
        const response = await fetch(service.url + path, { headers });
        expect(response.status).toBe(401);
        expect(await response.text()).not.toMatch(/auto_prospect_|nodejs_|prioritized/);
      }
    }
  });
});
