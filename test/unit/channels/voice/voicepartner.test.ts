import { inspect } from "node:util";
import { pino } from "pino";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Clock } from "../../../../src/core/clock.ts";
import type { SendRequest } from "../../../../src/channels/provider.ts";
import type { VoiceContent } from "../../../../src/channels/voice/content.ts";
import {
  REFUSED_FIELDS,
  VOICEPARTNER_CODES,
} from "../../../../src/channels/voice/providers/voicepartner/error-codes.ts";
import { voicePartnerProvider } from "../../../../src/channels/voice/providers/voicepartner/voicepartner.provider.ts";
import { VOICEPARTNER_VALUES, voicePartnerAt } from "../../../contract/voice-under-test.ts";
import { type FileServer, startFileServer } from "../../../fakes/twilio-voice/file-server.ts";
import {
  type DropAnswer,
  type FakeVoicePartner,
  startFakeVoicePartner,
} from "../../../fakes/voicepartner/fake-voicepartner.ts";
import { FILES } from "../../../helpers/media-files.ts";

const TO = "+33612348899";
const signal = new AbortController().signal;

interface Stage extends AsyncDisposable {
  fake: FakeVoicePartner;
  files: FileServer;
  /** A drop of this recording. */
  drop(path?: string): SendRequest<VoiceContent>;
}

async function openStage(): Promise<Stage> {
  const fake = await startFakeVoicePartner();
  const files = await startFileServer({ "/offre.mp3": { body: FILES.mp3 } });
  return {
    fake,
    files,
    drop: (path = "/offre.mp3") => ({
      attemptId: "a1",
      messageId: "m1",
      accountId: undefined,
      channel: "ringless_voice",
      lane: undefined,
      attemptNumber: 1,
      to: TO,
      from: undefined,
      content: { audioUrl: files.url + path },
    }),
    async [Symbol.asyncDispose]() {
      await fake[Symbol.asyncDispose]();
      await files[Symbol.asyncDispose]();
    },
  };
}

async function errorOf(answer: DropAnswer): Promise<unknown> {
  await using stage = await openStage();
  stage.fake.otherwise(answer);
  const provider = await voicePartnerAt(stage.fake.url);
  const error: unknown = await provider.send(stage.drop(), signal).catch((reason: unknown) => reason);
  await provider.close?.();
  return error;
}

describe("what is asked of VoicePartner", () => {
  test("one number a request, by the recording's token, with an address to report to", async () => {
    await using stage = await openStage();
    const lines: string[] = [];
    const log = pino({}, { write: (line: string) => void lines.push(line) });
    const provider = await voicePartnerAt(stage.fake.url, {}, { log });
    const result = await provider.send(stage.drop(), signal);
    const { notifyUrl, ...body } = stage.fake.requests.at(-1)?.body ?? {};
    expect(body).toEqual({
      apiKey: stage.fake.apiKey,
      tokenAudio: "tokOffre",
      emailForNotification: "ops@example.com",
      phoneNumbers: TO,
      sender: "+33698765432",
    });
    expect(notifyUrl).toMatch(/^https:\/\/worker\.example\.com\/webhooks\/voicepartner\/[\w.-]+$/);
    expect(result).toEqual({ providerMessageId: "a1" });
    // By its campaign an operator finds it at VoicePartner.
    expect(lines.join("")).toContain(stage.fake.campaigns[0]?.campaignId);
    expect(lines.join("")).not.toMatch(/612348899|vp5ecret/);
    await provider.close?.();
  });

  test("without PUBLIC_URL there is no address to report to, and without a sender no number to call back", async () => {
    await using stage = await openStage();
    const provider = await voicePartnerAt(stage.fake.url, { VOICEPARTNER_SENDER: undefined }, { publicUrl: undefined });
    await provider.send(stage.drop(), signal);
    expect(Object.keys(stage.fake.requests.at(-1)?.body ?? {}).toSorted()).toEqual([
      "apiKey",
      "emailForNotification",
      "phoneNumbers",
      "tokenAudio",
    ]);
    await provider.close?.();
  });
});

