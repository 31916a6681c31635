import { expect, test } from "vitest";
import type { Fault } from "../../../src/core/problem.ts";
import { readContacts } from "../../../src/hunt/contacts.ts";
import { CHANNELS } from "../../../src/modules.ts";

const channels = new Map(CHANNELS.map((channel) => [channel.name, channel]));
const contact = (fields: object = {}) => ({
  adId: "ad",
  recipientPhone: "0612345678",
  channel: "sms",
  message: "Bonjour",
  ...fields,
});

async function read(raw: unknown[]) {
  const faults: Fault[] = [];
  const contacts = await readContacts(raw, channels, faults);
  return { contacts, pointers: faults.map(({ pointer }) => pointer) };
}

test("the same adId on the same channel → numbered copies; on another channel → none", async () => {
  const whatsapp = contact({ channel: "whatsapp_text" });
  const { contacts } = await read([contact(), contact(), whatsapp, contact({ adId: "other" }), contact()]);
  expect(contacts.map(({ copy }) => copy)).toEqual([undefined, 1, undefined, undefined, 2]);
});

test("the same adId with several channels, in whatever order → numbered copies", async () => {
  const ways = (...channels: string[]) => contact({ channel: undefined, channels });
  const { contacts } = await read([
    ways("sms", "whatsapp_text"),
    ways("whatsapp_text", "sms"),
    contact({ channel: "ringless_voice" }),
    ways("whatsapp_text", "ringless_voice"),
    contact(),
    ways("whatsapp_text", "sms"),
  ]);
  expect(contacts.map(({ channel, copy = 0 }) => [channel, copy])).toEqual([
    ["sms", 0],
    ["whatsapp_text", 1],
    ["ringless_voice", 0],
    ["whatsapp_text", 2],
    ["sms", 1],
    ["whatsapp_text", 3],
  ]);
});

test("a contact → only the fields that we know", async () => {
  const { contacts } = await read([contact({ colour: "red", copy: 7, nested: {} })]);
  expect(Object.keys(contacts[0] ?? {}).toSorted()).toEqual([
    "adId",
    "audioUrl",
    "channel",
    "message",
    "recipientPhone",
    "senderPhone",
  ]);
});

test("null in an optional field → as if it were not there", async () => {
  const { contacts, pointers } = await read([contact({ senderPhone: null, audioUrl: null })]);
  expect([contacts.length, pointers]).toEqual([1, []]);
});

test("faults in the first and in the last of 10,001 contacts → both, in order", async () => {
  const raw = Array.from({ length: 10_001 }, (_, i) =>
    i % 10_000 ? contact({ adId: `ad_${i}` }) : contact({ adId: "" }),
  );
  expect((await read(raw)).pointers).toEqual(["/contacts/0/adId", "/contacts/10000/adId"]);
});

test("10,000 contacts → timers and other work get their turn in between", async () => {
  let turns = 0;
  let isRead = false;
  const count = (): void => {
    turns += 1;
    if (!isRead) setImmediate(count);
  };
  setImmediate(count);
  await read(Array.from({ length: 10_000 }, (_, i) => contact({ adId: `ad_${i}` })));
  isRead = true;
  expect(turns).toBeGreaterThanOrEqual(4);
});
