import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { huntId, messageOf, messagesOf, phone as recipient, run, settles } from "../helpers/hunts.ts";
import { openWorld, type TestService, type World } from "../helpers/service.ts";
import {
  openFakeWhatsApp,
  pairedAccount,
  sendText,
  sessionOf,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
let service: TestService;
/** The account and the number that most tests send from. */
let accountId: string;
let sender: string;
let sessionId: string;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  service = await world.start(whatsappEnvironment(fake, { STOP_WORDS: "basta, Lâchez-moi" }));
  ({ accountId, phone: sender, id: sessionId } = await pairedAccount(world, service, fake));
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

let last = 3000;
const person = (): string => recipient((last += 1));

/** A text that has arrived; `id` is WhatsApp's. */
async function delivered(to: string, message = "Bonjour") {
  const messageId = await sendText(service, accountId, to, message);
  await settles(service, messageId, "delivered");
  return { messageId, id: whatsappIdOf(messageId) };
}

const repliesFrom = async (phone: string): Promise<{ text: string; message_id: string | null; account_id: string }[]> =>
  (await world.sql.query("select text, message_id, account_id from replies where phone = $1 order by at, id", [phone]))
    .rows;

const eventsOf = async (messageId: string): Promise<string[]> =>
  (await world.sql.query("select kind from message_events where message_id = $1 order by id", [messageId])).rows.map(
    ({ kind }) => kind,
  );

const stopsOf = async (phone: string): Promise<{ account_id: string | null; reason: string }[]> =>
  (await world.sql.query("select account_id, reason from suppressions where phone = $1", [phone])).rows;

/** Texts that somebody got, in order. */
const textsTo = (phone: string): (string | undefined)[] =>
  fake.messages.filter(({ to }) => to === phone).map(({ text }) => text);

const CONFIRMATION = "C'est noté, nous ne vous écrirons plus.";

test("sent, delivered, read; a receipt that comes late, or again, takes nothing back", async () => {
  fake.autoReceipts({ kind: "none" });
  try {
    const to = person();
    const messageId = await sendText(service, accountId, to);
    await settles(service, messageId, "sent");
    const id = whatsappIdOf(messageId);
    fake.receipt(id, "delivered");
    await settles(service, messageId, "delivered");
    fake.receipt(id, "read", { byLid: true });
    await settles(service, messageId, "read");
    fake.receipt(id, "delivered");
    fake.receipt(id, "read");
    await fake.waitFor(() => fake.undelivered(sender) === 0);
    // Receipts are written in order: when this one is there, so are those before it.
    const after = await sendText(service, accountId, to);
    await settles(service, after, "sent");
    fake.receipt(whatsappIdOf(after), "delivered");
    await settles(service, after, "delivered");
    expect((await messageOf(service, messageId)).status).toBe("read");
    expect((await eventsOf(messageId)).filter((kind) => kind === "delivered" || kind === "read")).toEqual([
      "delivered",
      "read",
    ]);
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("read without delivered → read", async () => {
  fake.autoReceipts({ kind: "none" });
  try {
    const messageId = await sendText(service, accountId, person());
    await settles(service, messageId, "sent");
    fake.receipt(whatsappIdOf(messageId), "read");
    await settles(service, messageId, "read");
    expect(await eventsOf(messageId)).toEqual(["sent", "read"]);
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("the receipt comes, the server's ack never → delivered, and not given to WhatsApp again", async () => {
  const to = person();
  fake.onSend({ to, outcome: "silent", times: 1 });
  const messageId = await sendText(service, accountId, to);
  expect(await settles(service, messageId, "delivered")).toMatchObject({ providerMessageId: whatsappIdOf(messageId) });
  expect(await eventsOf(messageId)).toEqual(["sent", "delivered"]);
  expect(fake.messages.filter((message) => message.to === to)).toMatchObject([{ relays: 1 }]);
});

test("a hunt's contact answers → the reply is stored, its lead has replied", async () => {
  const to = person();
  const adId = `ad_${randomUUID()}`;
  const hunt = huntId();
  await run(service, {
    huntId: hunt,
    accountId,
    contacts: [{ adId, recipientPhone: to, channel: "whatsapp_text", message: "Toujours disponible ?" }],
  });
  const [message] = await messagesOf(service, hunt);
  await fake.reply(to, sender, "Oui, passez quand vous voulez");
  await expect
    .poll(() => repliesFrom(to))
    .toEqual([{ text: "Oui, passez quand vous voulez", message_id: message.messageId, account_id: accountId }]);
  const lead = "select stage from leads where account_id = $1 and ad_id = $2";
  expect((await world.sql.query(lead, [accountId, adId])).rows).toEqual([{ stage: "replied" }]);
  expect(await eventsOf(message.messageId)).toContain("reply");
  expect(await stopsOf(to)).toEqual([]);
  await fake.waitFor(() => fake.undelivered(sender) === 0);
});

test("a reply that quotes → belongs to the message it quotes, not to the last one", async () => {
  const to = person();
  const first = await delivered(to, "un");
  const second = await delivered(to, "deux");
  await fake.reply(to, sender, "à propos du premier", { quotedId: first.id });
  await expect.poll(() => repliesFrom(to)).toMatchObject([{ message_id: first.messageId }]);
  await fake.reply(to, sender, "sans citer");
  await expect
    .poll(async () => (await repliesFrom(to)).map(({ message_id }) => message_id))
    .toContain(second.messageId);
});

test("a reply by LID, with the number beside it and without it → found all the same", async () => {
  const to = person();
  const { messageId } = await delivered(to);
  await fake.reply(to, sender, "avec", { byLid: true });
  await expect.poll(() => repliesFrom(to)).toMatchObject([{ text: "avec", message_id: messageId }]);
  const other = person();
  const { messageId: otherId } = await delivered(other);
  await fake.reply(other, sender, "sans", { hidesPhone: true });
  await expect.poll(() => repliesFrom(other)).toEqual([{ text: "sans", message_id: otherId, account_id: accountId }]);
});

test("STOP by LID only → the number that was written to is suppressed", async () => {
  const to = person();
  await delivered(to);
  await fake.reply(to, sender, "STOP", { hidesPhone: true });
  await expect.poll(() => stopsOf(to)).toEqual([{ account_id: accountId, reason: "stop" }]);
});

test("WhatsApp knows a number under other digits (Brazil) → the reply and its STOP count for those that were dialled", async () => {
  const [dialled, registered] = ["+5511987650001", "+551187650001"];
  fake.alias(dialled, registered);
  const messageId = await sendText(service, accountId, dialled);
  await settles(service, messageId, "delivered");
  expect(textsTo(registered)).toEqual(["Bonjour"]);
  await fake.reply(registered, sender, "Stop");
  await expect.poll(() => repliesFrom(dialled)).toMatchObject([{ text: "Stop", message_id: messageId }]);
  await expect.poll(() => stopsOf(dialled)).toHaveLength(1);
  const again = await sendText(service, accountId, dialled, "encore");
  expect(await settles(service, again, "skipped")).toMatchObject({ reason: "suppressed" });
});

test.for(
  ["STOP", "stop.", "Arrêtez !", "désinscrire", "Unsubscribe", "Basta", "lachez moi", "STOP\0"].map((word) => ({
    word,
  })),
)("%j → no more over any channel of the account, confirmed once", async ({ word }) => {
  const to = person();
  await delivered(to);
  await fake.reply(to, sender, word.replace("lachez moi", "Lâchez-moi"));
  await expect.poll(() => textsTo(to)).toEqual(["Bonjour", CONFIRMATION]);
  expect(await stopsOf(to)).toEqual([{ account_id: accountId, reason: "stop" }]);
  const whatsapp = await sendText(service, accountId, to, "encore");
  expect(await settles(service, whatsapp, "skipped")).toMatchObject({ reason: "suppressed" });
  const sms = await service.post("/api/phone/sms", { accountId, recipientPhone: to, message: "encore" });
  expect(await settles(service, sms.body.messageId, "skipped")).toMatchObject({ reason: "suppressed" });
  await fake.reply(to, sender, word);
  await expect.poll(async () => (await repliesFrom(to)).length).toBe(2);
  // The answer to somebody else's first stop comes after whatever the second would have had.
  const next = person();
  await fake.reply(next, sender, "stop");
  await expect.poll(() => textsTo(next)).toEqual([CONFIRMATION]);
  expect(textsTo(to)).toEqual(["Bonjour", CONFIRMATION]);
});

test("a sentence with the word in it is no STOP", async () => {
  const to = person();
  await delivered(to);
  await fake.reply(to, sender, "Le bus ne stoppe pas ici, mais passez");
  await expect.poll(async () => (await repliesFrom(to)).length).toBe(1);
  expect(await stopsOf(to)).toEqual([]);
});

test("a message that comes twice is one reply, and one event, whatever its sender's client has put into its id", async () => {
  const to = person();
  const { messageId } = await delivered(to);
  const id = await fake.reply(to, sender, "une fois", { id: `3A\0${messageId}` });
  await expect.poll(async () => (await repliesFrom(to)).length).toBe(1);
  await fake.repeat(id, sender);
  await fake.reply(to, sender, "la suivante");
  await expect.poll(async () => (await repliesFrom(to)).map(({ text }) => text)).toContain("la suivante");
  expect((await repliesFrom(to)).map(({ text }) => text)).toEqual(["une fois", "la suivante"]);
  expect((await eventsOf(messageId)).filter((kind) => kind === "reply")).toHaveLength(2);
});

test("a message that cannot be decrypted → said in the log, asked for again, and there once it has come", async () => {
  const to = person();
  const { messageId } = await delivered(to);
  const id = await fake.undecryptable(to, sender, "enfin lisible");
  await expect.poll(() => repliesFrom(to)).toMatchObject([{ text: "enfin lisible", message_id: messageId }]);
  expect(service.logs).toContainEqual(
    expect.objectContaining({
      level: 40,
      sessionId,
      whatsappId: id,
      msg: expect.stringContaining("could not be decrypted"),
    }),
  );
  expect(fake.receiptsFromClient).toContainEqual(expect.objectContaining({ id, type: "retry" }));
  expect((await eventsOf(messageId)).filter((kind) => kind === "reply")).toHaveLength(1);
});

test("a message that can never be decrypted is there all the same, without its text", async () => {
  const to = person();
  const { messageId } = await delivered(to);
  await fake.undecryptable(to, sender);
  await expect.poll(() => repliesFrom(to)).toMatchObject([{ text: "", message_id: messageId }]);
});

test("what came while the service was down → replies, receipts and a STOP, at the next login", async () => {
  await using own = await openWorld();
  fake.autoReceipts({ kind: "none" });
  try {
    const first = await own.start(whatsappEnvironment(fake));
    const session = await pairedAccount(own, first, fake);
    const [a, b] = [person(), person()];
    const messageId = await sendText(first, session.accountId, a);
    await settles(first, messageId, "sent");
    await first.stop();
    fake.receipt(whatsappIdOf(messageId), "read");
    await fake.reply(a, session.phone, "pendant l'arrêt");
    await fake.reply(b, session.phone, "STOP");
    const second = await own.start(whatsappEnvironment(fake));
    await untilState(second, session.id, "open");
    await settles(second, messageId, "read");
    const replies = "select text, message_id from replies where phone = $1";
    await expect
      .poll(async () => (await own.sql.query(replies, [a])).rows)
      .toEqual([{ text: "pendant l'arrêt", message_id: messageId }]);
    await expect
      .poll(async () => (await own.sql.query("select 1 from suppressions where phone = $1", [b])).rowCount)
      .toBe(1);
    await expect.poll(() => textsTo(b)).toEqual([CONFIRMATION]);
    await fake.waitFor(() => fake.undelivered(session.phone) === 0);
    expect((await sessionOf(second, session.id)).state).toBe("open");
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("pictures, places and reactions are replies too, in words", async () => {
  const to = person();
  await delivered(to);
  await fake.send(to, sender, { locationMessage: { degreesLatitude: 48.85, degreesLongitude: 2.29 } });
  await expect.poll(async () => (await repliesFrom(to)).map(({ text }) => text)).toEqual(["[location]"]);
  await fake.send(to, sender, { imageMessage: { caption: "la façade", mimetype: "image/jpeg" } });
  await expect.poll(async () => (await repliesFrom(to)).map(({ text }) => text)).toEqual(["[location]", "la façade"]);
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