describe("what VoicePartner's refusals mean", () => {
  const refusing = (body: object): DropAnswer => ({ kind: "answer", status: 200, body: { success: false, ...body } });

  test.each(Object.entries(VOICEPARTNER_CODES))("code %s is what the table says", async (code, { kind, words }) => {
    const error = await errorOf(refusing({ code: Number(code), message: `Refus : ${TO}` }));
    const name = kind === "configuration" ? "RateLimitedError" : "PermanentError";
    expect(error).toMatchObject({ name, code: `voicepartner_${code}`, delivery: "not_sent", provider: "voicepartner" });
    expect(String(error)).toContain(words);
    expect(String(error)).not.toContain(TO);
  });

  test.each(Object.entries(REFUSED_FIELDS))("a refused %s is what the table says", async (field, { kind, code }) => {
    const errors = [{ elementId: `children[${field}].data`, message: `Non valide (${TO})` }];
    const error = await errorOf(refusing({ code: 9, errors }));
    expect(error).toMatchObject({
      name: kind === "configuration" ? "RateLimitedError" : "PermanentError",
      code,
      delivery: "not_sent",
    });
  });

  test.each<[string, DropAnswer, object]>([
    ["a code that nobody knows", refusing({ code: 777 }), { name: "PermanentError", code: "voicepartner_777" }],
    ["a refusal without a code", refusing({}), { name: "PermanentError", code: "voicepartner_refused" }],
    [
      "429",
      { kind: "answer", status: 429 },
      { name: "RateLimitedError", code: "voicepartner_rate_limited", scope: "provider", retryAfterMs: 60_000 },
    ],
    [
      "429 with Retry-After",
      { kind: "answer", status: 429, headers: { "retry-after": "12" } },
      { name: "RateLimitedError", retryAfterMs: 12_000 },
    ],
    ["401", { kind: "answer", status: 401 }, { name: "RateLimitedError", scope: "sender" }],
    ["400 with a page", { kind: "answer", status: 400 }, { name: "PermanentError", code: "voicepartner_http_400" }],
    ["500", { kind: "answer", status: 500, body: { success: false } }, { name: "TransientError", delivery: "unknown" }],
    ["200 with something else", { kind: "answer", status: 200, body: {} }, { delivery: "unknown" }],
    [
      "half an answer",
      { kind: "malformed", accept: true },
      { code: "voicepartner_unreadable_answer", delivery: "unknown" },
    ],
    ["a reset", { kind: "reset", accept: true }, { code: "voicepartner_connection_lost", delivery: "unknown" }],
  ])("%s", async (_, answer, expected) => {
    expect(await errorOf(answer)).toMatchObject({ provider: "voicepartner", ...expected });
  });
});

describe("which recording an audioUrl stands for", () => {
  const offers = (names: string[]) => names.map((name) => ({ name, token: `tok-${name}` }));
  test.each([
    ["/offre.mp3", ["offre"], "tok-offre"],
    ["/offre.mp3", ["Offre.WAV"], "tok-Offre.WAV"],
    ["/deep/er/offre.mp3?v=2", ["autre", "offre"], "tok-offre"],
    ["/v%C3%A9lo.mp3", ["ve\u0301lo"], "tok-ve\u0301lo"],
  ])("%s with recordings %j is %s", async (path, names, token) => {
    await using stage = await openStage();
    stage.files.files = { [decodeURIComponent(path)]: { body: FILES.mp3 } };
    stage.fake.recordings = offers(names);
    const provider = await voicePartnerAt(stage.fake.url);
    await provider.send(stage.drop(path), signal);
    expect(stage.fake.campaigns[0]?.tokenAudio).toBe(token);
    await provider.close?.();
  });

  test.each([
    [["autre"], "voicepartner_unknown_recording"],
    [[], "voicepartner_unknown_recording"],
    [["offre", "OFFRE.mp3"], "voicepartner_ambiguous_recording"],
  ])("with recordings %j nobody is called: %s", async (names, code) => {
    await using stage = await openStage();
    stage.fake.recordings = offers(names);
    const provider = await voicePartnerAt(stage.fake.url);
    await expect(provider.send(stage.drop(), signal)).rejects.toMatchObject({ name: "PermanentError", code });
    expect(stage.fake.requests.filter(({ method }) => method === "POST")).toEqual([]);
    await provider.close?.();
  });

  test("the list is asked for once for many drops, and anew for a recording that was not in it", async () => {
    await using stage = await openStage();
    let now = Date.now();
    const clock: Clock = { now: () => now, monotonic: () => now };
    const provider = await voicePartnerAt(stage.fake.url, {}, { clock });
    const lists = () => stage.fake.requests.filter(({ method }) => method === "GET").length;
    for (let i = 0; i < 5; i += 1) await provider.send(stage.drop(), signal);
    expect(lists()).toBe(1);
    stage.files.files["/neuf.mp3"] = { body: FILES.mp3 };
    await expect(provider.send(stage.drop("/neuf.mp3"), signal)).rejects.toMatchObject({ name: "PermanentError" });
    expect(lists()).toBe(1);
    stage.fake.recordings.push({ name: "neuf", token: "tokNeuf" });
    now += 31_000;
    await provider.send(stage.drop("/neuf.mp3"), signal);
    expect(lists()).toBe(2);
    await provider.close?.();
  });

  test("a list that cannot be had proves that nothing was sent, and shows no key", async () => {
    const stage = await openStage();
    const provider = await voicePartnerAt(stage.fake.url);
    await stage.fake[Symbol.asyncDispose]();
    const error: unknown = await provider.send(stage.drop(), signal).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ name: "TransientError", delivery: "not_sent" });
    expect(inspect(error, { depth: 10, showHidden: true })).not.toContain(stage.fake.apiKey);
    await provider.close?.();
    await stage[Symbol.asyncDispose]();
  });

  test("a wrong key pauses the sender", async () => {
    await using stage = await openStage();
    const provider = await voicePartnerAt(stage.fake.url, { VOICEPARTNER_API_KEY: "wrong" });
    await expect(provider.send(stage.drop(), signal)).rejects.toMatchObject({
      name: "RateLimitedError",
      code: "voicepartner_10",
      scope: "sender",
    });
    await provider.close?.();
  });
});

