import { expect, test } from "vitest";
import type { Fault } from "../../../src/core/problem.ts";
import { contactSchema } from "../../../src/hunt/contact.schema.ts";
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

test("fields that nobody knows → refused, with all others that are wrong, and the contact is not taken", async () => {
  const wrong = contact({ sendat: "2031-01-01T09:00", copy: 7, "a/b": {}, adId: "" });
  expect(await read([wrong, contact()])).toEqual({
    contacts: [expect.objectContaining({ adId: "ad", channel: "sms" })],
    pointers: ["/contacts/0/adId", "/contacts/0/sendat", "/contacts/0/copy", "/contacts/0/a~1b"],
  });
});

test("what a channel takes of a contact is a field of contacts", () => {
  const known = Object.keys(contactSchema(channels).shape);
  expect(known).toEqual(expect.arrayContaining(CHANNELS.flatMap(({ single }) => single.inHunts ?? [])));
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
