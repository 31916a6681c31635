import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { smsChannel } from "../../src/channels/sms/sms.channel.ts";
import { CHANNELS } from "../../src/modules.ts";
import { type FakeTwilio, startFakeTwilio } from "../fakes/twilio/fake-twilio.ts";
import { FakeVonage, startFakeVonage } from "../fakes/vonage/fake-vonage.ts";
import { messageOf, phone, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";

let world: World;
let twilio: FakeTwilio;
let vonage: FakeVonage;
let running: TestService | undefined;
let last = 0;
let senders = 0;

beforeAll(async () => void (world = await openWorld()));
afterAll(() => world[Symbol.asyncDispose]());
beforeEach(async () => {
  twilio = await startFakeTwilio();
  vonage = await startFakeVonage();
});
afterEach(async () => {
  await running?.stop();
  running = undefined;
  await twilio[Symbol.asyncDispose]();
  await vonage[Symbol.asyncDispose]();
});

/** A service that sends from a number of its own: what was learnt of providers and senders is forgotten. */
const start = async (environment: Record<string, string> = {}): Promise<TestService> => {
  const from = `+33987651${String((senders += 1)).padStart(3, "0")}`;
  running = await world.start({
    SMS_PROVIDERS: "twilio,vonage",
    PROVIDER_PROBE_MS: "500",
    TWILIO_ACCOUNT_SID: twilio.accountSid,
    TWILIO_AUTH_TOKEN: twilio.authToken,
    TWILIO_FROM: from,
    SMS_RATE_MAX: "1000",
    TWILIO_API_BASE_URL: twilio.url,
    TWILIO_TIMEOUT_MS: "1000",
    VONAGE_API_KEY: FakeVonage.API_KEY,
    VONAGE_API_SECRET: FakeVonage.API_SECRET,
    VONAGE_FROM: from,
    VONAGE_API_BASE_URL: vonage.url,
    VONAGE_TIMEOUT_MS: "1000",
    ...environment,
  });
  return running;
};

async function send(service: TestService, recipientPhone = phone((last += 1))): Promise<string> {
  const { status, body } = await service.post("/api/phone/sms", { recipientPhone, message: "Bonjour" });
  expect(status).toBe(202);
  return body.messageId;
}

/** Sends one, waits until it is sent, and answers by whom. */
async function carrierOf(service: TestService, recipientPhone?: string): Promise<string> {
  return (await settles(service, await send(service, recipientPhone), "sent")).provider;
}

const taken = (): [number, number] => [twilio.accepted.length, vonage.accepted.length];
const stateOf = (service: TestService, msg: string): unknown[] => service.logs.filter((line) => line["msg"] === msg);

describe("the order", () => {
  test("both work → the first has them all", async () => {
    const service = await start();
    for (let i = 0; i < 5; i++) expect(await carrierOf(service)).toBe("twilio");
    expect(taken()).toEqual([5, 0]);
  });

  test("a country's own → for its recipients only", async () => {
    const service = await start({ SMS_PROVIDERS: "twilio,vonage", SMS_PROVIDERS_FR: "vonage" });
    expect(await carrierOf(service, "+33612345678")).toBe("vonage");
    expect(await carrierOf(service, "+447400123456")).toBe("twilio");
    expect(taken()).toEqual([1, 1]);
  });

  test.each([
    [{ SMS_PROVIDERS: "twilio,pigeon" }, "SMS_PROVIDERS: there is no such provider"],
    [{ SMS_PROVIDERS: "twilio,twilio" }, "SMS_PROVIDERS: names a provider twice"],
    [{ SMS_PROVIDERS_FRANCE: "twilio" }, "SMS_PROVIDERS_FRANCE: ends in no country"],
    [{ SMS_PROVIDERS_FR: "pigeon" }, "SMS_PROVIDERS_FR: there is no such provider"],
    [{ SMS_PROVIDERS: "", SMS_PROVIDERS_FR: "twilio" }, "SMS_PROVIDERS_FR: wants SMS_PROVIDERS beside it"],
    [{ SMS_PROVIDER: "twilio" }, "SMS_PROVIDER: is given beside SMS_PROVIDERS"],
    [{ VONAGE_API_KEY: "", VONAGE_API_SECRET: "", VONAGE_FROM: "" }, "names a provider without credentials"],
  ])("%o → the environment is refused", async (environment, words) => {
    await expect(start(environment)).rejects.toThrow(words);
  });
});

describe("a provider that fails", () => {
  test("refuses with proof → the next has the message, at once and once, and the ledger says who", async () => {
    const service = await start();
    twilio.next({ kind: "error", status: 400, code: 30500 });
    const id = await send(service);
    expect(await settles(service, id, "sent")).toMatchObject({
      provider: "vonage",
      providerMessageId: vonage.accepted[0]?.uuid,
      attempts: 2,
    });
    expect(taken()).toEqual([0, 1]);
    const { rows } = await world.sql.query(
      "select kind, attempt_id from message_events where message_id = $1 order by id",
      [id],
    );
    expect(rows.map(({ kind }) => kind)).toEqual(["retry", "sent"]);
    expect(rows[0].attempt_id).not.toBe(rows[1].attempt_id);
  });

  test("has an account that is barred, or may not send there → the next has the message", async () => {
    const service = await start();
    twilio.next({ kind: "error", status: 401, code: 20003 });
    expect(await carrierOf(service)).toBe("vonage");
    twilio.next({ kind: "error", status: 400, code: 21408 });
    expect(await carrierOf(service)).toBe("vonage");
  });

  test("asks to wait for a moment → waits for it", async () => {
    const service = await start();
    twilio.next({ kind: "error", status: 429, code: 20429, headers: { "retry-after": "0" } });
    expect(await carrierOf(service)).toBe("twilio");
    expect(taken()).toEqual([1, 0]);
  });

  test("refuses the recipient for good → failed, and nobody else is asked", async () => {
    const service = await start();
    twilio.next({ kind: "error", status: 400, code: 21211 });
    expect(await settles(service, await send(service), "failed")).toMatchObject({
      provider: "twilio",
      code: "twilio_21211",
    });
    expect(taken()).toEqual([0, 0]);
  });

  test("does not answer, whether it takes it or not, or breaks off → nobody else gets the message", async () => {
    const service = await start();
    // Enough that three which fail do not put it out.
    for (let i = 0; i < 4; i++) expect(await carrierOf(service)).toBe("twilio");
    const answers = [
      { answer: { kind: "hang", accept: true }, accepted: 1 },
      { answer: { kind: "hang" }, accepted: 0 },
      { answer: { kind: "reset", accept: true }, accepted: 1 },
    ] as const;
    const cases = await Promise.all(
      answers.map(async ({ answer, accepted }) => {
        const to = phone((last += 1));
        twilio.script(to, answer);
        return { to, accepted, id: await send(service, to) };
      }),
    );
    for (const { id } of cases) {
      await expect.poll(async () => (await messageOf(service, id)).code).toMatch(/^twilio_(timeout|connection_lost)$/);
      expect(await messageOf(service, id)).toMatchObject({ status: "sending", provider: "twilio", attempts: 1 });
    }
    // While it is not known, others go on.
    expect(await carrierOf(service)).toBe("twilio");
    // Twilio is asked ten seconds later.
    for (const { id, to, accepted } of cases) {
      await expect
        .poll(async () => (await messageOf(service, id)).status, { timeout: 25_000 })
        .toBe(accepted ? "sent" : "unknown");
      expect((await messageOf(service, id)).provider).toBe("twilio");
      expect(twilio.acceptedFor(to)).toHaveLength(accepted);
    }
    expect(taken()).toEqual([5 + 2, 0]);
  });

  test("cannot be reached, with one try a message → the next has them, and none fails", async () => {
    const service = await start({ JOB_ATTEMPTS: "1" });
    await twilio[Symbol.asyncDispose]();
    for (let i = 0; i < 8; i++) expect(await carrierOf(service)).toBe("vonage");
    expect(taken()).toEqual([0, 8]);
  });

  test("fails again and again → taken out, not called, then probed by one message and back", async () => {
    const service = await start({ PROVIDER_PROBE_MS: "2000" });
    twilio.otherwise({ kind: "error", status: 400, code: 30500 });
    for (let i = 0; i < 6; i++) expect(await carrierOf(service)).toBe("vonage");
    expect(stateOf(service, "provider taken out")).toMatchObject([{ provider: "twilio", channel: "sms" }]);
    const states = async (): Promise<string[]> =>
      [
        ...(await service.get("/metrics")).body.matchAll(
          /^auto_prospect_provider_state\{channel="sms",provider="(\w+)",state="(\w+)"\} 1$/gm,
        ),
      ].map(([, provider, state]) => `${provider} ${state}`);
    expect(await states()).toEqual(["twilio out", "vonage in"]);
    const before = twilio.requests.length;
    expect(await carrierOf(service)).toBe("vonage");
    expect(twilio.requests).toHaveLength(before);

    twilio.otherwise({ kind: "accept" });
    await expect.poll(() => carrierOf(service), { timeout: 10_000 }).toBe("twilio");
    expect(stateOf(service, "provider back")).toHaveLength(1);
    expect(await states()).toEqual(["twilio in", "vonage in"]);
    expect(await carrierOf(service)).toBe("twilio");
  });

  test("all of them out → messages wait, none fails, and each is sent once when they are back", async () => {
    const service = await start({ JOB_ATTEMPTS: "20" });
    twilio.otherwise({ kind: "error", status: 400, code: 30500 });
    vonage.otherwise({ kind: "error", status: 422, code: 1100 });
    const ids = await Promise.all(Array.from({ length: 20 }, () => send(service)));
    const out = () =>
      new Set(stateOf(service, "provider taken out").map((line) => (line as { provider: string }).provider));
    await expect.poll(out).toEqual(new Set(["twilio", "vonage"]));
    twilio.otherwise({ kind: "accept" });
    vonage.otherwise({ kind: "accept" });
    await Promise.all(ids.map((id) => settles(service, id, "sent")));
    const recipients = [...twilio.accepted.map(({ to }) => to), ...vonage.accepted.map(({ to }) => `+${to}`)];
    expect(new Set(recipients).size).toBe(20);
    expect(recipients).toHaveLength(20);
  });
});

test("after a crash during a call → whoever had it is asked, whoever would have it now", async () => {
  // What a process leaves behind that dies in the middle of a call.
  const service = await start();
  await world.queue("sms").pause();
  const to = phone((last += 1));
  const id = await send(service, to);
  const attemptId = "3f0c8f0e-6e0f-4a55-8d6e-0d6b1c7f2a10";
  await world.sql.query(
    `update messages set status = 'sending', provider = 'vonage', attempts = 1, attempt_id = $2,
       attempt_started_at = now(), held_until = now() where id = $1`,
    [id, attemptId],
  );
  const answer = await fetch(`${vonage.url}/v1/messages`, {
    method: "POST",
    headers: {
      authorization: `Basic ${Buffer.from(`${FakeVonage.API_KEY}:${FakeVonage.API_SECRET}`).toString("base64")}`,
    },
    body: JSON.stringify({ channel: "sms", to: to.slice(1), from: "1", text: "Bonjour", client_ref: attemptId }),
  });
  const { message_uuid: providerMessageId } = (await answer.json()) as { message_uuid: string };
  await world.queue("sms").resume();
  expect(await settles(service, id, "sent")).toMatchObject({ provider: "vonage", providerMessageId });
  expect(taken()).toEqual([0, 1]);
});

test("a channel of which no provider can stand in for another → has no such variable", () => {
  const several = CHANNELS.filter(({ providers }) => providers.length > 2).map(({ name }) => name);
  expect(several).toContain(smsChannel.name);
  expect(several.filter((name) => name.startsWith("whatsapp"))).toEqual([]);
});
