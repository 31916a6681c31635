import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { createClient, type AccountSettings, type Client, type Result } from "../../src/client.ts";
import type { Clock } from "../../src/core/clock.ts";
import { finished, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import { scriptedProvider, type ScriptedProvider } from "../helpers/scripted.ts";
import { WEBHOOKS } from "../helpers/sms-vendors.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

let offset = 0;
const clock: Clock = { now: () => Date.now() + offset, monotonic: () => performance.now() };
const putClock = (iso: string): void => void (offset = Date.parse(iso) - Date.now());

let world: World;
let service: TestService;
let client: Client;
let provider: ScriptedProvider;
let last = 0;

const NOTICE = "Répondez STOP pour vous désabonner.";

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider();
  const providers = { sms: provider, ringless_voice: provider, whatsapp_text: provider };
  service = await world.start({ SMS_MAX_SEGMENTS: "2" }, { clock, providers });
  client = createClient({ baseUrl: service.url, apiSecret: SECRET, retries: 0 });
});
afterAll(() => world[Symbol.asyncDispose]());
// A Monday in Paris, in the hours of every channel.
beforeEach(() => putClock("2026-11-23T11:00:00+01:00"));

const nextPhone = (): string => phone((last += 1));

function valueOf<T>(result: Result<T>): T {
  if (!result.ok) throw result.error;
  return result.value;
}
const errorOf = (result: Result<unknown>) => (result.ok ? undefined : result.error);

async function account(settings: AccountSettings = {}): Promise<string> {
  const id = `acc_${randomUUID()}`;
  valueOf(await client.putAccount(id, settings));
  return id;
}
const textTo = (to: string): unknown => provider.calls.find((call) => call.to === to)?.content;

