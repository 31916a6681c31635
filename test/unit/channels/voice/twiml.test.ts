import fc from "fast-check";
import twilio from "twilio";
import { describe, expect, test } from "vitest";
import { HANG_UP, leave, piecesOf, waitFor } from "../../../../src/channels/voice/providers/twilio-voice/twiml.ts";
import { readTwiml, type Verb } from "../../../fakes/twilio-voice/twiml.ts";

const LEA = { voice: "Polly.Lea", language: "fr-FR" };

const saidIn = (verbs: Verb[]): string => verbs.flatMap((verb) => (verb.verb === "Say" ? verb.text : [])).join(" ");
const words = (text: string): string => text.replaceAll(/\s+/g, "");

describe("what is said to a machine", () => {
  test("a text is spoken in French, then the call ends", () => {
    expect(readTwiml(leave({ text: "Bonjour, c'est Léa." }, LEA))).toEqual([
      { verb: "Say", text: "Bonjour, c'est Léa.", ...LEA },
      { verb: "Hangup" },
    ]);
  });

  test("a recording is played, whatever its address has in it", () => {
    const url = `https://cdn.example.com/a.mp3?x=1&y="2"&z='3'<>`;
    expect(readTwiml(leave({ audioUrl: url }, LEA))).toEqual([{ verb: "Play", url }, { verb: "Hangup" }]);
  });

  test.each([
    `</Say><Dial>+33899123456</Dial><Say>`,
    `"/><Redirect>https://evil.example</Redirect>`,
    `]]><Play>https://evil.example/a.mp3</Play><![CDATA[`,
    `<!ENTITY xxe SYSTEM "file:///etc/passwd">&xxe;`,
    `&lt;Hangup/&gt; &amp;amp; &#60;Hangup/&#62;`,
    `Prix : 3 < 5 & 7 > 2, l'offre "du jour"`,
    `<?xml version="1.0"?>--><!--`,
    `emoji 👩‍👩‍👧‍👦 und العربية`,
  ])("hostile text is only ever spoken: %s", (text) => {
    const verbs = readTwiml(leave({ text }, LEA));
    expect(verbs.map(({ verb }) => verb)).toEqual(["Say", "Hangup"]);
    expect(saidIn(verbs)).toBe(text);
  });

  test("the official SDK writes the same text down the same way, but for quotes, which it leaves", () => {
    const text = `</Say>&<Dial>"l'été"`;
    const response = new twilio.twiml.VoiceResponse();
    response.say({ voice: "Polly.Lea", language: "fr-FR" }, text);
    response.hangup();
    const plain = leave({ text }, LEA).replaceAll("&quot;", '"').replaceAll("&apos;", "'");
    expect(response.toString()).toBe(plain);
  });

  test("whatever the text, all of it is spoken and nothing else happens", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", minLength: 1, maxLength: 200 }),
      fc.string({ unit: fc.constantFrom("é", "<", "&", "'", ". ", " ", "\n", "😀", "a", "]]>"), maxLength: 3000 }),
    );
    fc.assert(
      fc.property(text, (given) => {
        const verbs = readTwiml(leave({ text: given }, LEA));
        expect(verbs.at(-1)).toEqual({ verb: "Hangup" });
        expect(verbs.slice(0, -1).every(({ verb }) => verb === "Say")).toBe(true);
        // XML has no words for control characters: they are spoken as a pause.
        const speakable = given
          .toWellFormed()
          .replaceAll(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, " ");
        expect(words(saidIn(verbs))).toBe(words(speakable));
      }),
      { numRuns: 300 },
    );
  });

  test("3000 characters with accents are spoken in pieces that Twilio takes, cut between sentences", () => {
    const sentence = "L'été dernier, à Évreux, la forêt était brûlée et la fenêtre fermée. ";
    const text = sentence.repeat(43).slice(0, 3000);
    const pieces = piecesOf(text);
    expect(pieces.length).toBeGreaterThan(1);
    for (const piece of pieces.slice(0, -1)) expect(piece).toMatch(/\.$/);
    expect(words(pieces.join(""))).toBe(words(text));
  });

  test("3000 characters without a space are cut between characters", () => {
    const pieces = piecesOf("😀".repeat(1500));
    expect(pieces.join("")).toBe("😀".repeat(1500));
  });
});

test("everybody else is hung up on", () => {
  expect(readTwiml(HANG_UP)).toEqual([{ verb: "Hangup" }]);
});

test("a message that cannot be read yet is come back for", () => {
  expect(readTwiml(waitFor("https://worker.example.com/x?waited=1&y=2", 2))).toEqual([
    { verb: "Pause", seconds: 2 },
    { verb: "Redirect", url: "https://worker.example.com/x?waited=1&y=2" },
  ]);
});
