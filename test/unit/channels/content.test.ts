import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Channel, ContentInput } from "../../../src/channels/channel.ts";
import { smsChannel } from "../../../src/channels/sms/sms.channel.ts";
import { voiceChannel } from "../../../src/channels/voice/voice.channel.ts";
import { whatsappChannel } from "../../../src/channels/whatsapp/whatsapp.channel.ts";

const CHANNELS: [Channel, number][] = [
  [smsChannel, 1600],
  [whatsappChannel, 4096],
  [voiceChannel, 3000],
];

const faultsOf = (channel: Channel, input: ContentInput) => {
  const result = channel.contentOf(input);
  return "faults" in result ? result.faults : [];
};

describe.each(CHANNELS)("content of $name", (channel, limit) => {
  const texts: [string, unknown, boolean][] = [
    ["one character", "a", true],
    ["the longest text", "é".repeat(limit), true],
    ["a character too many", "é".repeat(limit + 1), false],
    ["emoji up to the limit, two units each", "🚲".repeat(limit / 2), true],
    ["an emoji over the limit", `${"🚲".repeat(limit / 2)}🚲`, false],
    ["blanks around a word, which are kept", " bonjour\n", true],
    ["nothing", "", false],
    ["only blanks", " \n\t ", false],
    ["a NUL, which Postgres cannot store", "bon\0jour", false],
    ["half a surrogate pair, which Postgres cannot store", "bon\ud83djour", false],
    ["a number in place of a text", 42, false],
    ["null", null, false],
  ];

  test.each(texts)("%s: contentOf and the schema say the same", (_, text, valid) => {
    const faults = [{ pointer: "/message", detail: expect.stringMatching(/\w+ \w+/) }];
    expect(channel.contentOf({ message: text as string })).toEqual(valid ? { content: { text } } : { faults });
    expect(channel.content.safeParse({ text }).success).toBe(valid);
  });

  test("a contact without a message is a fault", () => {
    expect(faultsOf(channel, {})).toMatchObject([{ pointer: "/message" }]);
  });

  test("the schema refuses fields that are not its own", () => {
    expect(channel.content.safeParse({ text: "bonjour", extra: 1 }).success).toBe(false);
  });

  test("the example of the single send is valid and makes content", () => {
    const body = z.object(channel.single.fields).parse(channel.single.example);
    expect(channel.single.check?.(body) ?? []).toEqual([]);
    expect(faultsOf(channel, channel.single.input(body))).toEqual([]);
  });

  test("a fault of a single send's text is told once, in words", () => {
    const field = channel === voiceChannel ? "text" : "message";
    const { error } = z.object(channel.single.fields).safeParse({ [field]: "a".repeat(limit + 1) });
    expect(error?.issues).toMatchObject([
      { path: [field], message: `The message has ${limit + 1} characters; at most ${limit} are allowed.` },
    ]);
  });
});

describe("a recording for ringless voice", () => {
  test.each([
    ["https://cdn.example.com/a.mp3", true],
    ["http://cdn.example.com/a.mp3?x=1", true],
    ["ftp://cdn.example.com/a.mp3", false],
    ["javascript:alert(1)", false],
    ["file:///etc/passwd", false],
    ["cdn.example.com/a.mp3", false],
    ["http://10.0.0.1/a.mp3", false],
    ["https://user:secret@cdn.example.com/a.mp3", false],
    ["https://cdn.example.com:8443/a.mp3", true],
    ["https://cdn.example.com:25/a.mp3", false],
    ["", false],
    [`https://cdn.example.com/${"a".repeat(2048)}`, false],
    ["https://cdn.example.com/\0", false],
  ])("%j: contentOf and the schema say the same (%s)", (audioUrl, valid) => {
    const faults = [{ pointer: "/audioUrl", detail: expect.stringMatching(/\w+ \w+/) }];
    expect(voiceChannel.contentOf({ audioUrl })).toEqual(valid ? { content: { audioUrl } } : { faults });
    expect(voiceChannel.content.safeParse({ audioUrl }).success).toBe(valid);
  });

  test("takes the place of the contact's message", () => {
    const audioUrl = "https://cdn.example.com/a.mp3";
    expect(voiceChannel.contentOf({ message: "for the other channels", audioUrl })).toEqual({ content: { audioUrl } });
  });

  test.each([
    [{}, ["Give a text to speak or an audioUrl to play."]],
    [{ text: "a", audioUrl: "https://a.example/b" }, ["Give text or audioUrl, not both."]],
    [{ text: "a" }, []],
    [{ audioUrl: "https://a.example/b" }, []],
  ])("a single send of %j has these faults: %j", (body, details) => {
    expect(voiceChannel.single.check?.(body).map(({ detail }) => detail)).toEqual(details);
  });

  test("a job holds a text or a recording, never both", () => {
    const both = { text: "a", audioUrl: "https://a.example/b" };
    expect(voiceChannel.content.safeParse(both).success).toBe(false);
  });
});