describe("an account's settings", () => {
  test("put → as given, at their defaults where nothing is; put again → replaced; read → the same", async () => {
    const id = `acc/${randomUUID()}`;
    const given = { defaultCountry: "BE", policy: { base: "marketing-eu", perDay: 2 } as const, consentDeclared: true };
    const made = valueOf(await client.putAccount(id, given));
    expect(made).toEqual({
      accountId: id,
      status: "active",
      ...given,
      limits: null,
      resendUnknown: false,
      createdAt: expect.stringMatching(/Z$/),
      credits: [],
    });
    expect(valueOf(await client.account(id))).toEqual(made);
    const replaced = valueOf(await client.putAccount(id, { resendUnknown: true }));
    expect(replaced).toEqual({
      ...made,
      defaultCountry: "FR",
      policy: null,
      consentDeclared: false,
      resendUnknown: true,
    });
  });

  test("changed → what is absent stays, null is a value; changed in nothing → as it was", async () => {
    const id = await account({ policy: "marketing-fr", consentDeclared: true, resendUnknown: true });
    const settings = { status: "suspended", defaultCountry: "FR", consentDeclared: true, resendUnknown: true };
    expect(valueOf(await client.changeAccount(id, { status: "suspended" }))).toMatchObject({
      ...settings,
      policy: "marketing-fr",
    });
    expect(valueOf(await client.changeAccount(id, { policy: null }))).toMatchObject({ ...settings, policy: null });
    expect(valueOf(await client.changeAccount(id, {}))).toMatchObject({ ...settings, policy: null });
  });

  test("a limit's sender → kept as messages have theirs, by the country that the account is in then", async () => {
    const limits = ["0470 12 34 56", "+33 6 98 76 54 32", "*", "Agence"].map((sender) => ({ sender, perDay: 1 }));
    const kept = ["+32470123456", "+33698765432", "*", "Agence"].map((sender) => ({ sender, perDay: 1 }));
    const id = await account({ defaultCountry: "BE", limits });
    expect(valueOf(await client.account(id))).toMatchObject({ limits: kept });
    for (const change of [{ defaultCountry: "FR" }, { limits: [] }, { defaultCountry: "BE", limits }, { limits }])
      valueOf(await client.changeAccount(id, change));
    expect(valueOf(await client.account(id))).toMatchObject({ limits: kept });
  });

  test("a limit's sender that the account's country does not have → is refused in words, since no message would have it", async () => {
    const french = [{ perDay: 9 }, { sender: "06 12 34 56 78", perDay: 1 }];
    const id = await account({ defaultCountry: "GB", limits: [{ sender: "36111", perDay: 1 }] });
    const detail = "is no number of GB; write it with + and its country code";
    for (const answer of [
      await client.changeAccount(id, { limits: french }),
      await client.putAccount(id, { defaultCountry: "GB", limits: french }),
    ])
      expect(errorOf(answer)).toMatchObject({ status: 400, errors: [{ pointer: "/limits/1/sender", detail }] });
    expect(valueOf(await client.account(id))).toMatchObject({ limits: [{ sender: "36111", perDay: 1 }] });
    const given = await client.changeAccount(id, { defaultCountry: "FR", limits: french });
    expect(valueOf(given)).toMatchObject({ limits: [{}, { sender: "+33612345678" }] });
  });

  test("an account that there is not → 404, and it is not made", async () => {
    const id = `acc_${randomUUID()}`;
    for (const answer of [
      await client.account(id),
      await client.changeAccount(id, { status: "active" }),
      await client.changeAccount(id, {}),
      await client.addCredits(id, { channel: "sms", amount: 1 }),
    ]) {
      expect(errorOf(answer)).toMatchObject({ status: 404, code: "not_found" });
    }
    expect(errorOf(await client.account(id))?.code).toBe("not_found");
  });

  test("faults → all at once with their places, and nothing is changed", async () => {
    const id = await account({ policy: "none" });
    const wrong = {
      status: "gone",
      defaultCountry: "XX",
      consentDeclared: "yes",
      policy: {
        base: "marketing",
        hours: { sms: [{ days: [0], from: "08:60", to: "20:00" }], fax: "any" },
        perDay: -1,
        stopNotice: "x".repeat(161),
        per_day: 1,
      },
      credits: [],
    } as unknown as AccountSettings;
    for (const answer of [await client.changeAccount(id, wrong), await client.putAccount(id, wrong)]) {
      const error = errorOf(answer);
      expect(error).toMatchObject({ status: 400, code: "invalid_request" });
      expect(error?.errors?.map(({ pointer }) => pointer).toSorted()).toEqual([
        "/consentDeclared",
        "/credits",
        "/defaultCountry",
        "/policy/base",
        "/policy/hours/fax",
        "/policy/hours/sms/0/days/0",
        "/policy/hours/sms/0/from",
        "/policy/perDay",
        "/policy/per_day",
        "/policy/stopNotice",
        "/status",
      ]);
    }
    const name = errorOf(await client.changeAccount(id, { policy: "marketing" as never }));
    expect(name?.errors).toEqual([
      { pointer: "/policy", detail: expect.stringContaining("country, marketing-fr, marketing-eu") },
    ]);
    expect(valueOf(await client.account(id))).toMatchObject({ status: "active", policy: "none" });
  });

  test("a policy put for what waits → counts within five seconds", async () => {
    putClock("2026-11-23T23:00:00+01:00");
    const [id, to] = [await account({ policy: "marketing-fr", consentDeclared: true }), nextPhone()];
    const { jobId, huntId } = await submit(service, { accountId: id, contacts: [contact({ recipientPhone: to })] });
    await expect.poll(async () => (await messagesOf(service, huntId))[0]?.detail).toContain("Waits until");
    valueOf(await client.changeAccount(id, { policy: "none" }));
    // Its job sleeps until the morning.
    putClock("2026-11-24T07:59:59+01:00");
    await world
      .queue("sms")
      .getJob((await messagesOf(service, huntId))[0].messageId)
      .then((job) => job?.promote());
    await finished(service, jobId);
    expect((await messagesOf(service, huntId))[0].status).toBe("sent");
  });
});

