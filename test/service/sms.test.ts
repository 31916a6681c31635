import type { JobType } from "bullmq";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type FakeTwilio, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { huntId, messageOf, messagesOf, phone, run, settles } from "../helpers/hunts.ts";
import { twilioEnvironment } from "../helpers/process.ts";
import { contact, openWorld, type TestService, type World } from "../helpers/service.ts";
import { PUBLIC_URL, startTwilio, startVonage } from "../helpers/sms-vendors.ts";

let world: World;
let twilio: FakeTwilio;
let service: TestService;
let last = 0;

beforeAll(async () => {
  world = await openWorld();
  twilio = await startFakeTwilio();
  service = await world.start({ ...twilioEnvironment(twilio), SMS_MAX_SEGMENTS: "2" });
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
});

const preview = (message: unknown, of = service) => of.post("/api/phone/sms/preview", { message });
const send = (message: string, of = service) =>
  of.post("/api/phone/sms", { recipientPhone: phone((last += 1)), message });

describe("preview", () => {
  test.each([
    ["Bonjour", { encoding: "GSM-7", segments: 1, characters: 7, perSegment: 160, allowed: true }],
    ["l’annonce", { encoding: "UCS-2", segments: 1, characters: 9, perSegment: 70, allowed: true }],
    ["a".repeat(161), { encoding: "GSM-7", segments: 2, characters: 161, perSegment: 153, allowed: true }],
    ["€".repeat(154), { encoding: "GSM-7", segments: 3, characters: 308, perSegment: 153, allowed: false }],
    ["🚲".repeat(68), { encoding: "UCS-2", segments: 3, characters: 136, perSegment: 67, allowed: false }],
  ])("%s → %o", async (message, count) => {
    expect(await preview(message)).toMatchObject({ status: 200, body: { text: message, maxSegments: 2, ...count } });
  });

  test("nothing is sent, and nothing is kept", async () => {
    await preview("Un aperçu");
    expect(twilio.accepted.some(({ body }) => body.startsWith("Un aperçu"))).toBe(false);
    expect((await world.sql.query("select 1 from messages where content ->> 'text' = 'Un aperçu'")).rowCount).toBe(0);
  });

  test.each([
    ["", "empty"],
    [" ", "empty"],
    ["a".repeat(1601), "1600"],
    [42, "text"],
    ["a\0", "NUL"],
  ])("%j → 400", async (message, words) => {
    const { status, body } = await preview(message);
    expect(status).toBe(400);
    expect(body.errors).toMatchObject([{ pointer: "/message", detail: expect.stringContaining(words) }]);
  });
});

describe("segments", () => {
  test("of a message → stored, and shown with it", async () => {
    const { body } = await send("ê".repeat(71));
    expect(await settles(service, body.messageId, "sent")).toMatchObject({ segments: 2, price: null, currency: null });
    const { rows } = await world.sql.query("select segments, provider_segments from messages where id = $1", [
      body.messageId,
    ]);
    expect(rows).toEqual([{ segments: 2, provider_segments: null }]);
  });

  test("more than are allowed → 400 that says how many, and nothing is sent", async () => {
    const before = twilio.accepted.length;
    const { status, body } = await send("a".repeat(307));
    expect(status).toBe(400);
    expect(body.errors).toEqual([
      { pointer: "/message", detail: "The message takes 3 segments of GSM-7; at most 2 are allowed." },
    ]);
    expect(twilio.accepted).toHaveLength(before);
  });

  test("more than are allowed, for one contact of a hunt → the hunt is refused, naming the contact", async () => {
    const accountId = await world.account();
    const contacts = [contact({ recipientPhone: phone(5001) }), contact({ message: "ê".repeat(135) })];
    const { status, body } = await service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts });
    expect(status).toBe(400);
    expect(body.errors).toEqual([
      { pointer: "/contacts/1/message", detail: "The message takes 3 segments of UCS-2; at most 2 are allowed." },
    ]);
  });

  test("of a hunt's messages → shown with each", async () => {
    const accountId = await world.account();
    const contacts = [
      contact({ recipientPhone: phone(5002) }),
      contact({ recipientPhone: phone(5003), message: "é".repeat(200) }),
    ];
    const { huntId: id } = await run(service, { accountId, contacts });
    expect((await messagesOf(service, id)).map(({ segments }) => segments)).toEqual([1, 2]);
  });

  test("another count in Twilio's answer → taken over", async () => {
    const to = phone(5004);
    twilio.script(to, { kind: "accept", segments: 2 });
    const { body } = await service.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour" });
    await expect.poll(async () => (await messageOf(service, body.messageId)).segments).toBe(2);
    expect((await messageOf(service, body.messageId)).status).toBe("sent");
  });

  test("of other channels → none", async () => {
    const { body } = await service.post("/api/whatsapp/text", { recipientPhone: phone(5005), message: "Bonjour" });
    expect((await settles(service, body.messageId, "delivered")).segments).toBeNull();
  });
});

describe("what Vonage charges", () => {
  test("in its receipt → price, currency and segments of the message", async () => {
    await using other = await openWorld();
    await using vendor = await startVonage();
    const vonage = await other.start(vendor.environment);
    vendor.reach(vonage);
    const to = phone(5006);
    const { body } = await vonage.post("/api/phone/sms", { recipientPhone: to, message: "é".repeat(200) });
    await settles(vonage, body.messageId, "sent");
    await vendor.report(to, "sent");
    await expect.poll(async () => (await messageOf(vonage, body.messageId)).price).toBe(0.0666);
    expect(await messageOf(vonage, body.messageId)).toMatchObject({ status: "sent", segments: 2, currency: "EUR" });
  });
});

