import { expect, test } from "vitest";
import { createClient } from "../../../src/client.ts";
import { freePort } from "../../../dev/stack/ports.ts";
import { answer, errorOf, serve, valueOf } from "../../helpers/client.ts";

const SECRET = "secret of the client's tests";
const text = { recipientPhone: "+33639980301", message: "Bonjour" };

test("a refused connection is a value that says where nobody answers", async () => {
  const nowhere = `http://127.0.0.1:${await freePort()}`;
  const nobody = createClient({ baseUrl: `${nowhere}/`, apiSecret: SECRET, retries: 1 });
  const error = errorOf(await nobody.sendSms(text));
  expect(error).toMatchObject({
    status: undefined,
    code: "network_error",
    retryable: true,
    idempotencyKey: expect.any(String),
  });
  expect(error.detail).toContain(nowhere);
  expect(error.detail).toContain("ECONNREFUSED");
});

test("an answer that does not come, or stops half-way, ends with the time-out", async () => {
  const silent = await serve((request, response) => {
    if (request.url === "/health") response.writeHead(200, { "content-type": "application/json" }).write('{"status"');
  });
  const impatient = createClient({ baseUrl: silent, apiSecret: SECRET, timeoutMs: 100, retries: 0 });
  expect(errorOf(await impatient.sendSms(text))).toMatchObject({ status: undefined, code: "timeout", retryable: true });
  expect(errorOf(await impatient.health())).toMatchObject({ code: "timeout", retryable: true });
});

test("the caller's signal ends a call that is under way, and one that waits for its next attempt", async () => {
  const controller = new AbortController();
  const silent = await serve(() => controller.abort());
  const { signal } = controller;
  expect(errorOf(await createClient({ baseUrl: silent, apiSecret: SECRET }).health({ signal }))).toMatchObject({
    code: "aborted",
    retryable: false,
  });

  const later = new AbortController();
  const busy = await serve((_request, response) => {
    answer(response, 503, {}, { "retry-after": "20" });
    response.once("close", () => later.abort());
  });
  expect(errorOf(await createClient({ baseUrl: busy, apiSecret: SECRET }).sendSms(text, later))).toMatchObject({
    code: "aborted",
  });
});

test("an answer that is not the service's is told from one that is", async () => {
  const html = await serve((request, response) => {
    const status = Number(request.url?.split("/").at(-2));
    response
      .writeHead(status, { "content-type": "text/html", location: "https://elsewhere.example" })
      .end("<h1>Hello</h1>");
  });
  const at = (status: number) => createClient({ baseUrl: `${html}/${status}`, apiSecret: SECRET, retries: 0 }).health();
  expect(errorOf(await at(200))).toMatchObject({ status: 200, code: "invalid_answer", retryable: false });
  expect(errorOf(await at(502))).toMatchObject({ status: 502, code: "http_error", retryable: true });
  const moved = errorOf(await at(301));
  expect(moved).toMatchObject({ status: 301, code: "http_error", retryable: false });
  expect(moved.detail).toContain("https://elsewhere.example");
});

test("a fault that may pass is retried no sooner than Retry-After says, and others are not", async () => {
  const asked: number[] = [];
  const busyOnce = await serve((_request, response) => {
    asked.push(performance.now());
    if (asked.length === 1)
      answer(
        response,
        503,
        { code: "database_unavailable" },
        { "content-type": "application/problem+json", "retry-after": "1" },
      );
    else answer(response, 200, { queues: [] });
  });
  expect(valueOf(await createClient({ baseUrl: busyOnce, apiSecret: SECRET }).queueStats())).toEqual({ queues: [] });
  expect(asked[1]! - asked[0]!).toBeGreaterThan(990);

  let calls = 0;
  const off = await serve((_request, response) => {
    calls += 1;
    answer(
      response,
      503,
      { code: "channel_off", detail: "sms is off" },
      { "content-type": "application/problem+json" },
    );
  });
  expect(errorOf(await createClient({ baseUrl: off, apiSecret: SECRET }).sendSms(text))).toMatchObject({
    code: "channel_off",
    retryable: false,
  });
  expect(calls).toBe(1);
});

test("a Retry-After beyond the time-out is handed to the caller at once", async () => {
  let calls = 0;
  const busy = await serve((_request, response) => {
    calls += 1;
    answer(response, 429, {}, { "retry-after": "3600" });
  });
  const error = errorOf(await createClient({ baseUrl: busy, apiSecret: SECRET }).health());
  expect(error).toMatchObject({ status: 429, retryable: true, retryAfterMs: 3_600_000 });
  expect(calls).toBe(1);
});

test("waiting for a hunt outlasts a service that is away for a moment, and not one that stays away", async () => {
  let calls = 0;
  const restarting = await serve((request, response) => {
    calls += 1;
    if (calls <= 2) request.socket.destroy();
    else answer(response, 200, { state: calls === 3 ? "running" : "finished" });
  });
  const waiting = createClient({ baseUrl: restarting, apiSecret: SECRET, retries: 0 });
  expect(valueOf(await waiting.waitForHunt("job", { pollMs: 1 }))).toEqual({ state: "finished" });
  expect(calls).toBe(4);
  const nowhere = `http://127.0.0.1:${await freePort()}`;
  const nobody = createClient({ baseUrl: nowhere, apiSecret: SECRET, retries: 0 });
  expect(errorOf(await nobody.waitForHunt("job", { pollMs: 1, patienceMs: 20 }))).toMatchObject({
    code: "network_error",
  });
});

test("waiting for a hunt that is cancelled ends when nothing of it is being sent any more", async () => {
  const ended = { state: "cancelled", finishedAt: "2026-11-22T10:00:00.000Z" };
  const looks = [{ state: "running", finishedAt: null }, { state: "cancelled", finishedAt: null }, ended];
  let calls = 0;
  const url = await serve((_request, response) => answer(response, 200, looks[calls++]));
  const waiting = createClient({ baseUrl: url, apiSecret: SECRET });
  expect(valueOf(await waiting.waitForHunt("job", { pollMs: 1 }))).toEqual(ended);
  expect(calls).toBe(3);
});

test("options that can never work are refused when the client is made", () => {
  expect(() => createClient({ baseUrl: "worker.example.com", apiSecret: SECRET })).toThrow(/baseUrl/);
  expect(() => createClient({ baseUrl: "http://127.0.0.1", apiSecret: "" })).toThrow(/apiSecret/);
});
