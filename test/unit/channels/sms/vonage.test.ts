import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { OpenAttempt } from "../../../../src/channels/provider.ts";
import type { SmsContent } from "../../../../src/channels/sms/content.ts";
import { VONAGE_CODES } from "../../../../src/channels/sms/providers/vonage/error-codes.ts";
import { vonageProvider } from "../../../../src/channels/sms/providers/vonage/vonage.provider.ts";
import type { ProviderError } from "../../../../src/core/errors.ts";
import { SHORT_TIMEOUT_MS } from "../../../contract/twilio-under-test.ts";
import { VONAGE_VALUES, vonageAt } from "../../../contract/vonage-under-test.ts";
import { APPLICATION_KEY } from "../../../fakes/vonage/application-key.ts";
import { FakeVonage, type VonageAnswer, startFakeVonage } from "../../../fakes/vonage/fake-vonage.ts";

const TO = "+33612348899";
const FROM = "+33987650000";
const ATTEMPT: OpenAttempt<SmsContent> = {
  attemptId: "3f0c8f0e-6e0f-4a55-8d6e-0d6b1c7f2a10",
  messageId: "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51",
  accountId: undefined,
  channel: "sms",
  lane: undefined,
  attemptNumber: 1,
  to: TO,
  from: undefined,
  content: { text: "Bonjour, le vélo à 90 € & son casque ?" },
  startedAt: Date.now(),
};
const signal = new AbortController().signal;

async function errorOf(answer: VonageAnswer): Promise<ProviderError> {
  await using fake = await startFakeVonage();
  fake.next(answer);
  const provider = await vonageAt(fake.url, { VONAGE_TIMEOUT_MS: SHORT_TIMEOUT_MS });
  const error = await provider.send(ATTEMPT, signal).then(
    () => expect.unreachable("the send was accepted"),
    (reason: ProviderError) => reason,
  );
  expect(fake.posted(TO), "the SDK must not repeat a request by itself").toBe(1);
  await provider.close?.();
  return error;
}

describe("what is sent to Vonage", () => {
  const body = {
    channel: "sms",
    message_type: "text",
    to: "33612348899",
    from: "33987650000",
    text: ATTEMPT.content.text,
    client_ref: ATTEMPT.attemptId,
  };

  test("numbers without a plus, the text as it is, and the attempt's id as reference", async () => {
    await using fake = await startFakeVonage();
    const provider = await vonageAt(fake.url);
    const { providerMessageId } = await provider.send(ATTEMPT, signal);
    expect(fake.requests.map((request) => request.body)).toEqual([body]);
    expect(fake.accepted[0]?.uuid).toBe(providerMessageId);
    await provider.close?.();
  });

  test("a name or the message's own number to send from", async () => {
    await using fake = await startFakeVonage();
    const provider = await vonageAt(fake.url, { VONAGE_FROM: "MaisonAuto" });
    await provider.send(ATTEMPT, signal);
    await provider.send({ ...ATTEMPT, from: "+33987651111" }, signal);
    expect(fake.accepted.map(({ from }) => from)).toEqual(["MaisonAuto", "33987651111"]);
    await provider.close?.();
  });

  test("with an address and a signature secret → where to report on this message", async () => {
    await using fake = await startFakeVonage();
    const values = { VONAGE_SIGNATURE_SECRET: FakeVonage.SIGNATURE_SECRET };
    const provider = await vonageAt(fake.url, values, undefined, "https://worker.example.com");
    await provider.send(ATTEMPT, signal);
    expect(fake.requests[0]?.body).toEqual({
      ...body,
      webhook_url: `https://worker.example.com/webhooks/vonage/status?message=${ATTEMPT.messageId}`,
      webhook_version: "v1",
    });
    await provider.close?.();
  });

  test("a base URL may have a path, as that of a proxy", async () => {
    await using fake = await startFakeVonage();
    const provider = await vonageAt(`${fake.url}/vonage/`);
    await provider.send(ATTEMPT, signal).catch(() => {});
    expect(fake.requests[0]?.path).toBe("/vonage/v1/messages");
    await provider.close?.();
  });

  test("a key with its line breaks written as \\n", async () => {
    await using fake = await startFakeVonage();
    const provider = await vonageAt(fake.url, {
      VONAGE_APPLICATION_ID: FakeVonage.APPLICATION_ID,
      VONAGE_PRIVATE_KEY: APPLICATION_KEY.private.replaceAll("\n", String.raw`\n`),
    });
    await provider.send(ATTEMPT, signal);
    expect(fake.requests[0]?.headers.authorization).toMatch(/^Bearer ey/);
    await provider.close?.();
  });
});

