import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { describe, expect, test } from "vitest";
import type { SendRequest } from "../../../../src/channels/provider.ts";
import { TWILIO_CODES } from "../../../../src/channels/sms/providers/twilio/error-codes.ts";
import type { TextContent } from "../../../../src/channels/text.ts";
import type { ProviderError } from "../../../../src/core/errors.ts";
import { SHORT_TIMEOUT_MS, TWILIO_VALUES, twilioAt } from "../../../contract/twilio-under-test.ts";
import { type TwilioAnswer, startFakeTwilio } from "../../../fakes/twilio/fake-twilio.ts";
import { LOOPBACK_TLS } from "../../../fakes/twilio/tls.ts";

const TO = "+33612348899";
const REQUEST: SendRequest<TextContent> = {
  attemptId: "m1-a1",
  messageId: "m1",
  accountId: undefined,
  channel: "sms",
  lane: undefined,
  attemptNumber: 1,
  to: TO,
  from: undefined,
  content: { text: "Bonjour" },
};
const NOW = Date.UTC(2026, 2, 2, 10);
const signal = new AbortController().signal;

async function errorAt(url: string): Promise<ProviderError> {
  const provider = await twilioAt(url, { TWILIO_TIMEOUT_MS: SHORT_TIMEOUT_MS }, { now: () => NOW, monotonic: () => 0 });
  try {
    return await provider.send(REQUEST, signal).then(
      () => expect.unreachable("the send was accepted"),
      (error: ProviderError) => error,
    );
  } finally {
    await provider.close?.();
  }
}

async function errorOf(answer: TwilioAnswer): Promise<ProviderError> {
  await using fake = await startFakeTwilio();
  fake.next(answer);
  const error = await errorAt(fake.url);
  expect(fake.posted(TO), "the SDK must not repeat a request by itself").toBe(1);
  return error;
}

const permanent = { name: "PermanentError", delivery: "not_sent", suppress: false };
const suppress = { name: "PermanentError", delivery: "not_sent", suppress: true };
const pauseSender = { name: "RateLimitedError", scope: "sender", retryAfterMs: 300_000 };
const pauseMessage = { name: "RateLimitedError", scope: "message", retryAfterMs: 300_000 };
const pauseProvider = { name: "RateLimitedError", scope: "provider", retryAfterMs: 2_000 };
const again = { name: "TransientError", delivery: "not_sent" };
const ambiguous = { name: "TransientError", delivery: "unknown" };

const CODES: [number, number, object][] = [
  ...[21211, 21266, 21612, 21614, 21635, 30005, 30006].map(
    (code) => [code, 400, permanent] as [number, number, object],
  ),
  ...[21602, 21617, 30004, 30007].map((code) => [code, 400, permanent] as [number, number, object]),
  [21610, 400, suppress],
  [10001, 403, pauseSender],
  [20003, 401, pauseSender],
  [20005, 403, pauseSender],
  [21212, 400, pauseSender],
  [21603, 400, pauseSender],
  [21606, 400, pauseSender],
  [21659, 400, pauseSender],
  [21660, 400, pauseSender],
  [30002, 400, pauseSender],
  [21408, 403, pauseMessage],
  [21608, 400, pauseMessage],
  [30018, 400, pauseMessage],
  [20429, 429, pauseProvider],
  [63017, 429, pauseProvider],
  [63038, 429, { ...pauseProvider, retryAfterMs: 3_600_000 }],
  [21611, 400, { name: "RateLimitedError", scope: "sender", retryAfterMs: 60_000 }],
  ...[30001, 30003, 30008, 30036, 30047, 30500].map((code) => [code, 400, again] as [number, number, object]),
  [20500, 500, ambiguous],
];

