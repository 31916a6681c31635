import fc from "fast-check";
import calculator from "sms-segments-calculator";
import { describe, expect, test } from "vitest";
import { countSegments } from "../../../../src/channels/sms/segments.ts";
import { transliterate } from "../../../../src/channels/sms/transliterate.ts";

const BASIC =
  "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà";
const EXTENDED = "^{}\\[~]|€";
/** One code point is one character in each of these: the calculator keeps clusters of several together, see below. */
const UNICODE = "êçâëîïôûœÀÈ’“”«»—…中я🚲🏠😀";

const from = (characters: string) => fc.constantFrom(...Array.from(characters));
const text = fc.oneof(
  fc.string({ unit: from(BASIC), maxLength: 700 }),
  fc.string({ unit: from(BASIC + EXTENDED.repeat(8)), maxLength: 700 }),
  fc.string({ unit: from(UNICODE + BASIC), maxLength: 400 }),
  // About the borders, where counting goes wrong.
  fc
    .tuple(fc.constantFrom(152, 153, 159, 160, 304, 305, 306, 458, 459), from(EXTENDED), fc.nat(3))
    .map(([length, character, more]) => "a".repeat(length) + character + "b".repeat(more)),
  fc
    .tuple(fc.constantFrom(65, 66, 67, 68, 69, 70, 132, 133, 134, 200, 201), from("🚲ê"), fc.nat(3))
    .map(([length, character, more]) => `ê${"a".repeat(length - 1)}${character}${"b".repeat(more)}`),
);

describe("segments", () => {
  test("any text → counted as Twilio's own calculator counts it", () => {
    fc.assert(
      fc.property(text, (message) => {
        const theirs = new calculator.SegmentedMessage(message);
        const ours = countSegments(message);
        expect({ encoding: ours.encoding, segments: message === "" ? 1 : ours.segments }).toEqual({
          encoding: theirs.encodingName,
          segments: theirs.segmentsCount,
        });
        if (ours.encoding === "GSM-7") expect(ours.characters).toBe(theirs.numberOfCharacters);
      }),
      { numRuns: 3000, seed: 20_261_122 },
    );
  });

  test("characters of several code points → never fewer than Twilio's calculator says, but for what it keeps together", () => {
    const clusters = fc.string({ unit: fc.constantFrom("👨‍👩‍👧", "e\u0301", "a", "🇫🇷", "👍🏽"), maxLength: 120 });
    fc.assert(
      fc.property(clusters, (message) => {
        const theirs = new calculator.SegmentedMessage(message).segmentsCount;
        const { segments, encoding } = countSegments(message);
        if (encoding === "GSM-7") expect(segments).toBe(theirs);
        // A cluster that does not fit moves on whole there: at most one character of 8 units a segment is lost.
        expect(theirs - segments).toBeGreaterThanOrEqual(0);
        expect(theirs - segments).toBeLessThanOrEqual(Math.ceil(segments / 6) + 1);
      }),
      { numRuns: 500, seed: 20_261_122 },
    );
  });

  test.each([
    ["the longest single one", "a".repeat(160), "GSM-7", 1, 160, 160],
    ["one more", "a".repeat(161), "GSM-7", 2, 161, 153],
    ["two full ones", "a".repeat(306), "GSM-7", 2, 306, 153],
    ["one more than two", "a".repeat(307), "GSM-7", 3, 307, 153],
    ["80 euros", "€".repeat(80), "GSM-7", 1, 160, 160],
    ["81 euros", "€".repeat(81), "GSM-7", 2, 162, 153],
    [
      "a euro across the border, which is not torn apart",
      `${"a".repeat(152)}€${"a".repeat(152)}`,
      "GSM-7",
      3,
      306,
      153,
    ],
    ["all two-septet characters", EXTENDED, "GSM-7", 1, 18, 160],
    ["the French letters of GSM-7", "éèàùÇÉ", "GSM-7", 1, 6, 160],
    ["ê", "ê".repeat(70), "UCS-2", 1, 70, 70],
    ["one ê too many", "ê".repeat(71), "UCS-2", 2, 71, 67],
    ["a small ç, which GSM-7 has only as a capital", "ça", "UCS-2", 1, 2, 70],
    ["the typographic apostrophe", "l’annonce", "UCS-2", 1, 9, 70],
    ["œ", "cœur", "UCS-2", 1, 4, 70],
    ["À, while à is in GSM-7", "À bientôt", "UCS-2", 1, 9, 70],
    ["emoji, two units each", "🚲".repeat(35), "UCS-2", 1, 70, 70],
    ["an emoji across the border", `${"ê".repeat(66)}🚲${"ê".repeat(10)}`, "UCS-2", 2, 78, 67],
    ["line breaks of Windows", "a\r\nb", "GSM-7", 1, 4, 160],
  ])("%s", (_, message, encoding, segments, characters, perSegment) => {
    expect(countSegments(message)).toEqual({ encoding, segments, characters, perSegment });
  });
});

describe("transliteration", () => {
  test.each([
    ["l’été", "l'été"],
    ["« Bonjour »", '" Bonjour "'],
    [
      "Êtes-vous prêt ? Ça va, garçon, cœur, naïf, Noël, où, à, é, è, ù, À, È",
      "Etes-vous pret ? Ça va, garcon, coeur, naif, Noel, où, à, é, è, ù, A, E",
    ],
    ["120 m² à 350 000 € — n°4…", "120 m2 à 350 000 € - no4..."],
    ["e\u0301te\u0301", "été"],
    ["déjà en GSM", "déjà en GSM"],
    ["½ prix ﬁn", "1/2 prix fin"],
    ["Łódź, Đ", "Lodz, D"],
  ])("%s → %s", (given, wished) => {
    const result = transliterate(given);
    expect(result).toBe(wished);
    expect(countSegments(result).encoding).toBe("GSM-7");
  });

  test.each(["à bientôt 🚲", "中文", "ê中", "…🏠"])("%s, which has no likeness as a whole → as it is", (given) => {
    expect(transliterate(given)).toBe(given);
  });

  test("any text → GSM-7 or as it was, and never in more segments", () => {
    fc.assert(
      fc.property(fc.oneof(text, fc.string({ unit: "grapheme", maxLength: 300 })), (given) => {
        const result = transliterate(given);
        if (result === given) return;
        expect(countSegments(result).encoding).toBe("GSM-7");
        expect(countSegments(given).encoding).toBe("UCS-2");
        expect(transliterate(result)).toBe(result);
      }),
      { numRuns: 2000, seed: 20_261_122 },
    );
  });
});
