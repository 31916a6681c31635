import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, phone, run, settles } from "../helpers/hunts.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const ID = randomUUID();
/** Keys that BullMQ keeps beside its jobs. */
const NOT_JOBS = [
  "meta",
  "id",
  "wait",
  "active",
  "completed",
  "failed",
  "delayed",
  "prioritized",
  "events",
  "pc",
  "marker",
  "stalled",
  "limiter",
];

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
});
afterAll(() => world[Symbol.asyncDispose]());

test.each([
  `/api/hunt/status/${ID}`,
  "/api/hunt/status/not-a-uuid",
  "/api/hunt/status/%F0%9F%8F%A0",
  `/api/hunt/${ID}/messages`,
  "/api/hunt/__proto__/messages",
  "/api/hunt/%2e%2e%2f%2e%2e/messages",
  "/api/hunt/a';drop table hunts;--/messages",
  `/api/hunt/${"x".repeat(200)}/messages`,
  `/api/messages/${ID}`,
  "/api/messages/not-a-uuid",
  "/api/messages/%00",
  `/api/messages/${"9".repeat(200)}`,
  `/api/jobs/sms/${ID}`,
  `/api/jobs/hunt/${ID}`,
  "/api/jobs/sms/1",
  `/api/jobs/pigeon/${ID}`,
  `/api/jobs/constructor/${ID}`,
  `/api/jobs/${encodeURIComponent("sms:meta")}/${ID}`,
  "/api/queues/pigeon/stats",
  "/api/queues/__proto__/stats",
  "/api/queues/%E2%80%8Fsms/stats",
  "/api/queues/whatsapp.nobody/stats",
  "/api/queues/whatsapp.nobody/failed",
  "/api/queues/sms.nobody/failed",
  "/api/nothing",
  "/nothing",
])("GET %s → 404 as a problem", async (path) => {
  const answer = await service.get(path);
  expect(answer).toMatchObject({
    status: 404,
    body: { status: 404, code: expect.stringMatching(/not_found|unknown_route/) },
  });
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
});

test.each([
  `/api/jobs/sms/${ID}/retry`,
  "/api/jobs/sms/not-a-uuid/retry",
  `/api/jobs/pigeon/${ID}/retry`,
  `/api/jobs/hunt/${ID}/retry`,
  "/api/queues/whatsapp.nobody/failed/retry",
])("POST %s → 404 as a problem", async (path) => {
  expect(await service.post(path, undefined)).toMatchObject({ status: 404, body: { code: "not_found" } });
});

test.each(NOT_JOBS)("GET /api/jobs/sms/%s, a key of the queue itself → 404", async (key) => {
  const { body } = await service.post("/api/phone/sms", { recipientPhone: phone(1), message: "Bonjour" });
  await settles(service, body.messageId, "delivered");
  expect(await service.get(`/api/jobs/sms/${key}`)).toMatchObject({ status: 404, body: { code: "not_found" } });
  expect(await service.post(`/api/jobs/sms/${key}/retry`, undefined)).toMatchObject({ status: 404 });
});

test("keys that belong to a job → are no jobs", async () => {
  const { jobId } = await run(service, {
    accountId: await world.account(),
    contacts: [contact({ recipientPhone: phone(2) })],
  });
  await finished(service, jobId);
  for (const suffix of ["dependencies", "processed", "logs", "lock"]) {
    expect(await service.get(`/api/jobs/hunt/${jobId}:${suffix}`)).toMatchObject({ status: 404 });
  }
});

test("a message's id in another queue → 404", async () => {
  const { body } = await service.post("/api/phone/sms", { recipientPhone: phone(3), message: "Bonjour" });
  await settles(service, body.messageId, "delivered");
  expect(await service.get(`/api/jobs/voice/${body.messageId}`)).toMatchObject({ status: 404 });
  expect(await service.post(`/api/jobs/voice/${body.messageId}/retry`, undefined)).toMatchObject({ status: 404 });
});

test.each(["/api/hunt/%ff/messages", "/api/messages/%", "/api/jobs/sms/%zz"])(
  "GET %s, which cannot be decoded → 400",
  async (path) => {
    expect(await service.get(path)).toMatchObject({ status: 400, body: { code: "malformed_request" } });
  },
);

test.each([
  ["no token", {}],
  ["another token", { authorization: "Bearer nonsense" }],
  ["a token that only begins like ours", { authorization: `Bearer ${SECRET.slice(0, -1)}` }],
  ["the token under another scheme", { authorization: `Basic ${SECRET}` }],
  ["two tokens", { authorization: `Bearer ${SECRET} ${SECRET}` }],
])("%s → 401 on every kind of path, nothing is told or taken", async (_, headers) => {
  for (const path of [
    "/api/queues/stats",
    `/api/messages/${ID}`,
    "/api/nothing",
    `/api/queues/stats?token=${SECRET}`,
    `/api/queues/stats?access_token=${SECRET}`,
  ]) {
    const response = await fetch(service.url + path, { headers });
    expect(response.status).toBe(401);
    expect(response.headers.get("www-authenticate")).toContain("Bearer");
    expect(response.headers.get("content-type")).toContain("application/problem+json");
  }
  const body = JSON.stringify({ huntId: "refused", accountId: await world.account(), contacts: [contact()] });
  const init = { method: "POST", headers: { ...headers, "content-type": "application/json" }, body };
  expect((await fetch(`${service.url}/api/hunt/execute?token=${SECRET}`, init)).status).toBe(401);
  expect(await service.get("/api/hunt/refused/messages")).toMatchObject({ status: 404 });
});
