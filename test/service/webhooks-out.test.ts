import { Webhook } from "standardwebhooks";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createClient, type Client, type Result } from "../../src/client.ts";
import { LOOPBACK } from "../fakes/twilio-voice/file-server.ts";
import { finished, phone, settles, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import { keepPrivate } from "../helpers/output.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import { openReceiver, type Received, type Receiver } from "../helpers/webhook-receiver.ts";

let world: World;
let service: TestService;
let client: Client;
let receiver: Receiver;

beforeAll(async () => {
  world = await openWorld();
  receiver = await openReceiver();
  const environment = {
    WEBHOOK_BACKOFF_MS: "20",
    WEBHOOK_TIMEOUT_MS: "1000",
    WEBHOOK_ENCRYPTION_KEY: Buffer.from(Array.from({ length: 32 }, (_, i) => (i * 37 + 11) % 251)).toString("base64"),
  };
  service = await world.start(environment, { fetchPolicy: LOOPBACK });
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
  let first: string | undefined;
  receiver.answer(async ({ path: to, body, id }) => {
    if (to !== path || body.type !== "message.sent") return { status: 204 };
    first ??= id;
    if (id !== first) return { status: 204 };
    const tries = receiver.at(path).filter((each) => each.id === id).length;
    if (tries === 1)
      return { status: 500, text: "no, call +33 6 12 34 56 78 with token sk_live_0123456789abcdef01234567" };
    await late.promise;
    return { status: tries < 3 ? 503 : 200 };
  });
  const held = await text(accountId, phone(20));
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
  expect(new Set(all.filter(({ id }) => id === first).map(({ raw }) => raw)).size).toBe(1);

  const { deliveries } = valueOf(await client.webhookDeliveries(endpointId, { limit: 100 }));
  const delivery = deliveries.find(({ eventId }) => eventId === first);
  expect(delivery).toMatchObject({ state: "delivered", attempts: 3, nextAttemptAt: null });
  expect(delivery?.log.map(({ status, answer }) => [status, answer])).toEqual([
    [500, "no, call [number] with token [secret]"],
    [503, null],
    [200, null],
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
  await client.testWebhookEndpoint(endpointId);
  const [, after] = await receiver.until(path, (all) => all.length === 2);
  expect([first, second].map((secret) => isSigned(after!, secret))).toEqual([false, true]);

  const { secret: third } = valueOf(await client.rotateWebhookSecret(endpointId, { overlapHours: 0 }));
  keepPrivate("secret", third);
  await client.testWebhookEndpoint(endpointId);
  const [, , leaked] = await receiver.until(path, (all) => all.length === 3);
  expect([first, second, third].map((secret) => isSigned(leaked!, secret))).toEqual([false, false, true]);
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
  expect(valueOf(await client.replayWebhookDelivery(endpointId, deliveryId))).toMatchObject({
    state: "pending",
    attempts: 0,
  });
  const again = await client.replayWebhookDelivery(endpointId, deliveryId);
  expect(again).toMatchObject({ ok: false, error: { code: "delivery_pending" } });
  answers.resolve();
  const all = await receiver.until(path, (seen) => seen.length === 2);
  expect(all.map(({ id }) => id)).toEqual([eventId, eventId]);
  expect(all[1]?.raw).toBe(all[0]?.raw);
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
