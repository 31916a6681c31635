import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient } from "../../src/client.ts";
import { type FakeTwilio, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { FakeVonage, startFakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
import { settled, twice, until } from "../helpers/ledger.ts";
import { twilioEnvironment } from "../helpers/process.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const TOO_MANY = { kind: "error", status: 429, code: 20429 } as const;

let world: World;
let twilio: FakeTwilio;
/** Two processes. */
let service: TestService;
let other: TestService;
let last = 0;
let sender: string;

beforeAll(async () => {
  world = await openWorld();
  twilio = await startFakeTwilio();
  const environment = {
    ...twilioEnvironment(twilio),
    SMS_RATE_MAX: "40",
    SMS_RATE_STEP: "5",
    // With more, a message that were held up in a worker would not be noticed.
    WORKER_CONCURRENCY: "4",
  };
  service = await world.start(environment);
  other = await world.start(environment);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await twilio[Symbol.asyncDispose]();
});
beforeEach(() => {
  sender = newSender();
  twilio.otherwise({ kind: "accept" });
});

const newSender = (): string => `+3398765${String((last += 1)).padStart(4, "0")}`;
async function send(of: TestService = service, senderPhone = sender, recipientPhone = phone((last += 1))) {
  const { status, body } = await of.post("/api/phone/sms", { recipientPhone, senderPhone, message: "Bonjour" });
  expect(status).toBe(202);
  return body.messageId as string;
}
const sendMany = (count: number): Promise<string[]> =>
  Promise.all(Array.from({ length: count }, (_, i) => send(i % 2 ? other : service)));
const rateOf = async (name = sender) => {
  const { body } = await other.get("/api/senders");
  return body.senders.find((each: { sender: string }) => each.sender === name);
};
/** How often the vendor was called for this sender. */
const asked = (name = sender): number => twilio.requests.filter(({ form }) => form["From"] === name).length;
/** What it cost in the ledger and in the queue. */
async function triesOf(id: string) {
  const job = await world.queue("sms").getJob(id);
  return { attempts: (await messageOf(service, id)).attempts, tries: job?.attemptsMade, starts: job?.attemptsStarted };
}

describe("a backlog of one sender", () => {
  test("over two processes: each goes once, no faster than the rate, and comes back about once", async () => {
    const ids = await sendMany(60);
    for (const id of ids) await settles(service, id, "sent");
    const mine = twilio.accepted.filter(({ from }) => from === sender);
    expect(mine).toHaveLength(60);
    expect(twice(mine)).toEqual([]);
    // 60 at 40 a second, with what its slack allows; how long it took besides is nobody's promise.
    expect(mine.at(-1)!.dateCreated.getTime() - mine[0]!.dateCreated.getTime()).toBeGreaterThan(1_000);
    const costs = await Promise.all(ids.map(triesOf));
    expect(costs.every(({ attempts, tries }) => attempts === 1 && tries === 1)).toBe(true);
    const starts = costs.reduce((sum, cost) => sum + (cost.starts ?? 0), 0);
    expect(starts).toBeLessThan(60 * 3);
  });

  test("of many hunts of one account: another account's small hunt goes before most of it", async () => {
    const [big, small] = [await world.account(), await world.account()];
    const hunt = async (accountId: string, huntId: string, count: number): Promise<string[]> => {
      const to = Array.from({ length: count }, () => phone((last += 1)));
      const contacts = to.map((recipientPhone, i) => ({
        adId: `ad_${i}`,
        recipientPhone,
        senderPhone: sender,
        channel: "sms",
        message: "Bonjour",
      }));
      expect((await service.post("/api/hunt/execute", { huntId, accountId, contacts })).status).toBe(202);
      return to;
    };
    const ids = Array.from({ length: 30 }, (_, i) => `${big}_${i}`);
    await Promise.all(ids.map((id) => hunt(big, id, 10)));
    await until(
      async () => asked(),
      (n) => n >= 20,
    );

    const before = asked();
    const few = await hunt(small, `${small}_few`, 5);
    const mine = await until(
      async () => twilio.accepted.filter(({ from }) => from === sender),
      (all) => few.every((number) => all.some(({ to }) => to === number)),
    );
    const passed = Math.max(...few.map((number) => mine.findIndex(({ to }) => to === number))) - before;
    // A second and a half of 40 a second waits for the sender, then every other one is the small hunt's.
    expect(passed).toBeLessThan(150);
    await Promise.all(ids.map((id) => service.post(`/api/hunt/${id}/cancel`, undefined)));
  });

  test("does not hold up another sender, nor the workers", async () => {
    // Held for an hour, whatever it has to send.
    twilio.next({ ...TOO_MANY, headers: { "retry-after": "3600" } });
    const held = [await send()];
    await until(rateOf, (rate) => typeof rate?.heldUntil === "string");
    held.push(...(await sendMany(30)));
    const free = newSender();
    const ids = await Promise.all(Array.from({ length: 8 }, () => send(other, free)));
    for (const id of ids) await settles(service, id, "sent");
    expect(asked()).toBe(1);
    expect(await rateOf(free)).toMatchObject({ perSecond: 40, heldUntil: null, lastRefusal: null });
    const waiting = await Promise.all(held.map((id) => messageOf(service, id)));
    expect(new Set(waiting.map(({ status }) => status))).toEqual(new Set(["queued"]));
  });
});

describe("a vendor that refuses", () => {
  test("many at the same instant → slower once, nobody fails, nobody gets it twice, and it recovers by itself", async () => {
    twilio.next(...Array.from({ length: 6 }, () => ({ ...TOO_MANY, headers: { "retry-after": "0" } })));
    const ids = await sendMany(10);
    for (const id of ids) await settles(service, id, "sent");
    expect(asked()).toBe(16);
    expect(twice(twilio.accepted)).toEqual([]);
    // How many of them went out before the first answer depends on the moment; 40 would be at half by one cut.
    const rate = await rateOf();
    expect(rate).toMatchObject({ provider: "twilio", minPerSecond: 0.2, maxPerSecond: 40, heldUntil: null });
    expect(rate.lastRefusal).toEqual({ code: "twilio_20429", at: expect.any(String) });
    expect(rate.perSecond).toBeLessThan(40);
    for (const id of ids) expect(await triesOf(id)).toMatchObject({ tries: 1 });

    const before = (await rateOf()).perSecond;
    await settles(service, await send(), "sent");
    expect((await rateOf()).perSecond).toBeGreaterThan(before);
  });

  test("however often → the message waits for its sender's time, and is sent", async () => {
    await world.queue("sms").pause();
    const id = await send();
    await world.sql.query("update messages set attempts = 60 where id = $1", [id]);
    twilio.next({ ...TOO_MANY, headers: { "retry-after": "0" } });
    await world.queue("sms").resume();
    expect(await settles(service, id, "sent")).toMatchObject({ attempts: 62 });
    expect(twilio.accepted.filter(({ from }) => from === sender)).toHaveLength(1);
    expect(await triesOf(id)).toMatchObject({ tries: 1 });
  });

  test("a message that waits for its sender's time → says so, and ends when it has expired, without a call", async () => {
    twilio.next({ ...TOO_MANY, headers: { "retry-after": "3600" } });
    const first = await send();
    await until(rateOf, (rate) => typeof rate?.heldUntil === "string");
    const id = await send();
    const delayed = () => world.queue("sms").getJobState(id);
    await until(delayed, (state) => state === "delayed");
    const job = (await world.queue("sms").getJob(id))!;
    await job.promote();
    await expect.poll(async () => (await messageOf(service, id)).detail).toBe("Its sender has others to send first.");
    await until(delayed, (state) => state === "delayed");
    await world.sql.query("update messages set expires_at = now() where id = $1", [id]);
    await job.promote();
    expect(await settles(service, id, "skipped")).toMatchObject({ reason: "expired" });
    expect(asked()).toBe(1);
    expect((await messageOf(service, first)).status).toBe("queued");
  });

  test("one recipient only → its sender is not held, nor slowed", async () => {
    const to = phone((last += 1));
    twilio.script(to, { kind: "error", status: 400, code: 21408 });
    const id = await send(service, sender, to);
    await until(
      async () => twilio.posted(to),
      (count) => count === 1,
    );
    await settles(service, await send(), "sent");
    expect(await rateOf()).toMatchObject({ perSecond: 40, heldUntil: null, lastRefusal: null });
    expect((await messageOf(service, id)).status).toBe("queued");
  });

  test("the metrics tell of it without numbers, the API with them, and the client reads it", async () => {
    twilio.next({ ...TOO_MANY, headers: { "retry-after": "3600" } });
    await send();
    await until(rateOf, (rate) => typeof rate?.heldUntil === "string");
    const { body: page } = await service.get("/metrics");
    const { body: otherPage } = await other.get("/metrics");
    const value = (text: string, name: string) =>
      Number(new RegExp(`^auto_prospect_${name}\\{provider="twilio"\\} (.*)$`, "m").exec(text)?.[1] ?? 0);
    expect(value(page, "rate_limited_total") + value(otherPage, "rate_limited_total")).toBeGreaterThan(0);
    expect(value(page, "senders_held")).toBeGreaterThan(0);
    expect(value(page, "sender_rate")).toBeLessThanOrEqual(20);
    expect(page).not.toContain(sender.slice(1));
    const client = createClient({ baseUrl: service.url, apiSecret: SECRET });
    const answer = await client.senders();
    expect(answer.ok && answer.value.senders.find((each) => each.sender === sender)).toMatchObject({
      provider: "twilio",
      perSecond: 20,
      lastRefusal: { code: "twilio_20429" },
    });
  });
});

test("a sender that is held for long, with another provider in line → that one has its messages meanwhile", async () => {
  await using vonage = await startFakeVonage();
  await using second = await openWorld();
  const both = await second.start({
    ...twilioEnvironment(twilio),
    SMS_PROVIDER: "",
    SMS_PROVIDERS: "twilio,vonage",
    VONAGE_API_KEY: FakeVonage.API_KEY,
    VONAGE_API_SECRET: FakeVonage.API_SECRET,
    VONAGE_FROM: "+33987650000",
    VONAGE_API_BASE_URL: vonage.url,
  });
  twilio.next({ ...TOO_MANY, headers: { "retry-after": "600" } });
  await settles(both, await send(both), "sent");
  for (let i = 0; i < 3; i += 1) await send(both);
  expect(await settled(second, 4)).toEqual({ sent: 4 });
  expect(asked()).toBe(1);
  expect(vonage.accepted).toHaveLength(4);
  const { body } = await both.get("/api/senders");
  expect(body.senders).toMatchObject([
    { provider: "twilio", placed: 0 },
    { provider: "vonage", heldUntil: null },
  ]);
});

test("a provider without a limit → asks Redis for nothing, and is not among the senders", async () => {
  await using second = await openWorld();
  const sandboxed = await second.start();
  await settles(sandboxed, await send(sandboxed), "delivered");
  expect((await sandboxed.get("/api/senders")).body).toEqual({ senders: [] });
  expect(await second.redis.keys(`${second.prefix}:throttle*`)).toEqual([]);
});

test.each([{ SMS_RATE_MIN: "5", SMS_RATE_MAX: "2" }, { SMS_RATE_CUT: "1" }])(
  "%j → the environment is refused",
  async (environment) => {
    const [name] = Object.keys(environment) as [string];
    await expect(world.start({ ...twilioEnvironment(twilio), SMS_RATE_MAX: "", ...environment })).rejects.toThrow(name);
  },
);
