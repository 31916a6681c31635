import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { tmpdir } from "node:os";
import { Readable } from "node:stream";
import { generateWAMessageContent, type AnyMessageContent, type proto } from "@whiskeysockets/baileys";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import type { MediaKind } from "../../../../src/channels/media.ts";
import { contents, type WhatsAppMessage } from "../../../../src/channels/whatsapp/content.ts";
import { opusSeconds } from "../../../../src/channels/whatsapp/providers/baileys/opus.ts";
import { toBaileys } from "../../../../src/channels/whatsapp/providers/baileys/to-baileys.ts";
import { vcardOf } from "../../../../src/channels/whatsapp/providers/baileys/vcard.ts";
import type { OpenMedia } from "../../../../src/channels/whatsapp/open-media.ts";
import { PermanentError, TransientError } from "../../../../src/core/errors.ts";
import { FILES, opusOf } from "../../../helpers/media-files.ts";

const media = { url: "https://cdn.example.com/a" };
const reader = { accountId: "acc" };

/** Hands out one file, and remembers for what it was asked. */
function opener(bytes: Buffer, contentType: string, fileName?: string) {
  const asked: { kind: MediaKind; accountId: string | undefined }[] = [];
  const openMedia: OpenMedia = async (_source, kind, { accountId }) => {
    asked.push({ kind, accountId });
    return { stream: Readable.from([bytes.subarray(0, 5), bytes.subarray(5)]), contentType, fileName };
  };
  return { asked, openMedia };
}

/** What leaves for WhatsApp, by Baileys' own hand. */
async function prepared(content: AnyMessageContent) {
  const uploaded: Buffer[] = [];
  const written: string[] = [];
  const message: proto.IMessage = await generateWAMessageContent(content, {
    async upload(path) {
      written.push(...readdirSync(temporary));
      uploaded.push(await readFile(path));
      return { mediaUrl: "https://mmg.whatsapp.net/x", directPath: "/x" };
    },
  });
  return { message, uploaded, written };
}

async function sent(message: WhatsAppMessage, file = opener(FILES.jpeg, "image/jpeg")) {
  expect(contents[message.channel].safeParse(message.content).success).toBe(true);
  const { content } = await toBaileys(message, { openMedia: file.openMedia, ...reader });
  const result = await prepared(content);
  // A second file would be the original, for thumbnails and lengths.
  expect(result.written).toHaveLength(result.uploaded.length);
  return result;
}

/** A folder with programs that leave a trace when they are run, and one for what Baileys writes. */
let folder: string;
let temporary: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "programs-"));
  temporary = mkdtempSync(join(tmpdir(), "baileys-"));
  writeFileSync(join(folder, "ffmpeg"), `#!/bin/sh\ntouch ${folder}/was-run\n`, { mode: 0o755 });
  vi.stubEnv("PATH", `${folder}:${process.env["PATH"]}`);
  vi.stubEnv("TMPDIR", temporary);
  vi.stubGlobal("fetch", () => expect.fail("Baileys fetched something"));
});
afterAll(() => {
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  for (const each of [folder, temporary]) rmSync(each, { recursive: true });
});

