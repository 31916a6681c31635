import { readFileSync } from "node:fs";
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from "node:http";
import { stripTypeScriptTypes } from "node:module";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, expectTypeOf, onTestFinished, test } from "vitest";
import type { z } from "zod";
import type * as api from "../../src/client.ts";
import { ClientError, createClient, type Client, type Result } from "../../src/client.ts";
import { freePort } from "../../dev/stack/ports.ts";
import { mediaRoutes } from "../../src/channels/media.routes.ts";
import { singleRoute } from "../../src/channels/single.routes.ts";
import { accountRoutes } from "../../src/compliance/accounts.routes.ts";
import { deliveryRoutes } from "../../src/events/deliveries.routes.ts";
import { endpointRoutes } from "../../src/events/endpoints.routes.ts";
import type { eventSchema } from "../../src/events/types.ts";
import { erasureRoutes } from "../../src/compliance/erasure.routes.ts";
import { suppressionRoutes } from "../../src/compliance/suppressions.routes.ts";
import type { Route } from "../../src/core/route.ts";
import type { contactSchema } from "../../src/hunt/contacts.ts";
import { steeringRoutes } from "../../src/hunt/steering.routes.ts";
import { huntRoutes } from "../../src/hunt/hunt.routes.ts";
import { huntsRoutes } from "../../src/hunt/hunts.routes.ts";
import type { statusSchema } from "../../src/hunt/hunt.status.ts";
import { previewRoutes } from "../../src/hunt/preview.routes.ts";
import type { previewSchema } from "../../src/hunt/preview.schema.ts";
import { recurrenceRoutes } from "../../src/hunt/recurring.routes.ts";
import { CHANNELS } from "../../src/modules.ts";
import { jobRoutes } from "../../src/routes/jobs.routes.ts";
import { opsRoutes } from "../../src/routes/ops.routes.ts";
import { failedRoutes } from "../../src/routes/failed.routes.ts";
import { senderRoutes } from "../../src/routes/senders.routes.ts";
import type { messageSchema } from "../../src/store/message-view.ts";
import { templateRoutes } from "../../src/templates/templates.routes.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let client: Client;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  client = createClient({ baseUrl: service.url, apiSecret: SECRET });
});
afterAll(() => world[Symbol.asyncDispose]());

function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw result.error;
  return result.value;
}

function errorOf(result: Result<unknown>): ClientError {
  if (result.ok) throw new Error("the call was expected to fail");
  expect(result.error).toBeInstanceOf(ClientError);
  return result.error;
}

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** An HTTP server for the test, in place of the service or before it. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function answer(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  let text = "";
  for await (const chunk of request) text += String(chunk);
  return text;
}

/** A prefix of the service's address behind which the answers of the first requests are lost, after they took effect. */
async function losingAnswers(count: number) {
  const keys: unknown[] = [];
  const forward = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    keys.push(request.headers["idempotency-key"]);
    const { host: _host, ...headers } = request.headers;
    const answered = await fetch(service.url + request.url, {
      method: request.method ?? "GET",
      headers: {
        authorization: headers.authorization ?? "",
        "content-type": "application/json",
        "idempotency-key": String(headers["idempotency-key"]),
      },
      body: await bodyOf(request),
    });
    const body = await answered.text();
    if (keys.length <= count) request.socket.destroy();
    else response.writeHead(answered.status, { "content-type": "application/json" }).end(body);
  };
  const url = await serve((request, response) => void forward(request, response));
  return { keys, client: createClient({ baseUrl: url, apiSecret: SECRET }) };
}

const text = { recipientPhone: "+33639980301", message: "Bonjour" };