describe("credits", () => {
  test("added → metered from then on; the same key again → once; with another body → 409", async () => {
    const id = await account();
    const twice = { idempotencyKey: randomUUID() };
    const first = valueOf(await client.addCredits(id, { channel: "sms", amount: 2 }, twice));
    expect(first).toEqual({ channel: "sms", balance: 2, reserved: 0, spent: 0 });
    expect(valueOf(await client.addCredits(id, { channel: "sms", amount: 2 }, twice))).toEqual(first);
    expect(errorOf(await client.addCredits(id, { channel: "sms", amount: 3 }, twice))?.code).toBe(
      "idempotency_conflict",
    );
    valueOf(await client.addCredits(id, { channel: "ringless_voice", amount: 0 }));

    const contacts = Array.from({ length: 3 }, () => contact({ recipientPhone: nextPhone() }));
    const { huntId } = await run(service, { accountId: id, contacts });
    expect((await messagesOf(service, huntId)).map(({ status, reason }) => reason ?? status)).toEqual([
      "sent",
      "sent",
      "no_credit",
    ]);
    expect(valueOf(await client.account(id)).credits).toEqual([
      { channel: "ringless_voice", balance: 0, reserved: 0, spent: 0 },
      { channel: "sms", balance: 0, reserved: 0, spent: 2 },
    ]);
  });

  test("many at once with one key → added once; with keys of their own → all of them", async () => {
    const id = await account();
    const add = (idempotencyKey?: string) => client.addCredits(id, { channel: "sms", amount: 5 }, { idempotencyKey });
    const key = randomUUID();
    const same = await Promise.all(Array.from({ length: 8 }, () => add(key)));
    expect(new Set(same.map((answer) => valueOf(answer).balance))).toEqual(new Set([5]));
    await Promise.all(Array.from({ length: 8 }, () => add()));
    expect(valueOf(await client.account(id)).credits).toMatchObject([{ balance: 45 }]);
  });

  test("a channel that there is not, no whole number, or more than a balance can hold → 400", async () => {
    const id = await account();
    const wrong = await client.addCredits(id, { channel: "fax" as never, amount: 1.5 });
    expect(errorOf(wrong)?.errors?.map(({ pointer }) => pointer)).toEqual(["/channel", "/amount"]);
    await world.credits(id, "sms", Number.MAX_SAFE_INTEGER);
    expect(errorOf(await client.addCredits(id, { channel: "sms", amount: 1 }))?.errors).toMatchObject([
      { pointer: "/amount" },
    ]);
  });
});