describe("each of Twilio's codes", () => {
  test.each(CODES)("%i (HTTP %i) becomes %o", async (code, status, expected) => {
    const error = await errorOf({ kind: "error", status, code });
    expect(error).toMatchObject({ ...expected, code: `twilio_${code}`, provider: "twilio" });
    expect(error.message).toBe(`${TWILIO_CODES[code]?.words} (https://www.twilio.com/docs/api/errors/${code})`);
  });

  test("is in this test", () => {
    const tested = CODES.map(([code]) => code).toSorted((a, b) => a - b);
    expect(tested).toEqual(Object.keys(TWILIO_CODES).map(Number));
  });
});

describe("an answer without a known code", () => {
  test.each<[string, TwilioAnswer, object]>([
    [
      "a 400 with a code that we do not know",
      { kind: "error", status: 400, code: 21999 },
      { ...permanent, code: "twilio_21999" },
    ],
    ["a 400 without a code", { kind: "error", status: 400 }, { ...permanent, code: "twilio_http_400" }],
    ["a 401", { kind: "error", status: 401 }, { ...pauseSender, code: "twilio_http_401" }],
    ["a 403", { kind: "error", status: 403 }, pauseSender],
    ["a 404, which is a wrong account or address", { kind: "error", status: 404, code: 20404 }, pauseSender],
    ["a 408", { kind: "error", status: 408 }, ambiguous],
    ["a 429 without Retry-After", { kind: "error", status: 429 }, pauseProvider],
    [
      "a 429 with Retry-After",
      { kind: "error", status: 429, headers: { "retry-after": "7" } },
      { ...pauseProvider, retryAfterMs: 7_000 },
    ],
    [
      "a known limit with Retry-After",
      { kind: "error", status: 429, code: 20429, headers: { "retry-after": "9" } },
      { ...pauseProvider, retryAfterMs: 9_000 },
    ],
    [
      "a Retry-After of a day, kept within an hour",
      { kind: "error", status: 429, headers: { "retry-after": "86400" } },
      { retryAfterMs: 3_600_000 },
    ],
    [
      "a Retry-After that is a date",
      { kind: "error", status: 503, headers: { "retry-after": new Date(NOW + 30_000).toUTCString() } },
      { ...pauseProvider, retryAfterMs: 30_000 },
    ],
    [
      "a 503 with Retry-After",
      { kind: "error", status: 503, headers: { "retry-after": "3" } },
      { ...pauseProvider, retryAfterMs: 3_000 },
    ],
    ["a 503 without", { kind: "error", status: 503, code: 20503 }, { ...ambiguous, code: "twilio_20503" }],
    [
      "a 503 whose Retry-After cannot be read",
      { kind: "error", status: 503, headers: { "retry-after": "soon" } },
      ambiguous,
    ],
    ["a 500", { kind: "error", status: 500 }, ambiguous],
    ["a 502 of a proxy", { kind: "error", status: 502 }, ambiguous],
    ["a 500 that names a permanent code", { kind: "error", status: 500, code: 21211 }, ambiguous],
    ["a redirect", { kind: "error", status: 302, headers: { location: "/" } }, ambiguous],
    [
      "half a document after 201",
      { kind: "malformed", accept: true },
      { ...ambiguous, code: "twilio_unreadable_answer" },
    ],
    ["201 without a sid", { kind: "malformed", body: "{}" }, { ...ambiguous, code: "twilio_unreadable_answer" }],
    ["201 with null", { kind: "malformed", body: "null" }, { ...ambiguous, code: "twilio_unreadable_answer" }],
    ["201 with HTML", { kind: "malformed", body: "<html>" }, { ...ambiguous, code: "twilio_unreadable_answer" }],
    ["201 with nothing", { kind: "malformed", body: "" }, { ...ambiguous, code: "twilio_unreadable_answer" }],
  ])("%s becomes what it proves", async (_, answer, expected) => {
    expect(await errorOf(answer)).toMatchObject(expected);
  });
});

test("what Twilio quotes of a text, a recipient or any number is taken out of the cause", async () => {
  const quoting = `"Bonjour" from ${TWILIO_VALUES.TWILIO_FROM} to ${TO} or +1 415 555 0001 is not allowed`;
  const error = await errorOf({ kind: "error", status: 400, code: 21999, message: quoting });
  expect((error.cause as Error).message).toBe(
    '"[removed]" from [number removed] to [removed] or [number removed] is not allowed',
  );
});

