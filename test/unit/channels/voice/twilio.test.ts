import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { OpenAttempt } from "../../../../src/channels/provider.ts";
import type { VoiceContent } from "../../../../src/channels/voice/content.ts";
import { TWILIO_VOICE_CODES } from "../../../../src/channels/voice/providers/twilio-voice/error-codes.ts";
import { isRecording, outcomeOf } from "../../../../src/channels/voice/providers/twilio-voice/outcomes.ts";
import { twilioVoiceProvider } from "../../../../src/channels/voice/providers/twilio-voice/twilio-voice.provider.ts";
import { PUBLIC_URL, TWILIO_VOICE_VALUES, twilioVoiceAt } from "../../../contract/voice-under-test.ts";
import { type FakeCall, startFakeTwilioVoice } from "../../../fakes/twilio-voice/fake-twilio-voice.ts";
import { startFileServer } from "../../../fakes/twilio-voice/file-server.ts";
import type { TwilioAnswer } from "../../../fakes/twilio/fake-twilio.ts";
import { FILES } from "../../../helpers/media-files.ts";

const TO = "+33612348899";
const FROM = TWILIO_VOICE_VALUES.TWILIO_VOICE_FROM ?? "";
const TEXT = "Bonjour, votre vélo est-il à vendre ?";
const START = Date.UTC(2026, 2, 2, 10);
const signal = new AbortController().signal;

const ATTEMPT: OpenAttempt<VoiceContent> = {
  attemptId: "m1-a1",
  messageId: "m1",
  accountId: undefined,
  channel: "ringless_voice",
  lane: undefined,
  attemptNumber: 1,
  to: TO,
  from: undefined,
  content: { text: TEXT },
  startedAt: START,
};

async function errorOf(answer: TwilioAnswer): Promise<unknown> {
  await using fake = await startFakeTwilioVoice();
  fake.otherwise(answer);
  const provider = await twilioVoiceAt(fake.url);
  const error: unknown = await provider.send(ATTEMPT, signal).catch((reason: unknown) => reason);
  await provider.close?.();
  return error;
}

