import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { OpenAttempt } from "../../../../src/channels/provider.ts";
import { reconcile } from "../../../../src/channels/sms/providers/twilio/reconcile.ts";
import { twilioProvider } from "../../../../src/channels/sms/providers/twilio/twilio.provider.ts";
import type { TextContent } from "../../../../src/channels/text.ts";
import { TWILIO_VALUES, twilioAt } from "../../../contract/twilio-under-test.ts";
import { type FakeTwilioMessage, startFakeTwilio } from "../../../fakes/twilio/fake-twilio.ts";

const TO = "+33612348899";
const FROM = TWILIO_VALUES.TWILIO_FROM ?? "";
const SERVICE = `MG${"0f".repeat(16)}`;
const TEXT = "Bonjour, le vélo à 90 € & son casque ?";
const START = Date.UTC(2026, 2, 2, 10);
const signal = new AbortController().signal;

const ATTEMPT: OpenAttempt<TextContent> = {
  attemptId: "m1-a1",
  messageId: "m1",
  accountId: undefined,
  channel: "sms",
  lane: undefined,
  attemptNumber: 1,
  to: TO,
  from: undefined,
  content: { text: TEXT },
  startedAt: START,
};

const viaService = { TWILIO_FROM: undefined, TWILIO_MESSAGING_SERVICE_SID: SERVICE };

describe("what is sent to Twilio", () => {
  test.each([
    ["the configured number", {}, undefined, { From: FROM }],
    ["the messaging service", viaService, undefined, { MessagingServiceSid: SERVICE }],
    ["the message's own sender rather than the configured number", {}, "+33987651111", { From: "+33987651111" }],
    ["the message's own sender rather than the service", viaService, "+33987651111", { From: "+33987651111" }],
  ])("goes out from %s", async (_, values, from, sender) => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url, values);
    const { providerMessageId } = await provider.send({ ...ATTEMPT, from }, signal);
    expect(fake.requests.map(({ form }) => form)).toEqual([{ To: TO, Body: TEXT, ...sender }]);
    expect(fake.accepted[0]?.sid).toBe(providerMessageId);
    await provider.close?.();
  });

  test("a base URL may have a path, as that of a proxy", async () => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(`${fake.url}/twilio/`);
    await provider.send(ATTEMPT, signal).catch(() => {});
    expect(fake.requests[0]?.path).toBe(`/twilio/2010-04-01/Accounts/${fake.accountSid}/Messages.json`);
    await provider.close?.();
  });

  test("a wrong token pauses the sender and is not in the error", async () => {
    await using fake = await startFakeTwilio({ authToken: "another" });
    const provider = await twilioAt(fake.url);
    const error: unknown = await provider.send(ATTEMPT, signal).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "RateLimitedError", scope: "sender", code: "twilio_20003" });
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(TWILIO_VALUES.TWILIO_AUTH_TOKEN);
    await provider.close?.();
  });
});

const search = async (listed: (Partial<FakeTwilioMessage> & { to: string; body: string })[], values = {}) => {
  await using fake = await startFakeTwilio();
  const provider = await twilioAt(fake.url, values);
  const messages = listed.map((message) => fake.add(message));
  const result = await provider.reconcile?.(ATTEMPT);
  await provider.close?.();
  return { result, messages };
};

