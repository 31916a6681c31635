import { randomBytes } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createClient, type Client, type Result } from "../../src/client.ts";
import { systemClock } from "../../src/core/clock.ts";
import { checkSecrets } from "../../src/doctor/secrets.ts";
import { EVENTS } from "../../src/events/data.ts";
import { sealAnew } from "../../src/events/sealing.ts";
import { createSecrets } from "../../src/events/secrets.ts";
import { EVENTS_ENV, eventsConfig } from "../../src/events/settings.ts";
import { EVENT_TYPES } from "../../src/events/types.ts";
import type { OpenApiDocument } from "../../src/routes/openapi-document.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import { finished, phone, settles, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import { keepPrivate } from "../helpers/output.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { openReceiver, type Received, type Receiver } from "../helpers/webhook-receiver.ts";

const key = (step: number): string =>
  Buffer.from(Array.from({ length: 32 }, (_, i) => (i * step + 11) % 251)).toString("base64");
/** The service's: the first seals. */
const [KEY, OLDER] = [key(37), key(53)];
/** By so much the service's clock is ahead, milliseconds. */
let aheadMs = 0;

let world: World;
let service: TestService;
let client: Client;
let receiver: Receiver;

beforeAll(async () => {
  world = await openWorld();
  receiver = await openReceiver();
  const environment = {
    WEBHOOK_ALLOW_LOOPBACK: "true",
    WEBHOOK_BACKOFF_MS: "20",
    WEBHOOK_TIMEOUT_MS: "1000",
    WEBHOOK_ENCRYPTION_KEY: `${KEY},${OLDER}`,
  };
  const clock = { ...systemClock, monotonic: () => systemClock.monotonic() + aheadMs };
  service = await world.start(environment, { clock });
  client = createClient({ baseUrl: service.url, apiSecret: SECRET });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await receiver[Symbol.asyncDispose]();
});

function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw result.error;
  return result.value;
}

/** An endpoint of an account of its own, at a path of its own. */
async function endpoint(path: string, events: string[] | null = null) {
  const accountId = await world.account();
  const made = valueOf(await client.createWebhookEndpoint({ accountId, url: receiver.url + path, events }));
  keepPrivate("secret", made.secret);
  return { ...made, accountId, path };
}

const text = async (accountId: string, recipientPhone = phone(1)): Promise<string> =>
  (await service.post("/api/phone/sms", { accountId, recipientPhone, message: "Bonjour à vous" })).body.messageId;

const opened = <T extends { close(): Promise<void> }>(of: T) => ({ of, [Symbol.asyncDispose]: () => of.close() });

const typesOf = (received: Received[]): string[] => received.map(({ body }) => body.type);
const isSigned = ({ raw, headers }: Received, secret: string): boolean => {
  try {
    return new Webhook(secret).verify(raw, headers) !== undefined;
  } catch {
    return false;
  }
};

