import type { proto, WAMessage, WASocket } from "@whiskeysockets/baileys";
import { makeEventBuffer } from "@whiskeysockets/baileys/lib/Utils/event-buffer.js";
import { pino } from "pino";
import { expect, test } from "vitest";
import {
  listenIncoming,
  type Incoming,
} from "../../../../../src/channels/whatsapp/providers/baileys/inbound-events.ts";

const JID = "33612345678@s.whatsapp.net";
const LID = "123456789012345@lid";

/** Baileys' own event buffer, and what we make of its events. */
function listening() {
  const ev = makeEventBuffer(pino({ enabled: false }));
  const incoming: Incoming[] = [];
  listenIncoming({ ev } as unknown as WASocket, (message) => void incoming.push(message));
  return { ev, incoming };
}
const theirs = (message: proto.IMessage, key: object = {}): WAMessage => ({
  key: { remoteJid: JID, fromMe: false, id: "3A1", ...key },
  message,
  messageTimestamp: 1_795_000_000,
});

test("what the number itself wrote, on the phone → nobody's reply", () => {
  const { ev, incoming } = listening();
  ev.emit("messages.upsert", { messages: [theirs({ conversation: "STOP" }, { fromMe: true })], type: "append" });
  expect(incoming).toEqual([]);
});

test("a message by number, by LID, and by both → all addresses", () => {
  const { ev, incoming } = listening();
  const messages = [
    theirs({ conversation: "a" }),
    theirs({ conversation: "b" }, { remoteJid: LID, remoteJidAlt: JID }),
    theirs({ conversation: "c" }, { remoteJid: LID }),
  ];
  ev.emit("messages.upsert", { messages, type: "notify" });
  expect(incoming.map(({ pn, lid, text }) => [pn, lid, text])).toEqual([
    [JID, undefined, "a"],
    [JID, LID, "b"],
    [undefined, LID, "c"],
  ]);
  expect(incoming[0]?.at).toBe(1_795_000_000_000);
});

test.each<[string, proto.IMessage, string | undefined]>([
  ["a text with a preview", { extendedTextMessage: { text: "voir" } }, "voir"],
  ["a caption", { imageMessage: { caption: "ici" } }, "ici"],
  ["a picture without one", { imageMessage: {} }, "[image]"],
  ["a recording", { audioMessage: { seconds: 3 } }, "[audio]"],
  ["a vanishing text", { ephemeralMessage: { message: { conversation: "psst" } } }, "psst"],
  [
    "a picture to be seen once",
    { viewOnceMessageV2: { message: { imageMessage: { caption: "une fois" } } } },
    "une fois",
  ],
  ["a reaction", { reactionMessage: { text: "👍" } }, "👍"],
  ["what phones tell each other", { protocolMessage: { type: 3 } }, undefined],
  ["a group's key", { senderKeyDistributionMessage: { groupId: "g" } }, undefined],
])("%s → %o as %o", (_, message, text) => {
  const { ev, incoming } = listening();
  ev.emit("messages.upsert", { messages: [theirs(message)], type: "notify" });
  expect(incoming.map((one) => one.text)).toEqual(text === undefined ? [] : [text]);
});

test.each(["120363000000000000@g.us", "status@broadcast", "120363000000000000@newsletter"])(
  "what is written in %s → nobody's reply",
  (remoteJid) => {
    const { ev, incoming } = listening();
    ev.emit("messages.upsert", { messages: [theirs({ conversation: "STOP" }, { remoteJid })], type: "notify" });
    expect(incoming).toEqual([]);
  },
);

test("what is quoted is told, wherever it stands", () => {
  const { ev, incoming } = listening();
  const contextInfo = { stanzaId: "3EB0" };
  const messages = [
    theirs({ extendedTextMessage: { text: "oui", contextInfo } }),
    theirs({ imageMessage: { caption: "là", contextInfo } }),
    theirs({ conversation: "non" }),
  ];
  ev.emit("messages.upsert", { messages, type: "notify" });
  expect(incoming.map(({ quotes }) => quotes)).toEqual(["3EB0", "3EB0", undefined]);
});
