import { expect, test } from "vitest";
import { createIsStop, isStart } from "../../../src/channels/stop-words.ts";

const isStop = createIsStop(["Basta", "🛑"]);

test.each([
  [
    "STOP",
    "« Stop ! »",
    "ＳＴＯＰ",
    "stop stop",
    "STOP 36111",
    "STOP au 36 180",
    "Stop SMS",
    "STOP PUB",
    "Stop svp",
    "stop, s’il vous plaît",
  ],
  ["Arrêtez", "arrêter", "arrêtez merci", "Désabonnement", "me désabonner", "se désinscrire", "désinscription"],
  // 47 CFR 64.1200(a)(10)
  [
    "quit",
    "End",
    "REVOKE",
    "opt out",
    "opt-out",
    "OPTOUT",
    "cancel",
    "Unsubscribe",
    "unsubscribe please",
    "Please stop",
  ],
  ["basta", "basta merci", "🛑"],
])("%s and the like → a stop", (...texts) => {
  expect(texts.filter((text) => !isStop(text))).toEqual([]);
});

test.each([
  [
    "Stop by tomorrow",
    "non stop",
    "stop aux frais",
    "STOP 75",
    "Je peux vous arrêter un prix",
    "oui",
    "merci",
    "",
    "👍",
  ],
  ["the end", "weekend", "cancel tomorrow's visit only", "réabonnement"],
])("%s and the like → no stop", (...texts) => {
  expect(texts.filter((text) => isStop(text))).toEqual([]);
});

test("START and the like → take a stop back, and an answer to a question does not", () => {
  const texts = ["Start", "UNSTOP", "Réabonnement", "me réabonner", "start 36111"];
  expect(texts.filter((text) => !isStart(text) || isStop(text))).toEqual([]);
  expect(["oui", "yes", "ok", "start tomorrow", ""].filter(isStart)).toEqual([]);
});