describe("what is asked of Twilio", () => {
  test("a call that waits for the end of the greeting, and asks us what to do then", async () => {
    await using fake = await startFakeTwilioVoice();
    const provider = await twilioVoiceAt(fake.url);
    const { providerMessageId } = await provider.send(ATTEMPT, signal);
    expect(fake.calls[0]?.sid).toBe(providerMessageId);
    const { Url, FallbackUrl, StatusCallback, ...rest } = fake.requests[0]?.form ?? {};
    expect(rest).toEqual({
      To: TO,
      From: FROM,
      Method: "POST",
      FallbackMethod: "POST",
      StatusCallbackMethod: "POST",
      StatusCallbackEvent: "completed",
      MachineDetection: "DetectMessageEnd",
      MachineDetectionTimeout: "45",
      Timeout: "60",
      TimeLimit: "300",
    });
    expect(Url).toMatch(/^https:\/\/worker\.example\.com\/webhooks\/twilio\/voice\/[\w.-]+#rc=3&rp=5xx,ct,rt$/);
    expect(FallbackUrl).toBe(Url);
    expect(StatusCallback).toBe(Url?.replace("#", "/status#"));
    expect(Url).not.toContain(PUBLIC_URL.toUpperCase());
    for (const address of [Url, StatusCallback]) {
      const [payload = ""] = address?.split("/voice/")[1]?.split(".") ?? [];
      expect(Buffer.from(payload, "base64url").toString()).not.toMatch(/Bonjour|vélo|612348899/);
    }
    await provider.close?.();
  });

  test("the message's own sender goes before the configured one", async () => {
    await using fake = await startFakeTwilioVoice();
    const provider = await twilioVoiceAt(fake.url);
    await provider.send({ ...ATTEMPT, from: "+33987651111" }, signal);
    expect(fake.calls[0]?.from).toBe("+33987651111");
    await provider.close?.();
  });

  test("nobody is called for a recording that is a page", async () => {
    await using fake = await startFakeTwilioVoice();
    await using files = await startFileServer({ "/a.mp3": { type: "text/html", body: FILES.html } });
    const provider = await twilioVoiceAt(fake.url);
    const sending = provider.send({ ...ATTEMPT, content: { audioUrl: `${files.url}/a.mp3` } }, signal);
    await expect(sending).rejects.toMatchObject({ name: "PermanentError", code: "audio_wrong_type" });
    expect(fake.requests).toEqual([]);
    await provider.close?.();
  });
});

describe("what Twilio's refusals mean", () => {
  const NAMES = { permanent: "PermanentError", configuration: "RateLimitedError", busy: "RateLimitedError" };
  test.each(Object.entries(TWILIO_VOICE_CODES).filter(([, { kind }]) => kind !== "ambiguous"))(
    "%s is what the table says, and proves that nobody was called",
    async (code, { kind, ...rest }) => {
      const status = kind === "busy" ? 429 : code === "20003" ? 401 : 400;
      const error = await errorOf({ kind: "error", status, code: Number(code), message: `No: ${TO}` });
      expect(error).toMatchObject({
        name: NAMES[kind as keyof typeof NAMES],
        code: `twilio_${code}`,
        delivery: "not_sent",
        ...("scope" in rest ? { scope: rest.scope } : {}),
      });
      expect(String(error)).toContain(`https://www.twilio.com/docs/api/errors/${code}`);
    },
  );

  test.each<[string, TwilioAnswer, object]>([
    ["20500", { kind: "error", status: 500, code: 20500 }, { name: "TransientError", delivery: "unknown" }],
    ["a plain 502", { kind: "error", status: 502 }, { name: "TransientError", delivery: "unknown" }],
    ["half an answer", { kind: "malformed", accept: true }, { name: "TransientError", delivery: "unknown" }],
    ["a reset", { kind: "reset", accept: true }, { code: "twilio_connection_lost", delivery: "unknown" }],
    [
      "503 with Retry-After",
      { kind: "error", status: 503, headers: { "retry-after": "7" } },
      { name: "RateLimitedError", retryAfterMs: 7_000, delivery: "not_sent" },
    ],
    ["an unknown code", { kind: "error", status: 400, code: 21999 }, { name: "PermanentError", code: "twilio_21999" }],
    ["404", { kind: "error", status: 404, code: 20404 }, { name: "RateLimitedError", scope: "sender" }],
  ])("%s", async (_, answer, expected) => {
    expect(await errorOf(answer)).toMatchObject({ provider: "twilio-voice", ...expected });
  });
});

const LEFT = { status: "delivered", unlessInstructed: "twilio_no_instructions" };

test.each<[string | undefined, string | undefined, object | undefined]>([
  ["completed", "machine_end_beep", LEFT],
  ["completed", "machine_end_silence", LEFT],
  ["completed", "machine_end_other", LEFT],
  ["completed", "human", { status: "failed", code: "twilio_answered_by_human" }],
  ["completed", "fax", { status: "failed", code: "twilio_answered_by_fax" }],
  ["completed", "unknown", { status: "failed", code: "twilio_answered_by_unknown" }],
  ["completed", "machine_start", { status: "failed", code: "twilio_answered_by_machine_start" }],
  ["completed", undefined, { status: "failed", code: "twilio_not_detected" }],
  ["busy", undefined, { status: "failed", code: "twilio_busy" }],
  ["no-answer", undefined, { status: "failed", code: "twilio_no_answer" }],
  ["failed", undefined, { status: "failed", code: "twilio_call_failed" }],
  ["canceled", undefined, { status: "failed", code: "twilio_canceled" }],
  ["in-progress", "human", undefined],
  ["ringing", undefined, undefined],
  [undefined, undefined, undefined],
])("a call that ends %s, answered by %s, comes to %j", (status, answeredBy, outcome) => {
  expect(outcomeOf(status, answeredBy)).toEqual(outcome);
  // Whoever hears the message is the one for whom it counts as left.
  if (status === "completed")
    expect(isRecording(answeredBy)).toBe(outcome && "status" in outcome && outcome.status === "delivered");
});

describe("reconciling with Twilio's list of calls", () => {
  const mine = { to: TO, from: FROM, dateCreated: new Date(START + 1_000) };
  const search = async (listed: (Partial<FakeCall> & { to: string; from: string })[]) => {
    await using fake = await startFakeTwilioVoice();
    const provider = await twilioVoiceAt(fake.url);
    const calls = listed.map((call) => fake.add(call));
    const result = await provider.reconcile?.(ATTEMPT);
    await provider.close?.();
    return { result, calls };
  };

  test("exactly one call that fits is the attempt's", async () => {
    const { result, calls } = await search([mine]);
    expect(result).toEqual({ result: "accepted", providerMessageId: calls[0]?.sid });
  });

  test.each<[string, Partial<FakeCall>]>([
    ["another recipient", { to: "+33612348800" }],
    ["another sender", { from: "+33987651111" }],
    ["the other direction", { direction: "inbound" }],
    ["a time long before the attempt", { dateCreated: new Date(START - 60_000) }],
    ["a time long after the attempt", { dateCreated: new Date(START + 3_600_000) }],
  ])("a call with %s is not the attempt's, and its absence proves nothing", async (_, fields) => {
    const { result } = await search([{ ...mine, ...fields }]);
    expect(result).toEqual({ result: "inconclusive" });
  });

  test("two calls that fit are inconclusive", async () => {
    expect((await search([mine, mine])).result).toEqual({ result: "inconclusive" });
  });

  test("a call that is known to be another attempt's is not counted", async () => {
    await using fake = await startFakeTwilioVoice();
    const provider = await twilioVoiceAt(fake.url);
    await provider.send({ ...ATTEMPT, attemptId: "m2-a1" }, signal);
    const startedAt = Date.now();
    expect(await provider.reconcile?.({ ...ATTEMPT, startedAt })).toEqual({ result: "inconclusive" });
    await provider.close?.();
  });

  test("a Twilio that cannot be asked leaves the attempt unknown: no answer is no proof", async () => {
    const fake = await startFakeTwilioVoice();
    const provider = await twilioVoiceAt(fake.url);
    await fake[Symbol.asyncDispose]();
    await expect(provider.reconcile?.(ATTEMPT)).rejects.toMatchObject({ name: "TransientError", delivery: "unknown" });
    await provider.close?.();
  });
});

describe("the variables of calls through Twilio", () => {
  const schema = z.object(twilioVoiceProvider.env);
  const complete = {
    TWILIO_ACCOUNT_SID: `AC${"0a".repeat(16)}`,
    TWILIO_AUTH_TOKEN: "t",
    TWILIO_VOICE_FROM: "+33987650000",
    PUBLIC_URL,
  };
  const configured = (given: Record<string, string>) => {
    const result = twilioVoiceProvider.configured(schema.parse(given));
    return Array.isArray(result) ? result.map(({ pointer }) => pointer) : result;
  };

  test("a whole group is present", () => expect(configured(complete)).toBe("present"));

  test("an account that is there for SMS asks for no calls", () => {
    const { TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN } = complete;
    expect(configured({ TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN })).toBe("absent");
    expect(configured({})).toBe("absent");
  });

  test("without PUBLIC_URL nobody can be called, and that is said", () => {
    const { PUBLIC_URL: _, ...rest } = complete;
    expect(twilioVoiceProvider.configured(schema.parse(rest))).toEqual([
      { pointer: "PUBLIC_URL", detail: expect.stringContaining("Twilio asks there what to do") },
    ]);
  });

  test.each([
    [{ TWILIO_VOICE_FROM: "+33987650000" }, ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "PUBLIC_URL"]],
    [{ ...complete, TWILIO_ACCOUNT_SID: "SKabc" }, ["TWILIO_ACCOUNT_SID"]],
    [{ ...complete, TWILIO_VOICE_FROM: "AutoProsp" }, ["TWILIO_VOICE_FROM"]],
    [{ ...complete, TWILIO_VOICE_FROM: "0987650000" }, ["TWILIO_VOICE_FROM"]],
  ])("%j has faults at %j, all at once", (given, expected) => expect(configured(given)).toEqual(expected));

  test("the defaults speak French", () => {
    expect(schema.parse({})).toMatchObject({ TWILIO_VOICE_NAME: "Polly.Lea", TWILIO_VOICE_LANGUAGE: "fr-FR" });
    expect(schema.safeParse({ TWILIO_VOICE_NAME: '"/><Hangup' }).success).toBe(false);
    expect(schema.safeParse({ TWILIO_VOICE_LANGUAGE: "french" }).success).toBe(false);
  });
});