describe("what Baileys makes of each channel", () => {
  test("a text with a link → the text, and no look at the link", async () => {
    const { message } = await sent({ channel: "whatsapp_text", content: { text: "Voir http://127.0.0.1/ ici" } });
    expect(message.extendedTextMessage?.text).toBe("Voir http://127.0.0.1/ ici");
    expect(message.extendedTextMessage?.matchedText ?? "").toBe("");
    const { content } = await toBaileys(
      { channel: "whatsapp_text", content: { text: "https://example.com" } },
      { openMedia: opener(FILES.jpeg, "image/jpeg").openMedia, ...reader },
    );
    const getUrlInfo = vi.fn<() => Promise<undefined>>(async () => undefined);
    await generateWAMessageContent(content, { getUrlInfo, upload: () => expect.fail("uploaded") });
    expect(getUrlInfo).not.toHaveBeenCalled();
  });

  test("a picture → its bytes, encrypted, with type and caption, and no thumbnail", async () => {
    const file = opener(FILES.png, "image/png");
    const { message, uploaded } = await sent(
      { channel: "whatsapp_image", content: { media, caption: "La façade" } },
      file,
    );
    expect(file.asked).toEqual([{ kind: "image", accountId: "acc" }]);
    expect(message.imageMessage).toMatchObject({ mimetype: "image/png", caption: "La façade" });
    expect(Number(message.imageMessage?.fileLength)).toBe(FILES.png.length);
    expect(Object.hasOwn(message.imageMessage ?? {}, "jpegThumbnail")).toBe(false);
    expect(uploaded).toHaveLength(1);
    expect(uploaded[0]?.includes(FILES.png)).toBe(false);
  });

  test("a video → its bytes, and no ffmpeg in a shell", async () => {
    const { message } = await sent({ channel: "whatsapp_video", content: { media } }, opener(FILES.mp4, "video/mp4"));
    expect(message.videoMessage).toMatchObject({ mimetype: "video/mp4" });
    expect(Object.hasOwn(message.videoMessage ?? {}, "jpegThumbnail")).toBe(false);
    expect(readdirSync(folder)).toEqual(["ffmpeg"]);
  });

  test("the programs that leave a trace → do so when Baileys is left to itself", async () => {
    const { written } = await prepared({ video: { stream: Readable.from([FILES.mp4]) } });
    expect(written).toHaveLength(2);
    expect(readdirSync(folder)).toContain("was-run");
  });

  test("a recording → as an audio file", async () => {
    const { message } = await sent({ channel: "whatsapp_audio", content: { media } }, opener(FILES.mp3, "audio/mpeg"));
    expect(message.audioMessage).toMatchObject({ mimetype: "audio/mpeg" });
    expect(message.audioMessage?.ptt ?? false).toBe(false);
  });

  test("a voice note → as one, with its length", async () => {
    const voice: WhatsAppMessage = { channel: "whatsapp_audio", content: { media, voiceNote: true } };
    const { message } = await sent(voice, opener(FILES.opus, "audio/ogg"));
    expect(message.audioMessage).toMatchObject({ mimetype: "audio/ogg; codecs=opus", ptt: true, seconds: 3 });
    expect(Number(message.audioMessage?.fileLength)).toBe(FILES.opus.length);
    expect(Object.hasOwn(message.audioMessage ?? {}, "waveform")).toBe(false);
  });

  test.each([
    ["MP3", FILES.mp3, "audio/mpeg"],
    ["Ogg without Opus", Buffer.from("OggS and something else"), "audio/ogg"],
  ])("a voice note of %s → refused for good", async (_, bytes, type) => {
    const voice: WhatsAppMessage = { channel: "whatsapp_audio", content: { media, voiceNote: true } };
    const failing = sent(voice, opener(bytes, type));
    await expect(failing).rejects.toThrow(PermanentError);
    await expect(failing).rejects.toMatchObject({ code: "media_wrong_type", provider: "baileys" });
  });

  test.each([
    ["its own", "Mon plan.pdf", "upload.pdf", "Mon plan.pdf"],
    ["the upload's", undefined, "upload.pdf", "upload.pdf"],
    ["neither", undefined, undefined, "document.pdf"],
  ])("a document with a name: %s", async (_, fileName, uploadName, shown) => {
    const file = opener(FILES.pdf, "application/pdf", uploadName);
    const { message } = await sent(
      { channel: "whatsapp_document", content: { media, caption: "Le plan", fileName } },
      file,
    );
    expect(message.documentMessage).toMatchObject({
      fileName: shown,
      caption: "Le plan",
      mimetype: "application/pdf",
    });
  });

  test("a place → coordinates, name and address", async () => {
    const content = { latitude: -33.5, longitude: 0, name: "Agence", address: "1, rue du Port" };
    const { message } = await sent({ channel: "whatsapp_location", content });
    expect(message.locationMessage).toMatchObject({
      degreesLatitude: -33.5,
      degreesLongitude: 0,
      name: "Agence",
      address: "1, rue du Port",
    });
  });

  test("a contact → a card", async () => {
    const { message } = await sent({ channel: "whatsapp_contact", content: { name: "Agence", phone: "+33145678901" } });
    expect(message.contactMessage).toMatchObject({ displayName: "Agence" });
    expect(message.contactMessage?.vcard?.split("\n")).toEqual([
      "BEGIN:VCARD",
      "VERSION:3.0",
      "FN:Agence",
      "N:;Agence;;;",
      "TEL;type=CELL;type=VOICE;waid=33145678901:+33145678901",
      "END:VCARD",
    ]);
  });

  test.each([
    [undefined, "pollCreationMessageV3", 1],
    [true, "pollCreationMessage", 0],
  ] as const)("a poll, several answers: %s → %s", async (multipleAnswers, name, selectableOptionsCount) => {
    const { message } = await sent({
      channel: "whatsapp_poll",
      content: { question: "Quand ?", options: ["Ce soir", "Demain"], multipleAnswers },
    });
    expect(message[name]).toMatchObject({
      name: "Quand ?",
      selectableOptionsCount,
      options: [{ optionName: "Ce soir" }, { optionName: "Demain" }],
    });
  });
});

test("a name that means to add lines to its card → stays a name", () => {
  const lines = vcardOf("Zoé;X,Y\\Z\r\nTEL:+33600000000", "+33145678901").split("\n");
  expect(lines).toHaveLength(6);
  expect(lines[2]).toBe(String.raw`FN:Zoé\;X\,Y\\Z TEL:+33600000000`);
});

test.each([
  [opusOf(312), 1],
  [opusOf(48_000 * 61 + 312), 61],
  [opusOf(-1), 1],
  [opusOf(Number.MAX_SAFE_INTEGER), 86_400],
  [Buffer.concat([FILES.opus, Buffer.from("OggS")]), undefined],
  [Buffer.from("OggS"), undefined],
  [Buffer.from("OpusHead"), undefined],
  [Buffer.from("OggSOpusHead"), undefined],
  [FILES.mp3, undefined],
  [Buffer.alloc(0), undefined],
])("the length of an Opus file, %# → %i", (file, seconds) => {
  expect(opusSeconds(file)).toBe(seconds);
});

test("a file that cannot be opened → the very error, and Baileys is not asked", async () => {
  const error = new TransientError("away", { code: "media_timeout", provider: "baileys", delivery: "not_sent" });
  const openMedia = () => Promise.reject(error);
  for (const channel of ["whatsapp_image", "whatsapp_video", "whatsapp_audio", "whatsapp_document"] as const)
    await expect(toBaileys({ channel, content: { media } }, { openMedia, ...reader })).rejects.toBe(error);
});

test("a file that breaks off while Baileys reads it → the very error", async () => {
  const error = new TransientError("broke", { code: "media_unreachable", provider: "baileys", delivery: "not_sent" });
  const openMedia: OpenMedia = async () => ({
    stream: Readable.from(
      (async function* () {
        yield FILES.jpeg;
        throw error;
      })(),
    ),
    contentType: "image/jpeg",
    fileName: undefined,
  });
  const { content } = await toBaileys({ channel: "whatsapp_image", content: { media } }, { openMedia, ...reader });
  await expect(prepared(content)).rejects.toBe(error);
});

test("after all that → no file is left behind", () => {
  expect(readdirSync(temporary)).toEqual([]);
});