const KINDS = {
  permanent: { name: "PermanentError", delivery: "not_sent", suppress: false },
  content: { name: "PermanentError", delivery: "not_sent", suppress: false },
  suppress: { name: "PermanentError", delivery: "not_sent", suppress: true },
  configuration: { name: "RateLimitedError", retryAfterMs: 300_000 },
  busy: { name: "RateLimitedError" },
  failed_later: { name: "TransientError", delivery: "not_sent" },
  ambiguous: { name: "TransientError", delivery: "unknown" },
};

describe("each of Vonage's codes", () => {
  test.each(Object.entries(VONAGE_CODES))("%s becomes what its kind says", async (code, known) => {
    const scope = "scope" in known ? { scope: known.scope } : {};
    const wait = known.kind === "busy" ? { retryAfterMs: known.retryAfterMs } : {};
    const status = known.kind === "ambiguous" ? 500 : known.kind === "busy" ? 429 : 422;
    expect(await errorOf({ kind: "error", status, code: Number(code) })).toMatchObject({
      ...KINDS[known.kind],
      ...scope,
      ...wait,
      code: `vonage_${code}`,
      message: expect.stringContaining(known.words),
    });
  });

  test.each([
    [401, "unauthorized", { name: "RateLimitedError", scope: "sender", code: "vonage_http_401" }],
    [402, "low-balance", { name: "RateLimitedError", scope: "sender", code: "vonage_http_402" }],
    [403, "forbidden", { name: "RateLimitedError", scope: "sender" }],
    [404, "not-found", { name: "RateLimitedError", scope: "sender" }],
    [422, "something-new", { name: "PermanentError", code: "vonage_http_422" }],
    [429, "throttled", { name: "RateLimitedError", scope: "provider" }],
    [500, "internal", { name: "TransientError", delivery: "unknown" }],
    [502, "bad-gateway", { name: "TransientError", delivery: "unknown" }],
    [503, "unavailable", { name: "TransientError", delivery: "unknown" }],
  ])("HTTP %i without a code (%s)", async (status, name, error) => {
    const type = `https://developer.vonage.com/api-errors#${name}`;
    expect(await errorOf({ kind: "error", status, type })).toMatchObject(error);
  });

  test("a Retry-After → is kept to", async () => {
    const answer = { kind: "error", status: 429, code: 1000, headers: { "retry-after": "7" } } as const;
    expect(await errorOf(answer)).toMatchObject({ name: "RateLimitedError", retryAfterMs: 7000 });
    const unavailable = { kind: "error", status: 503, headers: { "retry-after": "3" } } as const;
    expect(await errorOf(unavailable)).toMatchObject({ name: "RateLimitedError", retryAfterMs: 3000 });
  });

  test.each<[string, VonageAnswer]>([
    ["half of an answer", { kind: "malformed", accept: true }],
    ["an answer without an id", { kind: "malformed", body: "{}" }],
    ["a page in place of an answer", { kind: "malformed", body: "<html>" }],
    ["an error that is not JSON", { kind: "error", status: 599 }],
    ["a reset", { kind: "reset" }],
    ["no answer", { kind: "hang" }],
  ])("%s → ambiguous", async (_, answer) => {
    expect(await errorOf(answer)).toMatchObject({ name: "TransientError", delivery: "unknown" });
  });
});

