import { describe, expect, test } from "vitest";
import { messageId, planChunk } from "../../../src/hunt/plan.ts";
import { CHANNELS } from "../../../src/modules.ts";
import type { Chunk } from "../../../src/store/store.ts";

const CHUNK: Chunk = {
  huntId: "hunt",
  accountId: "acc",
  expiresAt: "2031-01-01T00:00:00Z",
  defaultCountry: "FR",
  contacts: [],
};
const CONTACT = { adId: "ad", recipientPhone: "06 12 34 56 78", channel: "sms", message: "Bonjour" };
const channels = (on = true) => new Map(CHANNELS.map((channel) => [channel.name, { channel, on }]));

const plan = (contacts: object[], chunk: Partial<Chunk> = {}, on = true) =>
  planChunk({ ...CHUNK, ...chunk }, contacts as (typeof CONTACT)[], channels(on));

test("a good contact → a ledger row in E.164, with the channel's content", () => {
  expect(plan([{ ...CONTACT, senderPhone: "+33987654321" }])).toEqual([
    {
      id: messageId("hunt", CONTACT),
      accountId: "acc",
      huntId: "hunt",
      adId: "ad",
      copy: 0,
      channel: "sms",
      queue: "sms",
      recipient: "+33612345678",
      sender: "+33987654321",
      content: { text: "Bonjour" },
      expiresAt: "2031-01-01T00:00:00Z",
      skip: undefined,
      detail: undefined,
    },
  ]);
});

test("one number is one sender however it is written, in the account's country", () => {
  const senders = ["+33698765432", "+33 6 98 76 54 32", "06 98 76 54 32", "0698765432"];
  const rows = plan(senders.map((senderPhone, i) => ({ ...CONTACT, adId: `ad_${i}`, senderPhone })));
  expect(new Set(rows.map(({ sender }) => sender))).toEqual(new Set(["+33698765432"]));
  expect(plan([{ ...CONTACT, senderPhone: "0470 12 34 56" }], { defaultCountry: "BE" })[0]?.sender).toBe(
    "+32470123456",
  );
});

test("the same chunk planned again → the same rows", () => {
  const contacts = Array.from({ length: 20 }, (_, i) => ({ ...CONTACT, adId: `ad_${i}` }));
  expect(plan(contacts)).toEqual(plan(contacts));
});

describe("a message's id", () => {
  test("is a UUID that Postgres and zod take", () => {
    expect(messageId("hunt", CONTACT)).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test("differs by hunt, adId, channel and copy, and by where one ends and the next begins", () => {
    const ids = [
      messageId("hunt", CONTACT),
      messageId("hunt2", CONTACT),
      messageId("hunt", { ...CONTACT, adId: "ad2" }),
      messageId("hunt", { ...CONTACT, channel: "whatsapp_text" }),
      messageId("hunt", { ...CONTACT, copy: 1 }),
      messageId('hunt","ad', { ...CONTACT, adId: "" }),
      messageId("hunta", { ...CONTACT, adId: "d" }),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  test("does not follow from number or text, which may be mended in a later submission", () => {
    expect(messageId("hunt", { ...CONTACT, recipientPhone: "+14155550199", message: "Hi" })).toBe(
      messageId("hunt", CONTACT),
    );
  });
});

test("over several channels → names the messages of all of them, whichever it begins with and when it is skipped, too", () => {
  const both = { ...CONTACT, channel: "whatsapp_text", next: ["sms"] };
  const siblings = [messageId("hunt", both), messageId("hunt", CONTACT)];
  expect(plan([both])).toMatchObject([{ channel: "whatsapp_text", siblings, next: { channel: "sms" } }]);
  expect(plan([{ ...both, recipientPhone: "x" }])).toMatchObject([{ skip: "invalid_number", siblings }]);
  expect(plan([both], {}, false)).toMatchObject([{ skip: "channel_off", siblings }]);
  expect(plan([both])[0]?.next).not.toHaveProperty("siblings");
  expect(plan([CONTACT])[0]).not.toHaveProperty("siblings");
});

describe("who is skipped", () => {
  test.each([
    ["a number that cannot be dialled", { recipientPhone: "call me" }, true, "invalid_number"],
    ["a contact that the submission gave before", { copy: 1 }, true, "duplicate"],
    ["a channel that nobody carries", {}, false, "channel_off"],
    ["a channel that is gone since", { channel: "pigeon" }, true, "channel_off"],
    ["content that no longer fits", { message: "x".repeat(5000) }, true, "invalid_content"],
    ["a repeated contact with a bad number", { copy: 1, recipientPhone: "x" }, false, "duplicate"],
  ])("%s → skipped with a reason and words", (_, fields, on, skip) => {
    const [row] = plan([{ ...CONTACT, ...fields }], {}, on);
    expect(row).toMatchObject({ skip, detail: expect.stringMatching(/\w+ \w+/) });
  });

  test("an unusable number → is kept as it was given", () => {
    expect(plan([{ ...CONTACT, recipientPhone: "call me" }])[0]?.recipient).toBe("call me");
  });
});
