import type { IncomingMessage, ServerResponse } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import type * as api from "../../src/client.ts";
import { createClient, type Client } from "../../src/client.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { answer, errorOf, serve, valueOf } from "../helpers/client.ts";

let world: World;
let service: TestService;
let client: Client;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  client = createClient({ baseUrl: service.url, apiSecret: SECRET });
});
afterAll(() => world[Symbol.asyncDispose]());

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
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

test("a recurrence is made, paused, resumed, changed, listed and deleted", async () => {
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
  const weekly = { name: "Tuesdays", cron: "0 9 * * 2", count: null };
  expect(valueOf(await client.changeRecurrence(accountId, recurrenceId, weekly))).toMatchObject({
    ...weekly,
    contacts: 1,
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
  const streamed = await client.previewHuntStream({ huntId: "previewed", accountId, templateId }, () => contacts);
  expect(valueOf(streamed)).toMatchObject({ send: 1, samples: preview.samples });
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
  const recorded = createClient({ baseUrl: url, apiSecret: SECRET, retries: 0 });
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
