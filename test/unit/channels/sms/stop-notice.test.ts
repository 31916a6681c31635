import { describe, expect, test } from "vitest";
import { countSegments } from "../../../../src/channels/sms/segments.ts";
import {
  DEFAULT_STOP_NOTICE,
  noticeFor,
  readStopNotices,
  type StopNotices,
} from "../../../../src/channels/sms/stop-notice.ts";

const notices = (value: string): StopNotices => readStopNotices(value) as StopNotices;
const FRENCH = "Répondez STOP pour vous désabonner.";
const wanted = { country: "FR", notice: true as const, answerable: true };
const ask = (fields: object = {}, value = DEFAULT_STOP_NOTICE, text = "Bonjour") =>
  noticeFor(text, { ...wanted, ...fields }, notices(value));
const find = (...given: Parameters<typeof ask>) => ask(...given).notice;

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
  const NAME = { answerable: false };
  test.each([
    ["words that name a number", NAME, "STOP au 36111", "Bonjour", { notice: "STOP au 36111" }],
    ["a text that names one", NAME, DEFAULT_STOP_NOTICE, "Bonjour. STOP au 36111", {}],
    ["a text with a link", NAME, DEFAULT_STOP_NOTICE, "Pour vous désabonner : https://example.com/d", {}],
    ["no notice, as somebody has decided", NAME, "none", "Bonjour", {}],
  ])("%s → can be followed, or nothing is to be said", (_, fields, value, text, answer) =>
    expect(ask(fields, value, text)).toEqual(answer),
  );

  test.each([
    ["the service's words", NAME, "Bonjour"],
    ["the account's own", { ...NAME, notice: "Répondez STOP" }, "Bonjour"],
    ["a text that asks for an answer", NAME, "Répondez STOP pour vous désabonner."],
  ])("%s, which nobody could follow → refused, saying what to do", (_, fields, text) =>
    expect(ask(fields, DEFAULT_STOP_NOTICE, text)).toEqual({ fault: expect.stringContaining("SMS_STOP_NOTICE") }),
  );
});

describe("a text that says it already", () => {
  test.each([
    "Votre bien nous plaît. STOP au 36111",
    "Promo ! STOP SMS au 36180",
    "stop 36111",
    "STOP=36111",
    "STOP SMS : 36180.",
    "Envoyez STOP au 36 111 Merci",
    "Pour ne plus rien recevoir, répondez « STOP ».",
    "Répondez par STOP",
    "Répondez STOP à ce message",
    "Répondez STOP\nAgence X",
    "Envoyez STOP",
    "Reply STOP to end",
    "STOP pour ne plus recevoir",
    "STOP to opt out",
    "Text stop.",
    "Pour vous désabonner : https://example.com/d",
    "Désinscription : example.com/d",
    "To unsubscribe, write to us",
    `Bonjour\n${FRENCH}`,
  ])("%s → nothing is put at its end", (text) => expect(ask({}, DEFAULT_STOP_NOTICE, text)).toEqual({}));

  test.each([
    "Service non-stop au 12 rue X",
    "Soldes NON STOP pour tous vos achats de rentrée !",
    "Ouvert NON STOP au 36111 rue X",
    "Dites stop aux frais d'agence",
    "Prochaine étape : stop aux impayés, appelez-nous.",
    "Prochaine étape : stop.",
    "Lisez notre texte : stop aux frais d'agence",
    "Répondez stop aux arnaques",
    "Text stop losing money",
    "On dit stop à 15000 € de frais !",
    "Stop au 35000 € de frais",
    "Stop à 10000 problèmes",
    "Prix en baisse, stop 75011 Paris, venez visiter",
    "stop 35000 Rennes",
    "Un opt-out de la hausse des prix",
    "Ne soyez plus désabonné de la vie : promo",
    "BUS STOP to let, prime advertising",
    "Un stop-motion",
    "L'arrêt STOP 4 m",
    "Bonjour",
  ])("%s → says nothing of the kind", (text) => expect(find({}, DEFAULT_STOP_NOTICE, text)).toBe(FRENCH));

  test("the account's own words → as words of their own, not within another", () => {
    const own = { notice: "Stop (36111)" };
    expect(ask(own, "none", "Bonjour. Stop (36111).")).toEqual({});
    expect(ask({ notice: "top" }, "none", "Prix stoppés")).toEqual({ notice: "top" });
    expect(ask({ notice: "Au revoir" }, "none", "Au revoirs")).toEqual({ notice: "Au revoir" });
  });
});