describe("whose turn it is", () => {
  const admitted = async (stage: Stage, request = stage.drop()) => {
    const provider = await voicePartnerAt(stage.fake.url);
    const admission = await provider.admit?.(request, signal);
    await provider.close?.();
    return admission;
  };

  test("five a minute are a little more than twelve seconds apart, whoever sends them", async () => {
    await using stage = await openStage();
    const { pace } = await voicePartnerAt(stage.fake.url);
    expect(1_000 / pace!.max).toBeCloseTo(12_200);
    expect(pace!.senderOf("+33612345678")).toBe(pace!.senderOf(undefined));
    expect(await admitted(stage)).toEqual({ verdict: "go" });
    expect(stage.fake.asked).toEqual([]);
  });

  test("a text is skipped, because speaking it would ring the phone", async () => {
    await using stage = await openStage();
    const admission = await admitted(stage, { ...stage.drop(), content: { text: "Bonjour" } });
    expect(admission).toMatchObject({ verdict: "skip", code: "voicepartner_no_speech" });
  });

  test("what cannot be sent anyway takes nobody's turn", async () => {
    await using stage = await openStage();
    stage.files.files["/offre.mp3"] = { type: "text/html", body: FILES.html };
    expect(await admitted(stage)).toEqual({ verdict: "go", unpaced: true });
  });
});

describe("VoicePartner's variables", () => {
  const schema = z.object(voicePartnerProvider.env);
  const complete = { VOICEPARTNER_API_KEY: "k", VOICEPARTNER_EMAIL: "ops@example.com" };
  const configured = (given: Record<string, string>) => {
    const result = voicePartnerProvider.configured(schema.parse(given));
    return Array.isArray(result) ? result.map(({ pointer }) => pointer) : result;
  };

  test.each([
    [complete, "present"],
    [{ ...complete, VOICEPARTNER_SENDER: "+33612345678" }, "present"],
    [{}, "absent"],
    [{ VOICEPARTNER_REQUESTS_PER_MINUTE: "10", VOICEPARTNER_TIMEOUT_MS: "5000" }, "absent"],
    [{ VOICEPARTNER_API_KEY: "k" }, ["VOICEPARTNER_EMAIL"]],
    [{ VOICEPARTNER_SENDER: "0612345678" }, ["VOICEPARTNER_API_KEY", "VOICEPARTNER_EMAIL", "VOICEPARTNER_SENDER"]],
    [{ ...complete, VOICEPARTNER_EMAIL: "ops" }, ["VOICEPARTNER_EMAIL"]],
  ])("%j is %j", (given, expected) => expect(configured(given)).toEqual(expected));

  test("the pace is what VoicePartner allows, unless said otherwise", () => {
    expect(schema.parse({})).toMatchObject({ VOICEPARTNER_REQUESTS_PER_MINUTE: 5 });
    expect(VOICEPARTNER_VALUES.VOICEPARTNER_REQUESTS_PER_MINUTE).toBe(5);
  });
});