describe("what Twilio charges", () => {
  const charge = async (vendor: FakeTwilio, of: TestService, where: World, to: string) => {
    const { body } = await of.post("/api/phone/sms", { recipientPhone: to, message: "Bonjour" });
    await settles(of, body.messageId, "sent");
    const message = vendor.acceptedFor(to).at(-1)!;
    expect((await vendor.report(message, "delivered")).status).toBe(204);
    await settles(of, body.messageId, "delivered");
    const find = async () => (await where.queue("inbound").getDelayed()).filter(({ name }) => name === "charge");
    await expect.poll(async () => (await find()).length).toBe(1);
    return { messageId: body.messageId as string, message, job: (await find())[0]! };
  };
  const asked = (vendor: FakeTwilio, sid: string): number =>
    vendor.requests.filter(({ method, path }) => method === "GET" && path.endsWith(`/${sid}.json`)).length;

  test.each([{ SMS_PROVIDER: "twilio" }, { SMS_PROVIDER: "", SMS_PROVIDERS: "twilio,sandbox" }])(
    "%o: asked for later, again while it is not known, and taken over",
    async (environment) => {
      await using other = await openWorld();
      await using vendor = await startFakeTwilio();
      const charged = await other.start({ ...twilioEnvironment(vendor), PUBLIC_URL, ...environment });
      vendor.via = (url) => url.replace(PUBLIC_URL, charged.url);
      const { messageId, message, job } = await charge(vendor, charged, other, phone(5008));
      // Nobody is asked while the webhook is answered.
      expect(asked(vendor, message.sid)).toBe(0);
      // Twice reported: still one question.
      await vendor.report(message, "delivered");
      const jobs = async (...states: JobType[]) =>
        (await other.queue("inbound").getJobs(states)).map(({ name }) => name);
      await expect.poll(() => jobs("wait", "active")).toEqual([]);
      expect(await jobs("delayed", "prioritized")).toEqual(["charge"]);
      await job.promote();
      await expect.poll(() => asked(vendor, message.sid)).toBe(1);
      await expect.poll(() => job.getState()).toBe("delayed");
      expect((await messageOf(charged, messageId)).price).toBeNull();
      message.price = "-0.07980";
      await job.promote();
      await expect.poll(async () => (await messageOf(charged, messageId)).price).toBe(0.0798);
      expect(await messageOf(charged, messageId)).toMatchObject({ status: "delivered", currency: "USD", segments: 1 });
      expect(asked(vendor, message.sid)).toBe(2);
      await expect.poll(() => job.getState()).toBe("unknown");
    },
  );
});

describe("SMS_TRANSLITERATE", () => {
  test("true → sent, counted and previewed in GSM-7", async () => {
    await using other = await openWorld();
    const plain = await other.start({ ...twilioEnvironment(twilio), SMS_TRANSLITERATE: "true" });
    const given = "L’été à la forêt : « prêt »… ça va, n°4 ?";
    const sent = 'L\'été à la foret : " pret "... ca va, no4 ?';
    expect((await preview(given, plain)).body).toMatchObject({ text: sent, encoding: "GSM-7", segments: 1 });
    const { body } = await send(given.repeat(2), plain);
    expect(await settles(plain, body.messageId, "sent")).toMatchObject({ segments: 1 });
    expect(twilio.accepted.at(-1)?.body).toBe(sent.repeat(2));
  });

  test("by default → the text is sent as it was given", async () => {
    const { body } = await send("L’été");
    await settles(service, body.messageId, "sent");
    expect(twilio.accepted.at(-1)?.body).toBe("L’été");
  });

  test("an emoji beside it → nothing is replaced, as it would stay UCS-2", async () => {
    await using other = await openWorld();
    const plain = await other.start({ SMS_TRANSLITERATE: "true" });
    expect((await preview("L’été 🚲", plain)).body).toMatchObject({ text: "L’été 🚲", encoding: "UCS-2" });
  });

  test.each([
    ["SMS_TRANSLITERATE", "perhaps"],
    ["SMS_MAX_SEGMENTS", "0"],
    ["SMS_MAX_SEGMENTS", "many"],
  ])("%s=%s → the environment is refused", async (name, value) => {
    await expect(world.start({ [name]: value })).rejects.toThrow(name);
  });
});

test("with PUBLIC_URL → Twilio is told where to report on which attempt", async () => {
  await using other = await openWorld();
  await using vendor = await startTwilio();
  const told = await other.start(vendor.environment);
  vendor.reach(told);
  const { body } = await told.post("/api/phone/sms", { recipientPhone: phone(5007), message: "Bonjour" });
  await settles(told, body.messageId, "sent");
  const { rows } = await other.sql.query("select attempt_id from messages where id = $1", [body.messageId]);
  const answer = await vendor.report(phone(5007), "delivered");
  expect(answer.url).toBe(
    `${told.url}/webhooks/twilio/status?message=${body.messageId}&attempt=${rows[0].attempt_id as string}`,
  );
});
