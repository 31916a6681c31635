import { proto, type WAMessage, type WASocket } from "@whiskeysockets/baileys";
import { makeEventBuffer } from "@whiskeysockets/baileys/lib/Utils/event-buffer.js";
import { pino } from "pino";
import { expect, test } from "vitest";
import { listenInbound, type Incoming } from "../../../src/channels/whatsapp/providers/baileys/inbound-events.ts";

const { Status } = proto.WebMessageInfo;
const JID = "33612345678@s.whatsapp.net";
const LID = "123456789012345@lid";

/** Baileys' own event buffer, which folds what belongs together, and what we make of its events. */
function listening() {
  const ev = makeEventBuffer(pino({ enabled: false }));
  const incoming: Incoming[] = [];
  const statuses: string[] = [];
  listenInbound({ ev } as unknown as WASocket, {
    onIncoming: (message) => void incoming.push(message),
    onStatus: (id, status) => void statuses.push(`${id} ${status}`),
  });
  return { ev, incoming, statuses };
}

const own = (id: string, status: number): WAMessage => ({
  key: { remoteJid: JID, fromMe: true, id },
  message: { conversation: "Bonjour" },
  status,
  messageTimestamp: 1,
});
const theirs = (message: proto.IMessage, key: object = {}): WAMessage => ({
  key: { remoteJid: JID, fromMe: false, id: "3A1", ...key },
  message,
  messageTimestamp: 1_795_000_000,
});

test("a status that comes by itself → told", () => {
  const { ev, statuses } = listening();
  const key = { remoteJid: JID, fromMe: true, id: "A" };
  ev.emit("messages.update", [
    { key, update: { status: Status.DELIVERY_ACK } },
    { key, update: { status: Status.READ } },
    { key, update: { status: Status.PLAYED } },
    { key, update: { status: Status.ERROR } },
    { key, update: { status: Status.SERVER_ACK } },
    { key, update: { pollUpdates: [] } },
    { key: { ...key, fromMe: false }, update: { status: Status.READ } },
  ]);
  expect(statuses).toEqual(["A delivered", "A read", "A read", "A failed"]);
});

test("a status that Baileys folds into an upsert of type append → told", () => {
  const { ev, statuses } = listening();
  ev.buffer();
  ev.emit("messages.upsert", { messages: [own("A", Status.SERVER_ACK)], type: "append" });
  ev.emit("messages.update", [{ key: { remoteJid: JID, fromMe: true, id: "A" }, update: { status: Status.READ } }]);
  const updates: unknown[] = [];
  ev.on("messages.update", (update) => void updates.push(update));
  ev.flush();
  // It came folded, and in no other way.
  expect(updates).toEqual([]);
  expect(statuses).toEqual(["A read"]);
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
