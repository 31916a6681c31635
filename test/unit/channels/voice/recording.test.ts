import { describe, expect, test } from "vitest";
import { createRecordingCheck, type CheckRecording } from "../../../../src/channels/voice/recording.ts";
import type { Clock } from "../../../../src/core/clock.ts";
import { LOOPBACK, type ServedFile, startFileServer } from "../../../fakes/twilio-voice/file-server.ts";
import { FILES } from "../../../helpers/media-files.ts";

const WAV = Buffer.from("RIFF\x24\0\0\0WAVEfmt ", "latin1");
const AIFF = Buffer.from("FORM\0\0\0\x2eAIFFCOMM", "latin1");

function handClock(): Clock & { advance(ms: number): void } {
  let now = Date.UTC(2026, 10, 22);
  return { now: () => now, monotonic: () => now, advance: (ms) => void (now += ms) };
}

const checkWith = (clock: Clock = handClock()): CheckRecording =>
  createRecordingCheck({ provider: "test", clock, policy: LOOPBACK, timeouts: { totalMs: 1_000, idleMs: 300 } });

const codeOf = (check: Promise<void>): Promise<unknown> =>
  check.then(
    () => "good",
    (error: unknown) => error,
  );

describe("what an audioUrl leads to", () => {
  test.each<[string, ServedFile]>([
    ["an MP3 with tags", { type: "audio/mpeg", body: FILES.mp3 }],
    ["an MP3 without", { type: "audio/mpeg", body: FILES.mp3Frames }],
    ["a WAV", { type: "audio/x-wav", body: WAV }],
    ["a WAV with parameters in its type", { type: "Audio/WAV; codecs=1", body: WAV }],
    ["an AIFF", { type: "audio/aiff", body: AIFF }],
    ["u-law, which has no mark", { type: "audio/ulaw", body: Buffer.from([0x7f, 0xff, 0x7f]) }],
  ])("%s can be played", async (_, file) => {
    await using server = await startFileServer({ "/a": file });
    expect(await codeOf(checkWith()(`${server.url}/a`))).toBe("good");
  });

  test.each<[string, ServedFile, string]>([
    ["a page", { type: "text/html", body: FILES.html }, "audio_wrong_type"],
    ["a page under the type of a recording", { type: "audio/mpeg", body: FILES.html }, "audio_wrong_type"],
    ["a page as u-law", { type: "audio/ulaw", body: FILES.html }, "audio_wrong_type"],
    ["nothing", { type: "audio/mpeg", body: "" }, "audio_wrong_type"],
    ["an MP3 of no type", { type: "application/octet-stream", body: FILES.mp3 }, "audio_wrong_type"],
    ["a voice note of WhatsApp's", { type: "audio/ogg", body: FILES.opus }, "audio_wrong_type"],
    ["what is gone", { status: 404 }, "audio_gone"],
    ["what is forbidden", { status: 403 }, "audio_refused"],
    ["17 MiB", { body: Buffer.concat([FILES.mp3, Buffer.alloc(17 * 1024 * 1024)]) }, "audio_too_big"],
    ["itself, for ever", { status: 302, location: "/a" }, "audio_refused"],
    ["the cloud's metadata", { status: 302, location: "ftp://169.254.169.254/" }, "audio_not_allowed"],
  ])("%s is refused for good", async (_, file, code) => {
    await using server = await startFileServer({ "/a": file });
    const error = await codeOf(checkWith()(`${server.url}/a`));
    expect(error).toMatchObject({ name: "PermanentError", code, delivery: "not_sent", provider: "test" });
  });

  test.each<[string, ServedFile, string]>([
    ["a server in trouble", { status: 503 }, "audio_unreachable"],
    ["a server that says nothing", { silent: true }, "audio_timeout"],
  ])("%s may be better later, and nothing was sent", async (_, file, code) => {
    await using server = await startFileServer({ "/a": file });
    const error = await codeOf(checkWith()(`${server.url}/a`));
    expect(error).toMatchObject({ name: "TransientError", code, delivery: "not_sent" });
  });

  test.each([
    "http://127.0.0.1/offre.mp3",
    "http://10.1.2.3/offre.mp3",
    "http://[::1]/offre.mp3",
    "http://169.254.169.254/latest/meta-data",
    "http://localhost/offre.mp3",
    "https://user:secret@example.com/offre.mp3",
  ])("%s is never contacted", async (url) => {
    const check = createRecordingCheck({ provider: "test", clock: handClock() });
    expect(await codeOf(check(url))).toMatchObject({ name: "PermanentError", code: "audio_not_allowed" });
  });

  test("the words say what is wrong and what to give, and nothing of the path", async () => {
    await using server = await startFileServer({ "/secret-path": { type: "text/html", body: FILES.html } });
    const error = (await codeOf(checkWith()(`${server.url}/secret-path?token=x`))) as Error;
    expect(error.message).toContain("audioUrl");
    expect(error.message).not.toMatch(/secret-path|token/);
    server.files["/secret-path?token=x"] = server.files["/secret-path"]!;
    const wrong = (await codeOf(checkWith()(`${server.url}/secret-path?token=x`))) as Error;
    expect(wrong.message).toMatch(/text\/html.*Give an MP3 or WAV/);
    expect(wrong.message).not.toMatch(/secret-path|token/);
  });
});

describe("how often an audioUrl is asked for", () => {
  test("a good one once an hour", async () => {
    await using server = await startFileServer({ "/a": { body: FILES.mp3 } });
    const clock = handClock();
    const check = checkWith(clock);
    for (let i = 0; i < 5; i += 1) await check(`${server.url}/a`);
    clock.advance(3_599_000);
    await check(`${server.url}/a`);
    expect(server.hits).toEqual({ "/a": 1 });
    clock.advance(2_000);
    await check(`${server.url}/a`);
    expect(server.hits).toEqual({ "/a": 2 });
  });

  test("a wrong one once an hour as well, and then it may have become good", async () => {
    await using server = await startFileServer({ "/a": { type: "text/html", body: FILES.html } });
    const clock = handClock();
    const check = checkWith(clock);
    for (let i = 0; i < 3; i += 1)
      expect(await codeOf(check(`${server.url}/a`))).toMatchObject({ code: "audio_wrong_type" });
    expect(server.hits).toEqual({ "/a": 1 });
    server.files["/a"] = { body: FILES.mp3 };
    clock.advance(3_601_000);
    expect(await codeOf(check(`${server.url}/a`))).toBe("good");
  });

  test("one of which nothing could be said each time", async () => {
    await using server = await startFileServer({ "/a": { status: 503 } });
    const check = checkWith();
    expect(await codeOf(check(`${server.url}/a`))).toMatchObject({ code: "audio_unreachable" });
    server.files["/a"] = { body: FILES.mp3 };
    expect(await codeOf(check(`${server.url}/a`))).toBe("good");
  });

  test("a thousand messages at once cost one download, and one that gives up does not end it", async () => {
    await using server = await startFileServer({ "/a": { body: FILES.mp3 } });
    const check = checkWith();
    const controller = new AbortController();
    const first = codeOf(check(`${server.url}/a`, controller.signal));
    const others = Array.from({ length: 999 }, () => codeOf(check(`${server.url}/a`)));
    controller.abort();
    expect(await first).toMatchObject({ name: "TransientError", code: "audio_aborted", delivery: "not_sent" });
    expect(new Set(await Promise.all(others))).toEqual(new Set(["good"]));
    expect(server.hits).toEqual({ "/a": 1 });
  });
});