test("a hunt is submitted, waited for and read page by page", async () => {
  const accountId = await world.account();
  const numbers = ["+33639980301", "06 39 98 03 02", "+33639980303", "not a number", "+33639980001"];
  const contacts = numbers.map((recipientPhone, i) => ({
    adId: `ad ${i}`,
    recipientPhone,
    channel: "sms" as const,
    message: "Bonjour",
  }));
  const huntId = "a hunt/of the client?";
  const accepted = valueOf(await client.executeHunt({ huntId, accountId, contacts, priority: "high" }));
  expect(accepted).toEqual({ jobId: expect.any(String), huntId, accepted: 5 });

  expect(valueOf(await client.steerHunt(huntId, "resume"))).toEqual({
    huntId,
    accountId,
    pausedAt: null,
    cancelledAt: null,
  });
  expect(errorOf(await client.steerHunt("no such hunt", "cancel"))).toMatchObject({ code: "not_found" });

  const seen: api.HuntStatus[] = [];
  const onStatus = (status: api.HuntStatus): void => void seen.push(status);
  const finished = valueOf(await client.waitForHunt(accepted.jobId, { pollMs: 10, onStatus }));
  expect(finished).toMatchObject({ state: "finished", total: 5, counts: { failed: 1, skipped: 1 } });
  expect(seen.at(-1)).toEqual(finished);
  await expect.poll(async () => valueOf(await client.huntStatus(accepted.jobId)).counts.delivered).toBe(3);

  const first = valueOf(await client.huntMessages(huntId, { limit: 2 }));
  expect(first.messages.map(({ adId }) => adId)).toEqual(["ad 0", "ad 1"]);
  const rest = valueOf(await client.huntMessages(huntId, { cursor: first.nextCursor ?? "" }));
  expect(rest.messages.map(({ adId }) => adId)).toEqual(["ad 2", "ad 3", "ad 4"]);
  expect(rest.nextCursor).toBeNull();

  const skipped = await collect(client.eachHuntMessage(huntId, { status: "skipped" }));
  expect(skipped.map((result) => valueOf(result).reason)).toEqual(["invalid_number"]);
});

test("a recurrence is made, paused, resumed, listed and deleted", async () => {
  const accountId = await world.account();
  const contacts = [{ adId: "ad", recipientPhone: "+33639980302", channel: "sms" as const, message: "Bonjour" }];
  const when = { name: "Weekly", cron: "0 9 * * 1", timeZone: "Europe/Paris", count: 3 };
  const made = valueOf(await client.createRecurrence({ accountId, ...when, hunt: { contacts } }));
  const { recurrenceId, nextRunAt } = made;
  expect(valueOf(await client.steerRecurrence(accountId, recurrenceId, "pause"))).toMatchObject({ nextRunAt: null });
  expect(valueOf(await client.steerRecurrence(accountId, recurrenceId, "resume"))).toMatchObject({
    ...when,
    nextRunAt,
  });
  const one = valueOf(await client.recurrence(accountId, recurrenceId));
  expect(valueOf(await client.recurrences({ accountId, limit: 10 }))).toEqual({ recurrences: [one], nextCursor: null });
  expect(valueOf(await client.deleteRecurrence(accountId, recurrenceId))).toEqual({ recurrenceId });
  expect(errorOf(await client.recurrence(accountId, recurrenceId)).code).toBe("not_found");
});

test("a template is made, changed, previewed and archived", async () => {
  const accountId = await world.account();
  const made = valueOf(await client.createTemplate({ accountId, name: "Un", text: "Bonjour {{ name }}" }));
  const { templateId } = made;
  const next = { accountId, name: "Un", channel: "sms" as const, text: "Salut {{ name }}" };
  expect(valueOf(await client.putTemplate(templateId, next))).toEqual({ templateId, version: 2 });
  const contacts = [
    { adId: "ad", recipientPhone: "+33639980301", channel: "sms" as const, variables: { name: "Zoé" } },
  ];
  const preview = valueOf(await client.previewHunt({ huntId: "previewed", accountId, templateId, contacts }));
  expect(preview).toMatchObject({ send: 1, samples: [{ text: "Salut Zoé", segments: 1 }] });
  expect(valueOf(await client.template(accountId, templateId)).versions).toHaveLength(2);
  expect(valueOf(await client.templates({ accountId, limit: 10 }))).toMatchObject({
    templates: [{ templateId }],
    nextCursor: null,
  });
  expect(valueOf(await client.archiveTemplate(accountId, templateId))).toEqual({ templateId });
  expect(valueOf(await client.templates({ accountId })).templates).toEqual([]);
  expect(errorOf(await client.executeHunt({ huntId: "late", accountId, templateId, contacts })).code).toBe(
    "template_archived",
  );
});

test("the iterator goes over all pages and yields a fault as its last value", async () => {
  const pages = await serve((request, response) => {
    const cursor = new URL(request.url ?? "", "http://x").searchParams.get("cursor");
    if (cursor === null) answer(response, 200, { messages: [{ messageId: "1" }, { messageId: "2" }], nextCursor: "2" });
    else if (cursor === "2") answer(response, 200, { messages: [{ messageId: "3" }], nextCursor: "3" });
    else
      answer(
        response,
        404,
        { code: "not_found", detail: "It is gone." },
        { "content-type": "application/problem+json" },
      );
  });
  const all = await collect(createClient({ baseUrl: pages, apiSecret: SECRET }).eachHuntMessage("hunt"));
  expect(all.map((result) => (result.ok ? result.value.messageId : result.error.code))).toEqual([
    "1",
    "2",
    "3",
    "not_found",
  ]);
});