describe("reconciling with Twilio's list", () => {
  const mine = { to: TO, from: FROM, body: TEXT, dateCreated: new Date(START + 1_000) };

  test("exactly one message that fits is the attempt's", async () => {
    const { result, messages } = await search([mine]);
    expect(result).toEqual({ result: "accepted", providerMessageId: messages[0]?.sid });
  });

  test("a time in whole seconds, just before the attempt's start, still fits", async () => {
    const { result } = await search([{ ...mine, dateCreated: new Date(START - 1_000) }]);
    expect(result).toMatchObject({ result: "accepted" });
  });

  test.each<[string, Partial<FakeTwilioMessage>, object]>([
    ["another text", { body: "Bonsoir" }, {}],
    ["another recipient", { to: "+33612348800" }, {}],
    ["another sender", { from: "+33987651111" }, {}],
    ["the other direction", { direction: "inbound" }, {}],
    ["a time long before the attempt", { dateCreated: new Date(START - 60_000) }, {}],
    ["a time long after the attempt", { dateCreated: new Date(START + 3_600_000) }, {}],
    ["another messaging service", { messagingServiceSid: `MG${"ee".repeat(16)}` }, viaService],
  ])("a message with %s is not the attempt's, and its absence proves nothing", async (_, fields, values) => {
    const { result } = await search([{ ...mine, ...fields }], values);
    expect(result).toEqual({ result: "inconclusive" });
  });

  test("a message of our messaging service fits, whatever number Twilio chose", async () => {
    const { result } = await search([{ ...mine, from: "+33987659999", messagingServiceSid: SERVICE }], viaService);
    expect(result).toMatchObject({ result: "accepted" });
  });

  test("a list that holds another recipient's message, with the same text, does not mislead", () => {
    const listed = { ...mine, to: "+33612348800", sid: "SM1", direction: "outbound-api", messagingServiceSid: null };
    const rest = { attempt: ATTEMPT, timeoutMs: 300, messagingServiceSid: undefined, ownerOf: () => undefined };
    expect(reconcile([listed], rest)).toEqual({ result: "inconclusive" });
  });

  test("two messages that fit are inconclusive", async () => {
    const { result } = await search([mine, mine]);
    expect(result).toEqual({ result: "inconclusive" });
  });

  test("a message that is known to be another attempt's is not counted", async () => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url);
    const startedAt = Date.now();
    await provider.send({ ...ATTEMPT, attemptId: "m2-a1" }, signal);
    expect(await provider.reconcile?.({ ...ATTEMPT, startedAt })).toEqual({ result: "inconclusive" });
    fake.next({ kind: "reset", accept: true });
    await provider.send(ATTEMPT, signal).catch(() => {});
    expect(await provider.reconcile?.({ ...ATTEMPT, startedAt })).toEqual({
      result: "accepted",
      providerMessageId: fake.accepted[1]?.sid,
    });
    await provider.close?.();
  });

  test("a message that is known to be this attempt's is conclusive among several", async () => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url);
    const startedAt = Date.now();
    const result = await provider.send(ATTEMPT, signal);
    fake.add({ ...mine, dateCreated: new Date() });
    expect(await provider.reconcile?.({ ...ATTEMPT, startedAt })).toEqual({ result: "accepted", ...result });
    await provider.close?.();
  });

  test("a Twilio that cannot be asked leaves the attempt unknown: no answer is no proof", async () => {
    const fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url);
    await fake[Symbol.asyncDispose]();
    await expect(provider.reconcile?.(ATTEMPT)).rejects.toMatchObject({
      name: "TransientError",
      delivery: "unknown",
      code: "twilio_unreachable",
    });
    await provider.close?.();
  });

  test("a Twilio that refuses to be asked leaves the attempt unknown", async () => {
    await using fake = await startFakeTwilio({ authToken: "another" });
    const provider = await twilioAt(fake.url);
    await expect(provider.reconcile?.(ATTEMPT)).rejects.toMatchObject({
      name: "TransientError",
      delivery: "unknown",
      code: "twilio_20003",
    });
    await provider.close?.();
  });
});

describe("Twilio's variables", () => {
  const schema = z.object(twilioProvider.env);
  const complete = { TWILIO_ACCOUNT_SID: `AC${"0a".repeat(16)}`, TWILIO_AUTH_TOKEN: "t", TWILIO_FROM: "+33987650000" };
  const configured = (given: Record<string, string>) => twilioProvider.configured(schema.parse(given));
  const pointers = (given: Record<string, string>) => {
    const result = configured(given);
    return Array.isArray(result) ? result.map(({ pointer }) => pointer) : result;
  };

  test.each([
    ["a number", { TWILIO_FROM: "+33987650000" }],
    ["a short code", { TWILIO_FROM: "36111" }],
    ["a name", { TWILIO_FROM: "AutoProsp 1" }],
    ["a service", { TWILIO_FROM: "", TWILIO_MESSAGING_SERVICE_SID: SERVICE }],
  ])("a whole group with %s to send from is present", (_, sender) => {
    expect(configured({ ...complete, ...sender })).toBe("present");
  });

  test("without credentials Twilio is absent, even with a base URL and a time-out", () => {
    expect(configured({})).toBe("absent");
    expect(configured({ TWILIO_API_BASE_URL: "http://127.0.0.1:1", TWILIO_TIMEOUT_MS: "5000", TWILIO_FROM: "" })).toBe(
      "absent",
    );
  });

  test.each([
    [{ TWILIO_FROM: "+33987650000" }, ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]],
    [{ TWILIO_AUTH_TOKEN: "t" }, ["TWILIO_ACCOUNT_SID", "TWILIO_FROM"]],
    [
      { TWILIO_ACCOUNT_SID: "SKabc", TWILIO_MESSAGING_SERVICE_SID: "abc" },
      ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_MESSAGING_SERVICE_SID"],
    ],
    [{ ...complete, TWILIO_ACCOUNT_SID: "AC12" }, ["TWILIO_ACCOUNT_SID"]],
    [{ ...complete, TWILIO_FROM: "0612345678901" }, ["TWILIO_FROM"]],
    [{ ...complete, TWILIO_FROM: "a name too long" }, ["TWILIO_FROM"]],
    [{ ...complete, TWILIO_MESSAGING_SERVICE_SID: SERVICE }, ["TWILIO_FROM"]],
  ])("%j has faults at %j, all at once", (given, expected) => {
    expect(pointers(given)).toEqual(expected);
  });

  test("a fault never repeats what was given", () => {
    const faults = configured({ TWILIO_ACCOUNT_SID: "AC-my-secret", TWILIO_FROM: "a name too long" });
    expect(JSON.stringify(faults)).not.toMatch(/my-secret|too long"/);
  });

  test("the defaults are Twilio's own address, 15 seconds, and how a sender's rate is learnt", () => {
    expect(schema.parse({})).toEqual({
      TWILIO_API_BASE_URL: "https://api.twilio.com",
      TWILIO_TIMEOUT_MS: 15_000,
      SMS_RATE_MIN: 0.2,
      SMS_RATE_STEP: 0.2,
      SMS_RATE_CUT: 0.5,
    });
    expect(schema.safeParse({ TWILIO_API_BASE_URL: "api.twilio.com" }).success).toBe(false);
  });
});
