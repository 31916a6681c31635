import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, huntId, messageOf, messagesOf, phone, settles, submit } from "../helpers/hunts.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";

const ROUTES = [
  { path: "/api/whatsapp/text", queue: "whatsapp", channel: "whatsapp_text", field: "message", max: 4096 },
  { path: "/api/phone/sms", queue: "sms", channel: "sms", field: "message", max: 1600 },
  { path: "/api/phone/ringless-voice", queue: "voice", channel: "ringless_voice", field: "text", max: 3000 },
];

let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  // What the longest text takes in emoji.
  service = await world.start({ SMS_MAX_SEGMENTS: "25" });
});
afterAll(() => world[Symbol.asyncDispose]());

const pointersOf = (body: { errors: { pointer: string }[] }) => body.errors.map(({ pointer }) => pointer);

async function messageCount(): Promise<number> {
  return (await world.sql.query("select count(*)::int as n from messages")).rows[0].n;
}

describe.each(ROUTES)("POST $path", ({ path, queue, channel, field, max }) => {
  const body = (fields: Record<string, unknown> = {}) => ({ recipientPhone: phone(1), [field]: "Bonjour", ...fields });

  test("a good body → 202 with the job, the message at Location, delivered in the end", async () => {
    const answer = await service.post(path, body({ senderPhone: "09 87 65 43 21" }));
    const { messageId } = answer.body;
    expect(answer).toMatchObject({
      status: 202,
      body: { jobId: messageId, queue, messageId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    });
    expect(Object.keys(answer.body).toSorted()).toEqual(["jobId", "messageId", "queue"]);
    expect(answer.headers.get("location")).toBe(`/api/messages/${messageId}`);
    await settles(service, messageId, "delivered");
    expect(await service.get(answer.headers.get("location") as string)).toMatchObject({
      status: 200,
      body: {
        messageId,
        channel,
        accountId: null,
        huntId: null,
        adId: null,
        recipientPhone: phone(1),
        senderPhone: "+33987654321",
        attempts: 1,
      },
    });
  });

  test("a message on its way → queued while it waits, then sent with a time", async () => {
    await world.queue(queue).pause();
    const { messageId } = (await service.post(path, body({ recipientPhone: "+33612340005" }))).body;
    expect(await messageOf(service, messageId)).toMatchObject({ status: "queued", sentAt: null, provider: null });
    await world.queue(queue).resume();
    const failed = await settles(service, messageId, "failed");
    expect(failed).toMatchObject({ code: "undelivered", sentAt: expect.any(String), deliveredAt: null });
  });

  test("an account → its country, its suppressions; an unknown one → 422, a suspended one → 403", async () => {
    const accountId = await world.account({ default_country: "GB" });
    const national = (await service.post(path, body({ accountId, recipientPhone: "07400 123456" }))).body;
    expect(await messageOf(service, national.messageId)).toMatchObject({ accountId, recipientPhone: "+447400123456" });
    await world.sql.query("insert into suppressions (account_id, phone) values ($1, $2)", [accountId, phone(2)]);
    const suppressed = await service.post(path, body({ accountId, recipientPhone: phone(2) }));
    expect(suppressed.status).toBe(202);
    expect(await settles(service, suppressed.body.messageId, "skipped")).toMatchObject({
      reason: "suppressed",
      code: null,
      attempts: 0,
    });
    expect(await service.post(path, body({ accountId: "nobody" }))).toMatchObject({
      status: 422,
      body: { code: "unknown_account" },
    });
    const suspended = await world.account({ status: "suspended" });
    expect(await service.post(path, body({ accountId: suspended }))).toMatchObject({
      status: 403,
      body: { code: "suspended_account" },
    });
  });

  test("a number that everybody must not contact → skipped without an account, too", async () => {
    await world.sql.query("insert into suppressions (phone) values ($1) on conflict do nothing", [phone(3)]);
    const { messageId } = (await service.post(path, body({ recipientPhone: phone(3) }))).body;
    expect(await settles(service, messageId, "skipped")).toMatchObject({ reason: "suppressed", accountId: null });
  });

  test("the same Idempotency-Key → the same answer, one message; another body → 409", async () => {
    const headers = { "Idempotency-Key": randomUUID() };
    const before = await messageCount();
    const answers = await Promise.all(Array.from({ length: 10 }, () => service.post(path, body(), headers)));
    expect(new Set(answers.map(({ status, body: { messageId } }) => `${status} ${messageId}`)).size).toBe(1);
    expect(await messageCount()).toBe(before + 1);
    const other = await service.post(path, body({ recipientPhone: phone(4) }), headers);
    expect(other).toMatchObject({ status: 409, body: { code: "idempotency_conflict" } });
    await settles(service, answers[0]?.body.messageId, "delivered");
  });

  test.each([
    ["no number", { recipientPhone: undefined }, ["/recipientPhone"]],
    ["a number of the wrong type", { recipientPhone: 33612345678 }, ["/recipientPhone"]],
    ["a number with letters", { recipientPhone: "call me" }, ["/recipientPhone"]],
    ["a number that is too long", { recipientPhone: "+336123456789012" }, ["/recipientPhone"]],
    ["an endless number", { recipientPhone: "1".repeat(10_000) }, ["/recipientPhone"]],
    ["a number with a NUL", { recipientPhone: "+3361\0" }, ["/recipientPhone"]],
    ["an empty content", { [field]: "" }, [`/${field}`]],
    ["a blank content", { [field]: " \n\t" }, [`/${field}`]],
    ["a content that is too long", { [field]: "x".repeat(max + 1) }, [`/${field}`]],
    ["a content of 10,000 characters", { [field]: "x".repeat(10_000) }, [`/${field}`]],
    ["a content of the wrong type", { [field]: ["Bonjour"] }, [`/${field}`]],
    ["a content with a NUL", { [field]: "a\0b" }, [`/${field}`]],
    ["a content with half of a surrogate pair", { [field]: "a\ud83d" }, [`/${field}`]],
    ["an account with a NUL", { accountId: "a\0b" }, ["/accountId"]],
    ["an account with half of a surrogate pair", { accountId: "a\ud83d" }, ["/accountId"]],
    ["an account with an endless id", { accountId: "a".repeat(10_000) }, ["/accountId"]],
    ["a sender with a NUL", { senderPhone: "a\0b" }, ["/senderPhone"]],
    ["a sender with half of a surrogate pair", { senderPhone: "a\ud83d" }, ["/senderPhone"]],
    ["an empty sender", { senderPhone: "" }, ["/senderPhone"]],
    ["two faults", { recipientPhone: undefined, [field]: "" }, ["/recipientPhone", `/${field}`]],
  ])("%s → 400 by its pointer, nothing in the ledger", async (_, fields, pointers) => {
    const before = await messageCount();
    const answer = await service.post(path, body(fields));
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(pointersOf(answer.body).toSorted()).toEqual(pointers.toSorted());
    expect(await messageCount()).toBe(before);
  });

  test("a content of the greatest length, of emoji and right-to-left text → is delivered as it is", async () => {
    const text = "🏠שלום".repeat(max).slice(0, max).toWellFormed();
    const { messageId } = (await service.post(path, body({ [field]: text }))).body;
    await settles(service, messageId, "delivered");
    const { rows } = await world.sql.query("select content from messages where id = $1", [messageId]);
    expect(rows[0].content).toMatchObject({ text });
  });
});

describe("ringless voice: text or audioUrl, exactly one", () => {
  const send = (fields: object) => service.post("/api/phone/ringless-voice", { recipientPhone: phone(5), ...fields });

  test("a recording → 202, delivered", async () => {
    const answer = await send({ audioUrl: "https://cdn.example/voice.mp3" });
    expect(answer.status).toBe(202);
    await settles(service, answer.body.messageId, "delivered");
  });

  test.each([
    ["neither", {}],
    ["both", { text: "Bonjour", audioUrl: "https://cdn.example/voice.mp3" }],
  ])("%s → 400", async (_, fields) => {
    const answer = await send(fields);
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(answer.body.errors).toHaveLength(1);
  });

  test.each([
    "ftp://a.example/b.mp3",
    "javascript:alert(1)",
    "voice.mp3",
    "",
    `https://a.example/${"x".repeat(3000)}`,
    "file:///etc/passwd",
  ])("the recording %s → 400 at /audioUrl", async (audioUrl) => {
    const answer = await send({ audioUrl });
    expect(answer.status).toBe(400);
    expect(pointersOf(answer.body)).toEqual(["/audioUrl"]);
  });
});

describe("production without credentials", () => {
  test("a channel without credentials → 503 on its route, skipped in a hunt, and said at start", async () => {
    await using production = await openWorld();
    const live = await production.start({
      NODE_ENV: "production",
      WHATSAPP_PROVIDER: "sandbox",
      DEFAULT_POLICY: "none",
    });
    for (const { path, field, channel } of ROUTES.filter(({ queue }) => queue !== "whatsapp")) {
      const answer = await live.post(path, { recipientPhone: phone(6), [field]: "Bonjour" });
      expect(answer).toMatchObject({
        status: 503,
        body: { code: "channel_off", detail: expect.stringContaining(channel) },
      });
      expect(answer.headers.get("content-type")).toContain("application/problem+json");
      expect(
        live.logs.filter(({ msg, channel: name }) => name === channel && String(msg).startsWith("channel off")),
      ).toHaveLength(1);
    }
    const accountId = await production.account();
    await production.credits(accountId, "sms", 5);
    const contacts = ROUTES.map(({ channel }) => contact({ adId: channel, channel, recipientPhone: phone(7) }));
    const { jobId, huntId: hunt } = await submit(live, { huntId: huntId(), accountId, contacts });
    await finished(live, jobId);
    await expect
      .poll(async () =>
        Object.fromEntries((await messagesOf(live, hunt)).map(({ adId, status, reason }) => [adId, reason ?? status])),
      )
      .toEqual({ sms: "channel_off", ringless_voice: "channel_off", whatsapp_text: "delivered" });
    const { rows } = await production.sql.query("select balance::int, reserved::int from credits");
    expect(rows).toEqual([{ balance: 5, reserved: 0 }]);
  });

  test("a message whose channel went off while it waited → failed with a code, not lost", async () => {
    await using shared = await openWorld();
    const before = await shared.start();
    await shared.queue("sms").pause();
    const { messageId } = (await before.post("/api/phone/sms", { recipientPhone: phone(8), message: "Bonjour" })).body;
    await before.stop();
    const after = await shared.start({ NODE_ENV: "production" });
    await shared.queue("sms").resume();
    expect(await settles(after, messageId, "failed")).toMatchObject({ code: "channel_off", attempts: 0 });
  });

  test("a short secret in production → the service does not start", async () => {
    await expect(world.start({ NODE_ENV: "production", API_SECRET: "short" })).rejects.toThrow(/API_SECRET.*16/);
  });
});