test("single messages go out over each channel and their jobs and messages can be looked at", async () => {
  const to = { recipientPhone: "06 39 98 03 10" };
  const sent = [
    valueOf(await client.sendWhatsAppText({ ...to, message: "Bonjour" })),
    valueOf(await client.sendSms({ ...to, message: "Bonjour" })),
    valueOf(await client.sendRinglessVoice({ ...to, text: "Bonjour" })),
    valueOf(await client.sendRinglessVoice({ ...to, audioUrl: "https://cdn.example.com/bonjour.mp3" })),
  ];
  expect(sent.map(({ queue }) => queue)).toEqual(["whatsapp", "sms", "voice", "voice"]);
  for (const { messageId, queue, jobId } of sent) {
    await expect.poll(async () => valueOf(await client.message(messageId)).status).toBe("delivered");
    await expect.poll(async () => valueOf(await client.job(queue, jobId)).state).toBe("completed");
  }
});

test("an upload and every kind of message over WhatsApp go out through the client", async () => {
  const accountId = await world.account();
  const data = Buffer.from("%PDF-1.7\n");
  const file = { accountId, data, contentType: "application/pdf", fileName: "Estimation n°4.pdf" };
  const upload = valueOf(await client.uploadMedia(file));
  expect(upload).toMatchObject({ mediaId: expect.any(String), size: 9, contentType: "application/pdf" });
  valueOf(await client.uploadMedia({ ...file, data: new Blob([data]) }));
  expect(errorOf(await client.uploadMedia({ ...file, contentType: "image/png" }))).toMatchObject({
    status: 415,
    code: "media_mismatch",
    retryable: false,
  });
  const { mediaId } = upload;
  const to = { recipientPhone: "06 39 98 03 10", accountId };
  const mediaUrl = "https://cdn.example.com/file";
  const sent = [
    await client.sendWhatsAppImage({ ...to, mediaUrl, message: "La façade" }),
    await client.sendWhatsAppVideo({ ...to, mediaUrl }),
    await client.sendWhatsAppAudio({ ...to, mediaUrl, voiceNote: true }),
    await client.sendWhatsAppDocument({ ...to, mediaId, message: "Notre estimation" }),
    await client.sendWhatsAppLocation({ ...to, latitude: 48.8584, longitude: 2.2945 }),
    await client.sendWhatsAppContact({ ...to, contactName: "Agence", contactPhone: "+33145678901" }),
    await client.sendWhatsAppPoll({ ...to, question: "Quand ?", options: ["Ce soir", "Demain"], replyTo: mediaId }),
  ].map(valueOf);
  const statuses = async () =>
    Promise.all(sent.map(async ({ messageId }) => valueOf(await client.message(messageId)).status));
  await expect.poll(statuses).toEqual(sent.map(() => "delivered"));
});

test("who must not be contacted is listed, taken off, read from a file and written to one, and can be erased", async () => {
  const accountId = await world.account();
  const phone = "+33639980320";
  const entry = valueOf(await client.suppress({ phone: "06 39 98 03 20", accountId, reason: "asked" }));
  expect(entry).toMatchObject({ phone, accountId, source: "manual", reason: "asked" });
  expect(valueOf(await client.suppressions({ accountId, limit: 5 }))).toEqual({
    suppressions: [entry],
    nextCursor: null,
  });
  expect(valueOf(await client.unsuppress({ phone, accountId }))).toEqual({ phone, accountId });
  expect(errorOf(await client.unsuppress({ phone, accountId }))).toMatchObject({ status: 404, retryable: false });
  const read = await client.importSuppressions(`phone\n${phone}\n+33639980321\nnone\n`, { accountId });
  expect(valueOf(read)).toMatchObject({ taken: 2, added: 2, faults: [{ line: 4 }] });
  const first = valueOf(await client.exportSuppressions({ accountId, limit: 1 }));
  expect(first.text).toMatch(/^phone,accountId,reason,source,createdAt\r\n\+33639980320,/);
  const rest = valueOf(await client.exportSuppressions({ accountId, cursor: first.nextCursor ?? "" }));
  expect(rest).toEqual({ text: expect.stringMatching(/^\+33639980321,/), nextCursor: null });
  expect(errorOf(await client.importSuppressions("number\n"))).toMatchObject({ status: 400, code: "invalid_request" });
  expect(valueOf(await client.erasePerson(phone))).toEqual({ messages: 0, replies: 0, leads: 0, contacts: 0 });
  expect(valueOf(await client.suppressions({ phone })).suppressions).toMatchObject([
    { phone: null, source: "erasure" },
  ]);
  expect(errorOf(await client.erasePerson("12"))).toMatchObject({ status: 400, errors: [{ pointer: "/path/phone" }] });
});