describe("no answer", () => {
  test("a time-out after the request had left is ambiguous", async () => {
    expect(await errorOf({ kind: "hang" })).toMatchObject({ ...ambiguous, code: "twilio_timeout" });
  });

  test("a reset after the request had left is ambiguous", async () => {
    expect(await errorOf({ kind: "reset" })).toMatchObject({ ...ambiguous, code: "twilio_connection_lost" });
  });

  test("a reset of a connection that is used again is ambiguous", async () => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url);
    fake.next({ kind: "accept" }, { kind: "reset" });
    await provider.send(REQUEST, signal);
    await expect(provider.send(REQUEST, signal)).rejects.toMatchObject({
      ...ambiguous,
      code: "twilio_connection_lost",
    });
    await provider.close?.();
  });

  test("an abort after the request had left is ambiguous", async () => {
    await using fake = await startFakeTwilio();
    const provider = await twilioAt(fake.url, { TWILIO_TIMEOUT_MS: 60_000 });
    fake.next({ kind: "hang" });
    const controller = new AbortController();
    const sending = provider.send(REQUEST, controller.signal);
    sending.catch(() => {});
    await expect.poll(() => fake.posted(TO)).toBe(1);
    controller.abort();
    await expect(sending).rejects.toMatchObject({ ...ambiguous, code: "twilio_aborted" });
    await provider.close?.();
  });

  test("a refused connection proves that nothing was sent", async () => {
    const fake = await startFakeTwilio();
    await fake[Symbol.asyncDispose]();
    const error = await errorAt(fake.url);
    expect(error).toMatchObject({ ...again, code: "twilio_unreachable" });
    expect(String(error.cause)).toContain("ECONNREFUSED");
  });

  test("over TLS, too, a request has left once the handshake is done", async () => {
    const trusted = getCACertificates("default");
    setDefaultCACertificates([...trusted, LOOPBACK_TLS.cert]);
    try {
      await using fake = await startFakeTwilio({ tls: LOOPBACK_TLS });
      const provider = await twilioAt(fake.url, { TWILIO_TIMEOUT_MS: SHORT_TIMEOUT_MS });
      fake.next({ kind: "hang" }, { kind: "accept" }, { kind: "hang" });
      const timedOut = { ...ambiguous, code: "twilio_timeout" };
      await expect(provider.send(REQUEST, signal)).rejects.toMatchObject(timedOut);
      expect(await provider.send(REQUEST, signal)).toEqual({ providerMessageId: fake.accepted[0]?.sid });
      await expect(provider.send(REQUEST, signal), "on the same connection").rejects.toMatchObject(timedOut);
      expect(fake.posted(TO)).toBe(3);
      await provider.close?.();
    } finally {
      setDefaultCACertificates(trusted);
    }
  });

  test("a certificate that is not trusted proves that nothing was sent", async () => {
    await using fake = await startFakeTwilio({ tls: LOOPBACK_TLS });
    expect(await errorAt(fake.url)).toMatchObject({ ...again, code: "twilio_unreachable" });
    expect(fake.requests).toEqual([]);
  });

  test("a TLS handshake that fails proves that nothing was sent", async () => {
    await using fake = await startFakeTwilio();
    expect(await errorAt(fake.url.replace("http:", "https:"))).toMatchObject({ ...again, code: "twilio_unreachable" });
    expect(fake.requests).toEqual([]);
  });

  test("a TLS handshake that never ends proves that nothing was sent", async () => {
    const server = createServer(() => {}).listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      const error = await errorAt(`https://127.0.0.1:${(server.address() as AddressInfo).port}`);
      expect(error).toMatchObject({ ...again, code: "twilio_timeout" });
    } finally {
      server.close();
    }
  });
});