describe("how to stop, in a marketing SMS", () => {
  const preview = async (body: object, from = service) =>
    (await from.post("/api/phone/sms/preview", { category: "marketing", ...body })).body;

  test("a hunt under the French policy → the same text in preview, ledger and at the vendor, and its segments", async () => {
    const [accountId, to] = [await account({ policy: "marketing-fr", consentDeclared: true }), nextPhone()];
    const message = `${"a".repeat(130)} : la suite`;
    const text = `${message}\n${NOTICE}`;
    expect(await preview({ accountId, message })).toMatchObject({
      text,
      stopNotice: NOTICE,
      segments: 2,
      allowed: true,
    });
    const contacts = [
      contact({ recipientPhone: to, message }),
      contact({ recipientPhone: nextPhone(), message: "STOP au 36111" }),
    ];
    const { huntId } = await run(service, { accountId, contacts });
    const [first, second] = await messagesOf(service, huntId);
    expect([first.segments, second.segments]).toEqual([2, 1]);
    expect(textTo(to)).toEqual({ text, segments: 2 });
    const { rows } = await world.sql.query("select content from messages where hunt_id = $1 order by seq", [huntId]);
    expect(rows).toEqual([{ content: { text, segments: 2 } }, { content: { text: "STOP au 36111", segments: 1 } }]);
  });

  test("a single message → only when it is marketing; other channels never", async () => {
    const accountId = await account({ policy: "marketing-fr", consentDeclared: true });
    const send = async (path: string, fields: object) => {
      const to = nextPhone();
      const { body } = await service.post(path, { recipientPhone: to, accountId, message: "Bonjour", ...fields });
      await settles(service, body.messageId, "sent");
      return textTo(to);
    };
    const category = "marketing";
    expect(await send("/api/phone/sms", { category })).toMatchObject({ text: `Bonjour\n${NOTICE}` });
    expect(await send("/api/phone/sms", {})).toMatchObject({ text: "Bonjour" });
    expect(await send("/api/whatsapp/text", { category })).toEqual({ text: "Bonjour" });
  });

  test("the account's own words, or none → as it says, wherever it writes to", async () => {
    const own = await account({ policy: { base: "marketing-fr", stopNotice: "STOP au 36111" } });
    expect(await preview({ accountId: own, message: "Bonjour" })).toMatchObject({ text: "Bonjour\nSTOP au 36111" });
    expect(await preview({ accountId: own, message: "Bonjour", recipientPhone: "+4915112345678" })).toMatchObject({
      stopNotice: "STOP au 36111",
    });
    expect(errorOf(await client.changeAccount(own, { policy: { stopNotice: " \n " } }))?.errors).toEqual([
      { pointer: "/policy/stopNotice", detail: expect.stringContaining("must say something") },
    ]);
    valueOf(await client.changeAccount(own, { policy: { base: "marketing-fr", stopNotice: " STOP 36180 " } }));
    expect(await preview({ accountId: own, message: "Bonjour" })).toMatchObject({ text: "Bonjour\nSTOP 36180" });
    const none = await account({ policy: { base: "marketing-fr", stopNotice: false } });
    expect(await preview({ accountId: none, message: "Bonjour" })).toMatchObject({ text: "Bonjour", stopNotice: null });
  });

  test("the recipient's country decides, by its number, else by the account's", async () => {
    const accountId = await account({ policy: "country", defaultCountry: "DE" });
    const words = async (fields: object) => (await preview({ accountId, message: "Hallo", ...fields })).stopNotice;
    expect(await words({})).toBe("Reply STOP to opt out.");
    expect(await words({ recipientPhone: "+33612345678" })).toBe(NOTICE);
    expect(await words({ recipientPhone: "+14155550199" })).toBeNull();
    expect(await words({ category: undefined })).toBeNull();
  });

  test("a sender that is a name → words that name a number, else it is refused in words: nobody could stop it", async () => {
    const asked = await account({ policy: "marketing-fr", consentDeclared: true });
    const own = await account({ policy: { base: "marketing-fr", stopNotice: "STOP au 36111" } });
    const words = async (accountId: string | undefined, fields: object, from = service) => {
      const { allowed, detail, stopNotice } = await preview({ accountId, message: "Bonjour", ...fields }, from);
      expect(detail === null).toBe(allowed);
      return stopNotice ?? detail;
    };
    const refused = expect.stringContaining("no way to stop");
    await using elsewhere = await openWorld();
    const sendingFrom = (environment: Record<string, string>) =>
      elsewhere.start({ ...WEBHOOKS, DEFAULT_POLICY: "marketing-fr", SMS_PROVIDER: "", ...environment }, { clock });
    expect(await words(asked, { senderPhone: "MaMarque" })).toEqual(refused);
    expect(await words(own, { senderPhone: "MaMarque" })).toBe("STOP au 36111");
    const twilio = await sendingFrom({ SMS_PROVIDER: "twilio", TWILIO_FROM: "MaMarque" });
    expect(await words(undefined, {}, twilio)).toEqual(refused);
    // Which the operator is told at the start.
    const closedTo = ({ logs }: TestService) =>
      logs.find(({ msg }) => String(msg).includes("no short code"))?.["countries"];
    expect(closedTo(twilio)).toEqual(["FR", "US", "other"]);
    expect(closedTo(service)).toBeUndefined();
    expect(await words(undefined, { senderPhone: "+33987650000" }, twilio)).toBe(NOTICE);
    // It is not known yet which of them will carry it.
    const several = { SMS_PROVIDERS: "twilio,vonage", VONAGE_FROM: "MaMarque" };
    expect(await words(undefined, {}, await sendingFrom(several))).toEqual(refused);
    const number = await sendingFrom({ ...several, SMS_STOP_NOTICE: "STOP au 36180" });
    expect(await words(undefined, {}, number)).toBe("STOP au 36180");
    expect(closedTo(number)).toBeUndefined();
    const ofPolicies = await sendingFrom({
      ...several,
      DEFAULT_POLICY: "country",
      SMS_STOP_NOTICE: "STOP; FR=STOP au 36180",
    });
    expect(closedTo(ofPolicies)).toEqual(["other"]);
    expect(await words(undefined, {}, await sendingFrom({ ...several, VONAGE_FROM: "+33987650000" }))).toBe(NOTICE);

    const one = { recipientPhone: nextPhone(), senderPhone: "MaMarque", message: "Bonjour" };
    const single = { ...one, accountId: asked, category: "marketing" };
    expect(await service.post("/api/phone/sms", single)).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/message", detail: refused }] },
    });
    const { huntId } = await run(service, { accountId: asked, contacts: [contact(one)] });
    expect(await messagesOf(service, huntId)).toMatchObject([{ reason: "invalid_content", detail: refused }]);
    expect(textTo(one.recipientPhone)).toBeUndefined();
  });

  test("too many segments with it → not allowed: 400 for a single message, and a hunt's contact is skipped in words", async () => {
    const accountId = await account({ policy: "marketing-fr", consentDeclared: true });
    const message = "a".repeat(300);
    expect(await preview({ accountId, message })).toMatchObject({ segments: 3, maxSegments: 2, allowed: false });
    const { status, body } = await service.post("/api/phone/sms", {
      recipientPhone: nextPhone(),
      accountId,
      message,
      category: "marketing",
    });
    expect(status).toBe(400);
    expect(body.errors).toEqual([{ pointer: "/message", detail: expect.stringContaining("how to stop further ones") }]);
    const contacts = [contact({ recipientPhone: nextPhone(), message })];
    const { huntId } = await run(service, { accountId, contacts });
    expect(await messagesOf(service, huntId)).toMatchObject([
      {
        status: "skipped",
        reason: "invalid_content",
        detail: expect.stringContaining("takes 3 segments"),
        attempts: 0,
      },
    ]);
  });

  test("other words from now on → what waits keeps those that it was planned and counted with", async () => {
    const [accountId, to] = [await account({ policy: "marketing-fr", consentDeclared: true }), nextPhone()];
    await world.queue("sms").pause();
    const { jobId, huntId } = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
    await expect.poll(async () => (await messagesOf(service, huntId)).length).toBe(1);
    valueOf(await client.changeAccount(accountId, { policy: { base: "marketing-fr", stopNotice: "STOP au 36111" } }));
    await world.queue("sms").resume();
    await finished(service, jobId);
    expect(textTo(to)).toMatchObject({ text: `Bonjour\n${NOTICE}` });
  });

  test("an unknown account or a bad number in a preview → refused", async () => {
    expect(await preview({ accountId: "nobody", message: "Bonjour" })).toMatchObject({ code: "unknown_account" });
    expect(await preview({ recipientPhone: "12", message: "Bonjour" })).toMatchObject({
      errors: [{ pointer: "/recipientPhone" }],
    });
  });
});