test("a message that was provably not sent is tried again, a delivered one is not", async () => {
  const refused = valueOf(await client.sendSms({ recipientPhone: "+33639980001", message: "Bonjour" }));
  await expect.poll(async () => valueOf(await client.message(refused.messageId)).status).toBe("failed");
  expect(valueOf(await client.retryJob("sms", refused.jobId))).toEqual(refused);
  await expect
    .poll(async () => valueOf(await client.message(refused.messageId)))
    .toMatchObject({ attempts: 2, status: "failed" });

  const delivered = valueOf(await client.sendSms(text));
  await expect.poll(async () => valueOf(await client.message(delivered.messageId)).status).toBe("delivered");
  expect(errorOf(await client.retryJob("sms", delivered.jobId))).toMatchObject({
    status: 409,
    code: "not_retryable",
    retryable: false,
  });
});

test("hunts are listed, one is looked at, now and over time; what failed is tried again", async () => {
  const hunts = valueOf(await client.hunts({ limit: 1 }));
  const [first] = hunts.hunts;
  const huntId = first!.huntId;
  expect(valueOf(await client.hunt(huntId))).toMatchObject({ huntId, reasons: expect.any(Array) });
  expect(valueOf(await client.huntTimeline(huntId, { points: 5 })).points).toHaveLength(5);
  expect(await client.hunt("none")).toMatchObject({ ok: false, error: { code: "not_found" } });
  expect(valueOf(await client.failedJobs("scraping"))).toEqual({ jobs: [], nextCursor: null });
  expect(valueOf(await client.retryFailedJobs("scraping"))).toEqual({ retried: 0, refused: [], nextCursor: null });
  const missing = await client.retryFailedJob("scraping", "none");
  expect(missing).toMatchObject({ ok: false, error: { code: "not_found" } });
});

test("queues are counted one by one and all at once", async () => {
  const { queues } = valueOf(await client.queueStats());
  expect(queues.map(({ name }) => name)).toEqual([
    "hunt",
    "whatsapp",
    "sms",
    "voice",
    "inbound",
    "webhooks",
    "scraping",
  ]);
  expect(valueOf(await client.queueStats("scraping"))).toEqual(queues.at(-1));
});

test("a service that lives but cannot work is an answer, not an error", async () => {
  expect(valueOf(await client.health())).toMatchObject({ status: "ok" });
  await expect.poll(async () => valueOf(await client.ready()).ready).toBe(true);
  await world.database.pausePostgrest();
  try {
    await expect
      .poll(async () => valueOf(await client.ready()))
      .toMatchObject({ ready: false, checks: { database: { ok: false } } });
  } finally {
    await world.database.resumePostgrest();
  }
  await expect.poll(async () => valueOf(await client.ready()).ready).toBe(true);
});

test("a wrong secret, unknown ids and an unknown account come back as values", async () => {
  const stranger = createClient({ baseUrl: service.url, apiSecret: "wrong" });
  expect(errorOf(await stranger.queueStats())).toMatchObject({
    status: 401,
    code: "unauthorized",
    retryable: false,
    requestId: expect.any(String),
  });
  const unknown = await Promise.all([
    client.huntStatus("no-such-job"),
    client.waitForHunt("no-such-job"),
    client.huntMessages("no-such-hunt"),
    client.message("no-such-message"),
    client.job("sms", "no-such-job"),
    client.retryJob("sms", "no-such-job"),
    client.queueStats("no-such-queue"),
  ]);
  for (const result of unknown)
    expect(errorOf(result)).toMatchObject({ status: 404, code: "not_found", retryable: false });
  const nobody = errorOf(await client.sendSms({ ...text, accountId: "nobody" }));
  expect(nobody).toMatchObject({ status: 422, code: "unknown_account", errors: [{ pointer: "/accountId" }] });
});

test("every fault of a request is given by its JSON pointer", async () => {
  const contacts = [
    { adId: "", recipientPhone: "+33639980301", channel: "sms" as const },
    { adId: "b", recipientPhone: "+33639980301", channel: "sms" as const },
  ];
  const error = errorOf(await client.executeHunt({ huntId: "faulty", accountId: "", contacts }));
  expect(error).toMatchObject({
    status: 400,
    code: "invalid_request",
    retryable: false,
    requestId: expect.any(String),
  });
  expect(error.errors.map(({ pointer }) => pointer).toSorted()).toEqual([
    "/accountId",
    "/contacts/0/adId",
    "/contacts/1/message",
  ]);
  expect(errorOf(await client.sendSms(text, { idempotencyKey: "clé" }))).toMatchObject({
    code: "invalid_request",
    errors: [{ pointer: "/header/Idempotency-Key" }],
  });
});