describe("reconciling with Reports", () => {
  async function reconciled(arrange: (fake: FakeVonage) => void, values = {}) {
    await using fake = await startFakeVonage();
    const provider = await vonageAt(fake.url, { VONAGE_TIMEOUT_MS: SHORT_TIMEOUT_MS, ...values });
    const { providerMessageId } = await provider.send(ATTEMPT, signal);
    arrange(fake);
    const answer = await provider.reconcile!(ATTEMPT).catch((error: unknown) => error);
    await provider.close?.();
    return { answer, providerMessageId, fake };
  }

  test("asks for what was sent to this recipient at that time, by key and secret", async () => {
    const application = {
      VONAGE_APPLICATION_ID: FakeVonage.APPLICATION_ID,
      VONAGE_PRIVATE_KEY: APPLICATION_KEY.private,
    };
    const { answer, providerMessageId, fake } = await reconciled(() => {}, application);
    expect(answer).toEqual({ result: "accepted", providerMessageId });
    const { path, query, headers } = fake.requests.at(-1)!;
    expect(path).toBe("/v2/reports/records");
    expect(query).toMatchObject({ product: "MESSAGES", direction: "outbound", to: "33612348899" });
    expect(Date.parse(query["date_start"]!)).toBeLessThan(ATTEMPT.startedAt);
    expect(Date.parse(query["date_end"]!)).toBeGreaterThan(ATTEMPT.startedAt);
    expect(headers.authorization).toMatch(/^Basic /);
  });

  test.each<[string, (fake: FakeVonage) => void]>([
    ["it knows of nothing yet", (fake) => void (fake.reports = "late")],
    ["it knows the same text under another reference", (fake) => void (fake.accepted[0]!.clientRef = "another")],
    ["it knows it without a reference", (fake) => void (fake.accepted[0]!.clientRef = undefined)],
    ["the account does not have it", (fake) => void (fake.reports = 402)],
    ["the account may not ask", (fake) => void (fake.reports = 403)],
  ])("%s → inconclusive, never a second SMS", async (_, arrange) => {
    expect((await reconciled(arrange)).answer).toEqual({ result: "inconclusive" });
  });

  test.each<[string, (fake: FakeVonage) => void]>([
    ["never answers", (fake) => void (fake.reports = "hangs")],
    ["fails", (fake) => void (fake.reports = 500)],
    ["is busy", (fake) => void (fake.reports = 429)],
  ])("it %s → could not be asked", async (_, arrange) => {
    const { answer } = await reconciled(arrange);
    expect(answer).toMatchObject({ name: "TransientError", delivery: "unknown" });
  });
});

describe("the environment", () => {
  const read = (values: Record<string, string>) =>
    vonageProvider.configured(z.object(vonageProvider.env).parse(values));
  const { VONAGE_API_KEY: key = "", VONAGE_API_SECRET: secret = "" } = VONAGE_VALUES;
  const complete = { VONAGE_API_KEY: key, VONAGE_API_SECRET: secret, VONAGE_FROM: FROM };
  const application = {
    VONAGE_APPLICATION_ID: FakeVonage.APPLICATION_ID,
    VONAGE_PRIVATE_KEY: APPLICATION_KEY.private,
  };

  test("nothing, or only what tunes → absent", () => {
    expect(read({})).toBe("absent");
    expect(read({ VONAGE_TIMEOUT_MS: "2000" })).toBe("absent");
  });

  test.each([
    complete,
    { ...complete, ...application },
    { ...complete, VONAGE_FROM: "36180" },
    { ...complete, VONAGE_FROM: "Maison 12" },
  ])("a complete group → present", (values) => {
    expect(read(values)).toBe("present");
  });

  test.each<[Record<string, string>, string[]]>([
    [{ VONAGE_API_KEY: key }, ["VONAGE_API_SECRET", "VONAGE_FROM"]],
    [{ VONAGE_SIGNATURE_SECRET: "s" }, ["VONAGE_API_KEY", "VONAGE_API_SECRET", "VONAGE_FROM"]],
    [{ ...complete, VONAGE_APPLICATION_ID: FakeVonage.APPLICATION_ID }, ["VONAGE_PRIVATE_KEY"]],
    [{ ...complete, VONAGE_PRIVATE_KEY: APPLICATION_KEY.private }, ["VONAGE_APPLICATION_ID"]],
    [{ ...complete, ...application, VONAGE_PRIVATE_KEY: "-----BEGIN PRIVATE KEY-----\nAAAA" }, ["VONAGE_PRIVATE_KEY"]],
    [{ ...complete, ...application, VONAGE_APPLICATION_ID: "mine" }, ["VONAGE_APPLICATION_ID"]],
    [{ ...complete, VONAGE_FROM: "a sender far too long" }, ["VONAGE_FROM"]],
  ])("%o → each fault by its variable", (values, pointers) => {
    const faults = read(values);
    expect((faults as { pointer: string }[]).map(({ pointer }) => pointer)).toEqual(pointers);
  });
});