describe("a contact with several channels", () => {
  const consent = { whatsapp: true, sms: false, voice: true };

  test("no consent for the first → the next whose rules allow it has it; none does → the first says why", async () => {
    const accountId = await account({ policy: { consent } });
    const text = (channels: string[], fields: object = {}) =>
      contact({ recipientPhone: nextPhone(), channel: undefined, channels, ...fields });
    const contacts = [
      text(["whatsapp_text", "sms"], { senderPhone: "+33987650000" }),
      text(["whatsapp_text", "ringless_voice", "sms"]),
      text(["whatsapp_text", "sms"], { consent: true }),
      text(["whatsapp_text", "ringless_voice"]),
    ];
    const { huntId } = await run(service, { accountId, contacts });
    const messages = await messagesOf(service, huntId);
    expect(messages.map(({ channel, status, reason }) => [channel, reason ?? status])).toEqual([
      ["sms", "sent"],
      ["sms", "sent"],
      ["whatsapp_text", "sent"],
      ["whatsapp_text", "no_consent"],
    ]);
    // The first channel's sender is none of the next.
    expect(messages[0].senderPhone).toBeNull();
  });

  test("consent declared while a plan job comes again → nobody gets a second message", async () => {
    const [accountId, to] = [await account({ policy: { consent } }), nextPhone()];
    const { jobId, huntId } = await submit(service, {
      accountId,
      contacts: [contact({ recipientPhone: to, channel: undefined, channels: ["whatsapp_text", "sms"] })],
    });
    await finished(service, jobId);
    valueOf(await client.changeAccount(accountId, { consentDeclared: true }));
    // As after a crash between the chunk and the end of its submission.
    const contacts = JSON.stringify([{ adId: "x", recipientPhone: to, channel: "whatsapp_text", message: "Bonjour" }]);
    await world.sql.query("update hunt_chunks set contacts = $2 where job_id = $1", [jobId, contacts]);
    const job = await world.queue("hunt").add("plan", { jobId, huntId, no: 0 });
    await expect.poll(() => job.getState()).toBe("completed");
    expect((await messagesOf(service, huntId)).map(({ channel }) => channel)).toEqual(["sms"]);
    expect(provider.callsTo(to)).toBe(1);
  });
});

test("SMS_STOP_NOTICE that cannot be read → the environment is refused, saying why", async () => {
  await expect(world.start({ SMS_STOP_NOTICE: "a;b" })).rejects.toThrow("SMS_STOP_NOTICE: is not valid: has two texts");
});