test("a key of the caller's own makes two calls one request, and another body under it a conflict", async () => {
  const options = { idempotencyKey: "the caller's own" };
  const first = valueOf(await client.sendSms(text, options));
  expect(valueOf(await client.sendSms(text, options))).toEqual(first);
  expect(valueOf(await client.sendSms(text))).not.toEqual(first);
  const conflict = errorOf(await client.sendSms({ ...text, message: "Bonsoir" }, options));
  expect(conflict).toMatchObject({ status: 409, code: "idempotency_conflict", idempotencyKey: "the caller's own" });
});

test("a message whose accepted answer was lost is asked for again and sent once", async () => {
  const accountId = await world.account();
  const { client: unlucky, keys } = await losingAnswers(1);
  const { messageId } = valueOf(await unlucky.sendSms({ ...text, accountId }));
  expect(keys).toEqual([expect.stringMatching(/^[\da-f-]{36}$/), keys[0]]);
  await expect.poll(async () => valueOf(await client.message(messageId)).status).toBe("delivered");
  const { rows } = await world.sql.query("select id, attempts from messages where account_id = $1", [accountId]);
  expect(rows).toEqual([{ id: messageId, attempts: 1 }]);
});

test("a hunt whose accepted answer was lost twice is accepted once", async () => {
  const accountId = await world.account();
  const { client: unlucky, keys } = await losingAnswers(2);
  const contacts = [{ adId: "a", channel: "sms" as const, ...text }];
  const { jobId } = valueOf(await unlucky.executeHunt({ huntId: "lost answers", accountId, contacts }));
  expect(new Set(keys).size).toBe(1);
  expect(keys).toHaveLength(3);
  expect(valueOf(await client.waitForHunt(jobId, { pollMs: 10 })).total).toBe(1);
  const { rows } = await world.sql.query("select job_id from hunt_submissions where hunt_id = 'lost answers'");
  expect(rows).toEqual([{ job_id: jobId }]);
});

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
  expect(() => createClient({ baseUrl: service.url, apiSecret: "" })).toThrow(/apiSecret/);
});

test("the client's types are those of the server's schemas", () => {
  expectTypeOf<api.HuntStatus>().toEqualTypeOf<z.output<typeof statusSchema>>();
  expectTypeOf<api.HuntPreview>().toEqualTypeOf<z.output<typeof previewSchema>>();
  expectTypeOf<api.Message>().toEqualTypeOf<z.output<typeof messageSchema>>();
  expectTypeOf<api.EventBody>().toEqualTypeOf<z.output<typeof eventSchema>>();
  type ServersContact = z.output<ReturnType<typeof contactSchema>>;
  expectTypeOf<Omit<api.Contact, "channel" | "channels">>().toEqualTypeOf<
    Omit<ServersContact, "channel" | "channels">
  >();
  const channels: Record<api.Channel, true> = {
    whatsapp_text: true,
    whatsapp_image: true,
    whatsapp_video: true,
    whatsapp_audio: true,
    whatsapp_document: true,
    whatsapp_location: true,
    whatsapp_contact: true,
    whatsapp_poll: true,
    sms: true,
    ringless_voice: true,
  };
  expect(Object.keys(channels)).toEqual(CHANNELS.map(({ name }) => name));
});

/** What a type's keys are; tsc refuses one too many or too few. */
type KeysOf<T> = Record<keyof T, true>;

/** The routes that a client has called, each of its methods with arguments of several kinds. */
async function routesOfTheClient(): Promise<string[]> {
  const called = new Set<string>();
  const url = await serve((request, response) => {
    called.add(`${request.method} ${request.url?.split("?")[0]}`);
    answer(response, 404, { code: "not_found", status: 404, title: "None", detail: "None." });
  });
  const file = { contentType: "text/csv", data: new Uint8Array(1), contacts: [] };
  const arguments_ = [
    ["x", "x"],
    ["x", {}],
    [file, file],
    ["x", "pause"],
    ["x", "resume"],
    ["x", "cancel"],
    ["x", "x", "pause"],
    ["x", "x", "resume"],
  ];
  const recorded = createClient({ baseUrl: url, apiSecret: SECRET });
  for (const method of Object.values(recorded) as ((...args: unknown[]) => unknown)[]) {
    for (const args of arguments_) {
      const result = await (async () => method(...args))().catch(() => undefined);
      // Iterators ask when they are asked. Arguments that make no sense for a method are no matter here.
      const { next } = (result ?? {}) as { next?: () => Promise<unknown> };
      await next?.call(result)?.catch(() => undefined);
    }
  }
  return [...called];
}

