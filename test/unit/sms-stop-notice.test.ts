import { describe, expect, test } from "vitest";
import { countSegments } from "../../src/channels/sms/segments.ts";
import {
  DEFAULT_STOP_NOTICE,
  noticeFor,
  readStopNotices,
  type StopNotices,
} from "../../src/channels/sms/stop-notice.ts";

const notices = (value: string): StopNotices => readStopNotices(value) as StopNotices;
const FRENCH = "Répondez STOP pour vous désabonner.";
const wanted = { country: "FR", notice: true as const, answerable: true };
const find = (fields: object = {}, value = DEFAULT_STOP_NOTICE, text = "Bonjour") =>
  noticeFor(text, { ...wanted, ...fields }, notices(value));

describe("whose words", () => {
  test.each([
    ["France", { country: "FR" }, DEFAULT_STOP_NOTICE, FRENCH],
    ["a French territory", { country: "RE" }, DEFAULT_STOP_NOTICE, FRENCH],
    ["another country", { country: "DE" }, DEFAULT_STOP_NOTICE, "Reply STOP to opt out."],
    ["no country", { country: undefined }, DEFAULT_STOP_NOTICE, "Reply STOP to opt out."],
    ["one text for all", { country: "FR" }, " STOP au 36111 ", "STOP au 36111"],
    ["a country without words of its own, and none for others", { country: "DE" }, "FR=STOP au 36111", undefined],
    ["none", {}, "none", undefined],
    ["none for a country", {}, "Reply STOP; FR=none", undefined],
    ["the account's own", { notice: "STOP au 36180" }, "none", "STOP au 36180"],
  ])("%s", (_, fields, value, words) => expect(find(fields, value)).toBe(words));

  test("the defaults → are GSM-7", () => {
    for (const words of notices(DEFAULT_STOP_NOTICE).values()) expect(countSegments(words).encoding).toBe("GSM-7");
  });

  test.each(["", ";", "a;b", "FR=a;FR=b", "fr=a", "FRA=a", "FR=", `FR=${"a".repeat(161)}`])(
    "%j → refused in words",
    (value) => {
      expect(readStopNotices(value)).toEqual(expect.stringMatching(/\w+ \w+/));
    },
  );
});

describe("a sender that cannot be answered", () => {
  test("words that name a number → said; words that do not → not, as nobody could follow them", () => {
    expect(find({ answerable: false }, "STOP au 36111")).toBe("STOP au 36111");
    expect(find({ answerable: false })).toBeUndefined();
    expect(find({ answerable: false, notice: "Répondez STOP" })).toBeUndefined();
  });
});

describe("a text that says it already", () => {
  test.each([
    "Votre bien nous plaît. STOP au 36111",
    "Promo ! STOP SMS au 36180",
    "stop 36111",
    "Pour ne plus rien recevoir, répondez « STOP ».",
    "Répondez par STOP",
    "Envoyez STOP",
    "Reply STOP to end",
    "STOP pour ne plus recevoir",
    "Text stop.",
    "Pour vous désabonner : https://example.com/d",
    "To unsubscribe, write to us",
    `Bonjour\n${FRENCH}`,
  ])("%s → nothing is put at its end", (text) => expect(find({}, DEFAULT_STOP_NOTICE, text)).toBeUndefined());

  test.each([
    "Service non-stop au 12 rue X",
    "Dites stop aux frais d'agence",
    "Un stop-motion",
    "L'arrêt STOP 4 m",
    "Bonjour",
  ])("%s → says nothing of the kind", (text) => expect(find({}, DEFAULT_STOP_NOTICE, text)).toBe(FRENCH));
});