test("a hunt → each change comes once, signed, in order for each message, with neither texts, numbers nor secrets", async () => {
  const { accountId, path, secret, endpointId } = await endpoint("/hunt");
  expect(secret).toMatch(/^whsec_/);
  const contacts = [
    contact({ adId: "ad_ok", recipientPhone: phone(10) }),
    contact({ adId: "ad_refused", recipientPhone: "+33612340001" }),
    contact({ adId: "ad_no_number", recipientPhone: "12" }),
  ];
  const { huntId, jobId } = await submit(service, { accountId, contacts });
  await finished(service, jobId);
  const received = await receiver.until(
    path,
    (all) => typesOf(all).includes("hunt.completed") && typesOf(all).includes("message.delivered"),
  );

  const of = (adId: string): string[] => typesOf(received.filter(({ body }) => body.data["adId"] === adId));
  expect(of("ad_ok")).toEqual(["message.sent", "message.delivered"]);
  expect(of("ad_refused")).toEqual(["message.failed"]);
  expect(of("ad_no_number")).toEqual(["message.skipped"]);
  // Progress keeps no order.
  expect(typesOf(received).find((type) => /^hunt\.(?!progress)/.test(type))).toBe("hunt.started");
  const completed = received.find(({ body }) => body.type === "hunt.completed")!.body;
  expect(completed.data).toMatchObject({ huntId, accountId, planning: false, counts: { failed: 1, skipped: 1 } });
  expect(new Set(received.map(({ id }) => id)).size).toBe(received.length);
  for (const each of received) {
    expect(isSigned(each, secret)).toBe(true);
    expect(each.body).toMatchObject({ id: each.id, timestamp: expect.stringMatching(/Z$/), data: { accountId } });
    expect(each.raw).not.toMatch(/\+33|Bonjour|whsec_/);
    expect(each.raw).not.toContain(SECRET);
  }
  expect(isSigned({ ...received[0]!, raw: `${received[0]!.raw} ` }, secret)).toBe(false);

  const { rows } = await world.sql.query("select secret from webhook_endpoints where id = $1", [endpointId]);
  expect(rows[0].secret).not.toContain("whsec_");
  const shown = await service.get(`/api/webhook-endpoints?accountId=${accountId}`);
  expect(JSON.stringify(shown.body)).not.toMatch(/whsec_|secret"/);
  expect(shown.body.endpoints).toMatchObject([{ endpointId, failures: 0, lastDeliveredAt: expect.any(String) }]);
  expect((await service.get("/metrics")).body).toContain('auto_prospect_delivery_seconds_count{result="delivered"}');
  expect((await service.get("/api/queues/webhooks/stats")).status).toBe(200);
  const lines = service.logs.filter(({ msg }) => msg === "webhook delivered");
  expect(new Set(lines.map(({ room }) => room))).toEqual(new Set(["events"]));
});

test("an endpoint that answers 500 → is tried again under the same id; later events of that message wait, others do not", async () => {
  const { accountId, path, endpointId } = await endpoint("/failing");
  const late = Promise.withResolvers<void>();
  const failing = Promise.withResolvers<string>();
  receiver.answer(async ({ path: to, body, id }) => {
    if (to !== path || body.type !== "message.sent") return { status: 204 };
    // Of two messages either may be told of first.
    if (body.data["messageId"] !== (await failing.promise)) return { status: 204 };
    const tries = receiver.at(path).filter((each) => each.id === id).length;
    if (tries === 1)
      return { status: 500, text: "no, call +33 6 12 34 56 78 with token sk_live_0123456789abcdef01234567" };
    await late.promise;
    return tries < 3 ? { status: 503 } : { status: 200, text: `${"x ".repeat(99)}x🛑` };
  });
  const held = await text(accountId, phone(20));
  failing.resolve(held);
  await settles(service, held, "delivered");
  const other = await text(accountId, phone(21));
  await receiver.until(path, (all) =>
    all.some(({ body }) => body.data["messageId"] === other && body.type === "message.delivered"),
  );
  expect(typesOf(receiver.at(path).filter(({ body }) => body.data["messageId"] === held))).not.toContain(
    "message.delivered",
  );
  late.resolve();
  const all = await receiver.until(path, (seen) =>
    seen.some(({ body }) => body.data["messageId"] === held && body.type === "message.delivered"),
  );
  expect(
    all.filter(({ body }) => body.data["messageId"] === held).map(({ body, status }) => [body.type, status]),
  ).toEqual([
    ["message.sent", 500],
    ["message.sent", 503],
    ["message.sent", 200],
    ["message.delivered", 204],
  ]);
  const first = all.find(({ body }) => body.data["messageId"] === held)?.id;
  expect(new Set(all.filter(({ id }) => id === first).map(({ raw }) => raw)).size).toBe(1);

  const { deliveries } = valueOf(await client.webhookDeliveries(endpointId, { limit: 100 }));
  const delivery = deliveries.find(({ eventId }) => eventId === first);
  expect(delivery).toMatchObject({ state: "delivered", attempts: 3, nextAttemptAt: null });
  expect(delivery?.log.map(({ status, answer }) => [status, answer])).toEqual([
    [500, "no, call [number] with token [secret]"],
    [503, null],
    [200, `${"x ".repeat(99)}x`],
  ]);
});

test("an endpoint that answers 410 → is turned off, and gets nothing more until it is on again", async () => {
  const { accountId, path, endpointId } = await endpoint("/gone", ["message.sent"]);
  receiver.answer(({ path: to }) => ({ status: to === path ? 410 : 204 }));
  await settles(service, await text(accountId), "delivered");
  const off = await until(
    async () => valueOf(await client.webhookEndpoint(endpointId)),
    ({ enabled }) => !enabled,
  );
  expect(off.disabledBecause).toBe("gone");
  expect(await client.testWebhookEndpoint(endpointId)).toMatchObject({ ok: false, error: { code: "endpoint_off" } });

  await settles(service, await text(accountId), "delivered");
  receiver.answer(() => ({ status: 204 }));
  const on = valueOf(await client.changeWebhookEndpoint(endpointId, { enabled: true }));
  expect(on).toMatchObject({ enabled: true, disabledBecause: null, failures: 0 });
  const third = await text(accountId);
  const all = await receiver.until(path, (seen) => seen.length === 2);
  expect(all.map(({ body, status }) => [body.type, body.data["messageId"] === third, status])).toEqual([
    ["message.sent", false, 410],
    ["message.sent", true, 204],
  ]);
});

test("a rotated secret → both sign until the overlap is over, the old one no more after a leak", async () => {
  const { secret: first, path, endpointId } = await endpoint("/rotated");
  const { secret: second, oldSecretUntil } = valueOf(await client.rotateWebhookSecret(endpointId));
  keepPrivate("secret", second);
  expect(Date.parse(oldSecretUntil ?? "")).toBeGreaterThan(Date.now() + 23 * 3_600_000);
  const tried = valueOf(await client.testWebhookEndpoint(endpointId));
  const [both] = await receiver.until(path, (all) => all.length === 1);
  expect(both?.body).toMatchObject({ id: tried.eventId, type: "webhook.test", data: { endpointId } });
  expect(both?.headers["webhook-signature"]?.split(" ")).toHaveLength(2);
  expect([first, second].map((secret) => isSigned(both!, secret))).toEqual([true, true]);

  // Over: as after the hours of the overlap.
  const past = `update webhook_endpoints set old_secrets = jsonb_set(old_secrets, '{0,until}', '"2020-01-01T00:00:00Z"') where id = $1`;
  await world.sql.query(past, [endpointId]);
  // One, however often it is asked for under one key.
  const tries = [1, 2].map(() => client.testWebhookEndpoint(endpointId, { idempotencyKey: "try" }));
  const [one, same] = (await Promise.all(tries)).map((result) => valueOf(result).deliveryId);
  expect(same).toBe(one);
  const [, after] = await receiver.until(path, (all) => all.length === 2);
  expect([first, second].map((secret) => isSigned(after!, secret))).toEqual([false, true]);

  const { secret: third } = valueOf(await client.rotateWebhookSecret(endpointId, { overlapHours: 0 }));
  keepPrivate("secret", third);
  await client.testWebhookEndpoint(endpointId);
  const [, , leaked] = await receiver.until(path, (all) => all.length === 3);
  expect([first, second, third].map((secret) => isSigned(leaked!, secret))).toEqual([false, false, true]);
});

test("a key that is gone → a failed attempt that says so, one line of log and a fault; with it beside the new one all is sealed anew", async () => {
  const { path, secret, endpointId } = await endpoint("/sealed");
  const former = randomBytes(32).toString("base64");
  const seal = (sql: string, ...values: string[]) => world.sql.query(sql, [endpointId, ...values]);
  const sealedBefore = createSecrets([former]).seal(secret);
  await seal("update webhook_endpoints set secret = $2 where id = $1", sealedBefore);

  const tried = valueOf(await client.testWebhookEndpoint(endpointId));
  const { log, attempts } = await until(
    async () => valueOf(await client.webhookDelivery(endpointId, tried.deliveryId)),
    (delivery) => delivery.log.length > 1,
  );
  expect(attempts).toBe(0);
  expect(valueOf(await client.webhookEndpoint(endpointId))).toMatchObject({ failures: 0, enabled: true });
  expect(log[0]).toMatchObject({
    status: null,
    error: expect.stringMatching(/cannot open the secret.*can be rotated/),
  });
  expect(receiver.at(path)).toEqual([]);
  const errors = service.logs.filter((line) => line["endpointId"] === endpointId && line["level"] === 50);
  expect(errors).toMatchObject([{ code: "unknown_key", reason: expect.stringContaining("add that key") }]);

  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = world.database;
  const found = async (keys: string[]) =>
    (await checkSecrets({ url, serviceKey, timeoutMs: 5000, keys })).map(({ state, says }) => `${state} ${says}`);
  expect(await found([KEY])).toEqual([expect.stringMatching(/^fault of 1 endpoints .* nothing can be delivered/)]);
  const keys = eventsConfig(
    z.object(EVENTS_ENV).parse({ WEBHOOK_ENCRYPTION_KEY: KEY }),
    `${former},${KEY}`,
  ).encryptionKeys;
  expect(keys).toEqual([KEY, former]);
  expect((await found(keys))[1]).toMatch(/^warning of 1 endpoints are not sealed with the first key/);

  await using store = opened(createSupabaseStore({ url, serviceKey, timeoutMs: 5000 }));
  const refused: string[] = [];
  const sealing = (given: string[]) =>
    sealAnew({ events: store.of.events, secrets: createSecrets(given), cannotOpen: (id) => refused.push(id) });
  await sealing([KEY]);
  expect(refused).toEqual([endpointId]);
  await sealing(keys);
  expect(await found([KEY])).toEqual([expect.stringMatching(/^ok /)]);
  const [delivered] = await receiver.until(path, (all) => all.length === 1);
  expect(isSigned(delivered!, secret)).toBe(true);
  // Rotated in the meantime: what was read before is not put back.
  expect(await store.of.events.reseal(endpointId, sealedBefore, sealedBefore)).toBe(false);
});

test("what an older key has sealed → the service seals anew, a minute after its start", async () => {
  const { secret, endpointId } = await endpoint("/older");
  const secrets = createSecrets([KEY]);
  await world.sql.query("update webhook_endpoints set secret = $2 where id = $1", [
    endpointId,
    createSecrets([OLDER]).seal(secret),
  ]);
  const stored = async (): Promise<string> =>
    (
      await world.sql.query<Record<"secret", string>>("select secret from webhook_endpoints where id = $1", [
        endpointId,
      ])
    ).rows[0]!.secret;
  aheadMs += 60_000;
  expect(secrets.open(await until(stored, (sealed) => sealed.startsWith(secrets.mark ?? "")))).toBe(secret);
});

test("a delivery that is replayed → comes again under the same id; one on its way, or of another endpoint, does not", async () => {
  const { path, endpointId } = await endpoint("/replayed");
  const { deliveryId, eventId } = valueOf(await client.testWebhookEndpoint(endpointId));
  await until(
    async () => valueOf(await client.webhookDelivery(endpointId, deliveryId)),
    ({ state }) => state === "delivered",
  );
  const answers = Promise.withResolvers<void>();
  receiver.answer(async () => {
    await answers.promise;
    return { status: 200 };
  });
  const replay = () => client.replayWebhookDelivery(endpointId, deliveryId, { idempotencyKey: "again" });
  expect(valueOf(await replay())).toMatchObject({ state: "pending", attempts: 0 });
  expect(valueOf(await replay()).deliveryId).toBe(deliveryId);
  const again = await client.replayWebhookDelivery(endpointId, deliveryId);
  expect(again).toMatchObject({ ok: false, error: { code: "delivery_pending" } });
  answers.resolve();
  const all = await receiver.until(path, (seen) => seen.length === 2);
  expect(all.map(({ id }) => id)).toEqual([eventId, eventId]);
  expect(all[1]?.raw).toBe(all[0]?.raw);
  await until(
    async () => valueOf(await client.webhookDelivery(endpointId, deliveryId)),
    ({ state }) => state === "delivered",
  );
  // Its answer was lost, and it is asked for again.
  expect(valueOf(await replay())).toMatchObject({ deliveryId, state: "delivered", attempts: 1 });
  const { endpointId: another } = await endpoint("/another");
  expect(await client.replayWebhookDelivery(another, deliveryId)).toMatchObject({
    ok: false,
    error: { code: "not_found" },
  });
  receiver.answer(() => ({ status: 204 }));

  expect(await client.createWebhookEndpoint({ accountId: "acc_nobody", url: receiver.url })).toMatchObject({
    ok: false,
    error: { code: "unknown_account" },
  });
  const taken = valueOf(await client.webhookEndpoint(another));
  expect(await client.createWebhookEndpoint({ accountId: taken.accountId, url: taken.url })).toMatchObject({
    ok: false,
    error: { code: "endpoint_exists" },
  });
  expect(valueOf(await client.deleteWebhookEndpoint(another))).toEqual({ endpointId: another });
  expect(await client.webhookDeliveries(another)).toMatchObject({ ok: false, error: { code: "not_found" } });
});

test("replies, stops and sessions → are told with what they say, and no more once their person was erased", async () => {
  const { accountId, path, endpointId } = await endpoint("/people", ["message.reply", "suppression.*", "session.*"]);
  const person = phone(77);
  const messageId = await text(accountId, person);
  await settles(service, messageId, "delivered");
  const reply = {
    phone: person,
    provider: "sandbox",
    reply_id: "r1",
    text: "STOP",
    at: new Date().toISOString(),
    stop: true,
  };
  await world.sql.query("select record_reply($1)", [JSON.stringify(reply)]);
  const { rows } = await world.sql.query(
    "insert into whatsapp_sessions (account_id, phone, method) values ($1, '+33611111111', 'qr') returning id",
    [accountId],
  );
  await world.sql.query("update whatsapp_sessions set state = 'logged-out' where id = $1", [rows[0].id]);
  await world.sql.query("delete from whatsapp_sessions where id = $1", [rows[0].id]);

  const all = await receiver.until(path, (seen) => seen.length === 5);
  const dataOf = (type: string) => all.find(({ body }) => body.type === type)?.body.data;
  expect(dataOf("message.reply")).toMatchObject({ messageId, accountId, text: "STOP", wish: "stop", phone: person });
  expect(dataOf("message.reply")?.["repliedAt"]).toMatch(/T.*\.\d{3}Z$/);
  expect(dataOf("suppression.added")).toMatchObject({ accountId, source: "reply", phone: person });
  const sessions = all.filter(({ body }) => body.type.startsWith("session."));
  expect(sessions.map(({ body }) => [body.type, body.data["sessionId"]])).toEqual(
    ["session.pairing", "session.logged_out", "session.removed"].map((type) => [type, rows[0].id]),
  );

  expect((await client.erasePerson(person)).ok).toBe(true);
  const { deliveries } = valueOf(await client.webhookDeliveries(endpointId));
  const { deliveryId } = deliveries.find(({ type }) => type === "message.reply")!;
  await client.replayWebhookDelivery(endpointId, deliveryId);
  const again = (await receiver.until(path, (seen) => seen.length === 6)).at(-1);
  expect(again?.body).toMatchObject({ type: "message.reply", data: { messageId, text: null, phone: null } });
});

test("each webhook of these tests → is as the document says of its type, with nothing else in it", async () => {
  const { webhooks } = (await service.get("/openapi.json")).body as OpenApiDocument;
  expect(Object.keys(webhooks)).toEqual([...Object.keys(EVENT_TYPES), "webhook.test"]);
  const told = receiver.all;
  for (const { body } of told) {
    const { data } = EVENTS[body.type]!.shape;
    expect({ body, fault: data.strict().safeParse(body.data).error?.issues }).toEqual({ body, fault: undefined });
    const { schema } = webhooks[body.type]!.post.requestBody!.content["application/json"]!;
    expect(schema.properties!["data"]!.required!.toSorted()).toEqual(Object.keys(body.data).toSorted());
  }
  const groups = new Set(told.map(({ body }) => body.type.split(".")[0]));
  expect([...groups].toSorted()).toEqual(["hunt", "message", "session", "suppression", "webhook"]);
  expect(typesOf(told)).toContain("message.reply");
});