test("each route of the document → is one that the client calls", async () => {
  const { paths } = (await service.get("/openapi.json")).body as { paths: Record<string, Record<string, unknown>> };
  const called = await routesOfTheClient();
  const missed = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).flatMap((name) => {
      const pattern = new RegExp(`^${name.toUpperCase()} ${path.replaceAll(/\{\w+\}/g, "[^/]+")}$`);
      return called.some((each) => pattern.test(each)) ? [] : [`${name} ${path}`];
    }),
  );
  // What Prometheus calls, and vendors, is not for a web app; the picture's content is in `whatsAppSession`.
  expect(missed.filter((each) => !/ \/(metrics|webhooks\/.*)$|qr\.png$/.test(each))).toEqual([]);
});

test("the client's types have exactly the fields that the server documents", () => {
  // Only the declarations are looked at: no handler runs.
  const none = {} as never;
  const routes: Route[] = [
    ...huntRoutes({ channels: new Map(CHANNELS.map((channel) => [channel.name, channel])) } as never),
    ...previewRoutes({
      definitions: new Map(CHANNELS.map((channel) => [channel.name, channel])),
    } as never),
    ...recurrenceRoutes({ channels: new Map(CHANNELS.map((channel) => [channel.name, channel])) } as never),
    ...templateRoutes({ templates: none, channels: CHANNELS.map(({ name }) => name) }),
    ...CHANNELS.map((channel) => singleRoute(channel, none)),
    ...mediaRoutes(none),
    ...steeringRoutes(none),
    ...suppressionRoutes(none),
    ...erasureRoutes({ store: none, removeJobs: none, forgetInbound: none }),
    ...accountRoutes({ accounts: none, channels: CHANNELS.map(({ name }) => name) }),
    ...jobRoutes({ queues: none, store: none }),
    ...endpointRoutes({ events: none, secrets: none, fetchPolicy: undefined, wake: () => {} }),
    ...deliveryRoutes({ events: none, wake: none }),
    ...failedRoutes({ queues: none, store: none, redis: none }),
    ...huntsRoutes({ hunts: none }),
    ...senderRoutes({ throttle: none }),
    ...opsRoutes({ clock: { now: () => 0, monotonic: () => 0 } } as never),
  ];
  const routeAt = (path: string): Route => {
    const found = routes.find((route) => route.path === path);
    if (!found) throw new Error(`the server has no route ${path}`);
    return found;
  };
  const fieldsOf = (schema: z.ZodType | undefined): string[] => Object.keys((schema as z.ZodObject).shape).toSorted();
  const answers = (path: string, status: number, keys: Record<string, true>): void =>
    expect(fieldsOf(routeAt(path).responses[status]?.schema)).toEqual(Object.keys(keys).toSorted());
  const takes = (path: string, keys: Record<string, true>): void =>
    expect(fieldsOf(routeAt(path).body)).toEqual(Object.keys(keys).toSorted());

  const newHunt: KeysOf<api.NewHunt> = {
    huntId: true,
    accountId: true,
    contacts: true,
    priority: true,
    expiresAt: true,
    sendAt: true,
    timeZone: true,
    windows: true,
    template: true,
    templates: true,
    templateId: true,
    templateVersion: true,
    variants: true,
    fallbackAfterSeconds: true,
  };
  takes("/api/hunt/execute", newHunt);
  takes("/api/hunt/preview", newHunt);
  const newRecurrence: KeysOf<api.NewRecurrence> = {
    accountId: true,
    name: true,
    cron: true,
    timeZone: true,
    until: true,
    count: true,
    expiresAfterSeconds: true,
    hunt: true,
  };
  takes("/api/recurrences", newRecurrence);
  answers("/api/recurrences", 201, {
    recurrenceId: true,
    contacts: true,
    nextRunAt: true,
  } satisfies KeysOf<api.AcceptedRecurrence>);
  answers("/api/recurrences/:recurrenceId", 200, {
    recurrenceId: true,
    accountId: true,
    name: true,
    cron: true,
    timeZone: true,
    until: true,
    count: true,
    contacts: true,
    runs: true,
    lastRunAt: true,
    nextRunAt: true,
    pausedAt: true,
    createdAt: true,
  } satisfies KeysOf<api.Recurrence>);
  const newTemplate: KeysOf<api.NewTemplate> = { accountId: true, name: true, channel: true, text: true };
  takes("/api/templates", newTemplate);
  answers("/api/templates", 201, { templateId: true, version: true } satisfies KeysOf<api.PutTemplate>);
  answers("/api/templates/:templateId", 200, {
    templateId: true,
    accountId: true,
    name: true,
    channel: true,
    version: true,
    text: true,
    createdAt: true,
    updatedAt: true,
    archivedAt: true,
    versions: true,
  } satisfies KeysOf<api.TemplateWithVersions>);
  const to: KeysOf<api.Recipient> = {
    recipientPhone: true,
    senderPhone: true,
    accountId: true,
    category: true,
    consent: true,
  };
  const newText: KeysOf<api.NewText> = { ...to, message: true };
  takes("/api/whatsapp/text", { ...newText, replyTo: true } satisfies KeysOf<api.NewWhatsAppText>);
  const recipient: KeysOf<api.Recipient & api.Quoting> = { ...to, replyTo: true };
  const source: KeysOf<api.MediaSource> = { mediaUrl: true, mediaId: true };
  const picture: KeysOf<api.NewPicture> = { ...recipient, ...source, message: true };
  takes("/api/whatsapp/image", picture);
  takes("/api/whatsapp/video", picture);
  takes("/api/whatsapp/audio", { ...recipient, ...source, voiceNote: true } satisfies KeysOf<api.NewRecording>);
  takes("/api/whatsapp/document", { ...picture, fileName: true } satisfies KeysOf<api.NewDocument>);
  takes("/api/whatsapp/location", {
    ...recipient,
    latitude: true,
    longitude: true,
    placeName: true,
    placeAddress: true,
  } satisfies KeysOf<api.NewLocation>);
  takes("/api/whatsapp/contact", {
    ...recipient,
    contactName: true,
    contactPhone: true,
  } satisfies KeysOf<api.NewContactCard>);
  takes("/api/whatsapp/poll", {
    ...recipient,
    question: true,
    options: true,
    multipleAnswers: true,
  } satisfies KeysOf<api.NewPoll>);
  const steered: KeysOf<api.Steered> = { huntId: true, accountId: true, pausedAt: true, cancelledAt: true };
  for (const action of ["pause", "resume", "cancel"]) answers(`/api/hunt/:huntId/${action}`, 200, steered);
  answers("/api/media", 201, {
    mediaId: true,
    size: true,
    contentType: true,
    expiresAt: true,
  } satisfies KeysOf<api.Upload>);
  takes("/api/phone/sms", newText);
  takes("/api/phone/ringless-voice", { ...to, text: true, audioUrl: true } satisfies KeysOf<api.NewVoicemail>);
  takes("/api/suppressions", { phone: true, accountId: true, reason: true } satisfies KeysOf<api.NewSuppression>);
  answers("/api/suppressions", 200, {
    accountId: true,
    phone: true,
    source: true,
    reason: true,
    createdAt: true,
  } satisfies KeysOf<api.Suppression>);
  answers("/api/suppressions/import", 200, {
    taken: true,
    added: true,
    faults: true,
  } satisfies KeysOf<api.ImportedSuppressions>);
  answers("/api/accounts/:accountId", 200, {
    accountId: true,
    status: true,
    defaultCountry: true,
    policy: true,
    limits: true,
    consentDeclared: true,
    resendUnknown: true,
    createdAt: true,
    credits: true,
  } satisfies KeysOf<api.Account>);
  answers("/api/accounts/:accountId/credits", 200, {
    channel: true,
    balance: true,
    reserved: true,
    spent: true,
  } satisfies KeysOf<api.Credits>);
  answers("/api/contacts/:phone", 200, {
    messages: true,
    replies: true,
    leads: true,
    contacts: true,
  } satisfies KeysOf<api.Erased>);
  answers("/api/hunt/execute", 202, { jobId: true, huntId: true, accepted: true } satisfies KeysOf<api.AcceptedHunt>);
  answers("/api/hunt/:huntId/messages", 200, { messages: true, nextCursor: true } satisfies KeysOf<api.MessagePage>);
  const accepted: KeysOf<api.AcceptedMessage> = { jobId: true, queue: true, messageId: true };
  answers("/api/phone/sms", 202, accepted);
  answers("/api/jobs/:queue/:jobId/retry", 202, accepted);
  answers("/api/jobs/:queue/:jobId", 200, {
    jobId: true,
    queue: true,
    name: true,
    state: true,
    progress: true,
    attempts: true,
    maxAttempts: true,
    errors: true,
    result: true,
    createdAt: true,
    startedAt: true,
    finishedAt: true,
  } satisfies KeysOf<api.Job>);
  answers("/api/hunts", 200, { hunts: true, nextCursor: true } satisfies KeysOf<api.HuntPage>);
  answers("/api/hunts/:huntId", 200, {
    jobId: true,
    huntId: true,
    accountId: true,
    state: true,
    total: true,
    counts: true,
    pausedAt: true,
    cancelledAt: true,
    scheduledAt: true,
    startedAt: true,
    finishedAt: true,
    etaSeconds: true,
    priority: true,
    createdAt: true,
    expiresAt: true,
    reasons: true,
  } satisfies KeysOf<api.HuntWithReasons>);
  const timeline: KeysOf<api.HuntTimeline> = { huntId: true, from: true, to: true, points: true };
  answers("/api/hunts/:huntId/timeline", 200, timeline);
  answers("/api/queues/:queue/failed/retry", 200, {
    retried: true,
    refused: true,
    nextCursor: true,
  } satisfies KeysOf<api.RetriedJobs>);
  const { jobs } = (routeAt("/api/queues/:queue/failed").responses[200]!.schema as z.ZodObject).shape;
  expect(fieldsOf((jobs as z.ZodArray<z.ZodObject>).element)).toEqual(
    Object.keys({
      jobId: true,
      queue: true,
      name: true,
      messageId: true,
      accountId: true,
      huntId: true,
      channel: true,
      attempts: true,
      failedAt: true,
      code: true,
      why: true,
      retryable: true,
      whyNot: true,
    } satisfies KeysOf<api.FailedJob>).toSorted(),
  );
  answers("/api/queues/:queue/stats", 200, {
    name: true,
    waiting: true,
    active: true,
    completed: true,
    failed: true,
    delayed: true,
    prioritized: true,
    paused: true,
  } satisfies KeysOf<api.QueueStats>);
  const { senders } = (routeAt("/api/senders").responses[200]!.schema as z.ZodObject).shape;
  expect(fieldsOf((senders as z.ZodArray<z.ZodObject>).element)).toEqual(
    Object.keys({
      provider: true,
      sender: true,
      perSecond: true,
      minPerSecond: true,
      maxPerSecond: true,
      heldUntil: true,
      lastRefusal: true,
      placed: true,
      waitSeconds: true,
    } satisfies KeysOf<api.Sender>).toSorted(),
  );
  const endpoint: KeysOf<api.WebhookEndpoint> = {
    endpointId: true,
    accountId: true,
    url: true,
    description: true,
    events: true,
    enabled: true,
    disabledBecause: true,
    oldSecretUntil: true,
    lastDeliveredAt: true,
    failures: true,
    createdAt: true,
  };
  const endpoints = "/api/webhook-endpoints";
  takes(endpoints, {
    accountId: true,
    url: true,
    description: true,
    events: true,
  } satisfies KeysOf<api.NewWebhookEndpoint>);
  answers(endpoints, 201, { ...endpoint, secret: true } satisfies KeysOf<api.WebhookEndpointWithSecret>);
  answers(`${endpoints}/:endpointId/rotate`, 200, { ...endpoint, secret: true });
  answers(`${endpoints}/:endpointId/deliveries`, 200, { deliveries: true, nextCursor: true });
  answers(`${endpoints}/:endpointId/test`, 202, {
    deliveryId: true,
    endpointId: true,
    eventId: true,
    type: true,
    state: true,
    attempts: true,
    nextAttemptAt: true,
    createdAt: true,
    endedAt: true,
    log: true,
  } satisfies KeysOf<api.WebhookDelivery>);
  answers("/health", 200, { status: true, version: true, uptimeSeconds: true } satisfies KeysOf<api.Health>);
  answers("/ready", 200, { ready: true, checks: true } satisfies KeysOf<api.Readiness>);
});

test("the client imports nothing, so that it runs wherever there is a fetch", () => {
  const read = (name: string) =>
    stripTypeScriptTypes(readFileSync(new URL(`../../src/${name}`, import.meta.url), "utf8"));
  const source = read("client.ts");
  expect(source).toContain("export function createClient");
  expect([...source.matchAll(/ from "([^"]+)"/g)].map(([, name]) => name)).toEqual([
    "./client/calls.ts",
    "./client/live.ts",
    "./client/calls.ts",
  ]);
  expect([...read("client/live.ts").matchAll(/ from "([^"]+)"/g)].map(([, name]) => name)).toEqual(["./calls.ts"]);
  for (const name of ["client/calls.ts", "client/shapes.ts"]) {
    expect(read(name)).not.toMatch(/^(import|export \*|export \{)|\b(require|import)\(/m);
  }
});
