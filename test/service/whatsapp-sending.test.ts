import { once } from "node:events";
import { createServer } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import type { SendRule } from "../fakes/whatsapp/rules.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import type { ReceivedMessage } from "../fakes/whatsapp/world.ts";
import { huntId, messageOf, messagesOf, phone as recipient, run, settles } from "../helpers/hunts.ts";
import { FILES } from "../helpers/media-files.ts";
import { contact, openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import {
  openFakeWhatsApp,
  pair,
  pairedAccount,
  sendText,
  sessionPhone,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let world: World;
let fake: FakeWhatsApp;
let service: TestService;
/** The account and the number that most tests send from. */
let accountId: string;
let sender: string;

/** An address of its own on loopback, as the port is one of the few that may be fetched from. */
const FILES_HOST = `127.${process.pid % 200}.${Math.floor(process.pid / 200) % 200}.17`;
const files = createServer(
  (_, response) => void response.writeHead(200, { "content-type": "image/jpeg" }).end(PICTURE),
);
/** Long enough to come in several pieces. */
const PICTURE = Buffer.concat([FILES.jpeg, Buffer.alloc(200_000, "jpeg ")]);

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  const lookup = async () => [{ address: FILES_HOST, family: 4 }];
  service = await world.start(whatsappEnvironment(fake), { fetchPolicy: { allowPrivate: true, lookup } });
  ({ accountId, phone: sender } = await pairedAccount(world, service, fake));
  files.listen(8080, FILES_HOST);
  await once(files, "listening");
});
afterAll(async () => {
  files.close();
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

let last = 4000;
const person = (): string => recipient((last += 1));

const takenBy = (to: string): ReceivedMessage[] => fake.messages.filter((message) => message.to === to);

/** A text to somebody new, of which WhatsApp makes what the rule says. */
async function under(rule: Omit<SendRule, "to">): Promise<{ to: string; messageId: string }> {
  const to = person();
  fake.onSend({ ...rule, to });
  return { to, messageId: await sendText(service, accountId, to) };
}

/** Sends one message of a kind that is to arrive; answers what the recipient's phone shows. */
async function arrives(kind: string, fields: object, to = person()): Promise<ReceivedMessage & { messageId: string }> {
  const answer = await service.post(`/api/whatsapp/${kind}`, { accountId, recipientPhone: to, ...fields });
  expect(answer).toMatchObject({ status: 202 });
  const { messageId } = answer.body;
  await settles(service, messageId, "delivered");
  const taken = fake.messages.find(({ id }) => id === whatsappIdOf(messageId));
  return { ...(taken as ReceivedMessage), messageId };
}

async function upload(bytes: Buffer, contentType: string, fileName = "fichier"): Promise<string> {
  const response = await fetch(`${service.url}/api/media?accountId=${accountId}&fileName=${fileName}`, {
    method: "POST",
    headers: { authorization: `Bearer ${SECRET}`, "content-type": contentType },
    body: new Uint8Array(bytes),
  });
  expect(response.status).toBe(201);
  return ((await response.json()) as { mediaId: string }).mediaId;
}

test.for([
  { error: 479, words: "WhatsApp does not accept this message from this device." },
  { error: 400, words: "WhatsApp refused the message (400)." },
])("the server refuses with $error → failed, in words, and given to it once", async ({ error, words }) => {
  const before = fake.stanzas;
  const { to, messageId } = await under({ outcome: { error } });
  const message = await settles(service, messageId, "failed");
  expect(message).toMatchObject({ code: `whatsapp_${error}`, detail: words, attempts: 1 });
  expect(takenBy(to)).toEqual([]);
  expect(fake.stanzas).toBe(before + 1);
});

test("the server says that it has a fault itself (500) → given to it once more under the same id", async () => {
  const { to, messageId } = await under({ outcome: { error: 500 }, times: 1 });
  await settles(service, messageId, "delivered");
  expect(takenBy(to)).toMatchObject([{ id: whatsappIdOf(messageId), relays: 1 }]);
});

test.for(["drop", "disconnect-before"] as const)(
  "%s: it is lost on its way → once more under the same id, and there once",
  async (outcome) => {
    const { to, messageId } = await under({ outcome, times: 1 });
    await settles(service, messageId, "delivered");
    expect(takenBy(to)).toMatchObject([{ id: whatsappIdOf(messageId), relays: 1, text: "Bonjour" }]);
  },
);

test("WhatsApp takes it and the connection is gone → the receipt at the next login tells, it is there once", async () => {
  const { to, messageId } = await under({ outcome: "accept-then-disconnect", times: 1 });
  await settles(service, messageId, "delivered");
  expect(takenBy(to)).toMatchObject([{ id: whatsappIdOf(messageId), text: "Bonjour" }]);
  expect(takenBy(to)[0]?.relays).toBeLessThanOrEqual(2);
});

test("no answer, no receipt → once more under the same id, then unknown, never a third time", async () => {
  fake.autoReceipts({ kind: "none" });
  try {
    const { to, messageId } = await under({ outcome: "silent" });
    const message = await settles(service, messageId, "unknown");
    expect(message.detail).toContain("may or may not have accepted it");
    expect(takenBy(to)).toMatchObject([{ id: whatsappIdOf(messageId), relays: 2 }]);
    const { body } = await service.get(`/api/messages?status=unknown&accountId=${accountId}`);
    expect(body.messages).toContainEqual(expect.objectContaining({ messageId }));
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("unknown, and hours later the phone that was off reports → delivered, nobody has to decide", async () => {
  fake.autoReceipts({ kind: "none" });
  try {
    const { messageId } = await under({ outcome: "silent" });
    await settles(service, messageId, "unknown");
    fake.receipt(whatsappIdOf(messageId), "delivered");
    expect(await settles(service, messageId, "delivered")).toMatchObject({ code: null, detail: null });
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("unknown, and a person has it sent again → under the same id, once on the phone, and its receipt counts", async () => {
  fake.autoReceipts({ kind: "none" });
  const { to, messageId } = await under({ outcome: "drop", times: 2 });
  try {
    await settles(service, messageId, "unknown");
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
  const resolved = await service.post(`/api/messages/${messageId}/resolve`, { as: "resend" });
  expect(resolved.status).toBeLessThan(300);
  await settles(service, messageId, "delivered");
  expect(takenBy(to)).toMatchObject([{ id: whatsappIdOf(messageId), relays: 1 }]);
});

test("WHATSAPP_RELAY_AGAIN=false: no answer, no receipt → unknown, given to WhatsApp once", async () => {
  await using own = await openWorld();
  const careful = await own.start(whatsappEnvironment(fake, { WHATSAPP_RELAY_AGAIN: "false" }));
  const session = await pairedAccount(own, careful, fake);
  fake.autoReceipts({ kind: "none" });
  try {
    const to = person();
    fake.onSend({ to, outcome: "silent" });
    const messageId = await sendText(careful, session.accountId, to);
    await settles(careful, messageId, "unknown");
    expect(takenBy(to)).toMatchObject([{ relays: 1 }]);
  } finally {
    fake.autoReceipts({ kind: "delivered" });
  }
});

test("a number that is not on WhatsApp → skipped, nothing was sent, and it is not asked about again", async () => {
  const to = person();
  fake.notOnWhatsApp(to);
  const before = fake.stanzas;
  const messageId = await sendText(service, accountId, to);
  expect(await settles(service, messageId, "skipped")).toMatchObject({
    reason: "not_on_whatsapp",
    detail: "This number is not on WhatsApp.",
    attempts: 0,
  });
  fake.notOnWhatsApp(to, false);
  expect(await settles(service, await sendText(service, accountId, to), "skipped")).toMatchObject({
    reason: "not_on_whatsapp",
  });
  expect(fake.stanzas).toBe(before);
  // A day later it is.
  await using later = await openWorld();
  const other = await later.start(whatsappEnvironment(fake));
  const session = await pairedAccount(later, other, fake);
  await later.sql.query(
    "insert into whatsapp_numbers (phone, checked_at) values ($1, now() - interval '25 hours'), ($2, now())",
    [to, recipient(4999)],
  );
  await settles(other, await sendText(other, session.accountId, to), "delivered");
  await settles(other, await sendText(other, session.accountId, recipient(4999)), "skipped");
});

test("a number that was found on WhatsApp → not asked about again, in this process or the next", async () => {
  const to = person();
  await settles(service, await sendText(service, accountId, to), "delivered");
  const { rows } = await world.sql.query("select jid, lid from whatsapp_numbers where phone = $1", [to]);
  expect(rows).toEqual([{ jid: `${to.slice(1)}@s.whatsapp.net`, lid: expect.stringMatching(/^\d+@lid$/) }]);
  await using own = await openWorld();
  const other = await own.start(whatsappEnvironment(fake));
  const session = await pairedAccount(own, other, fake);
  // Somebody else's address shows that the table is what is asked.
  const elsewhere = person();
  await own.sql.query("insert into whatsapp_numbers (phone, jid) values ($1, $2)", [
    to,
    `${elsewhere.slice(1)}@s.whatsapp.net`,
  ]);
  await settles(other, await sendText(other, session.accountId, to, "par la table"), "delivered");
  expect(takenBy(elsewhere)).toMatchObject([{ text: "par la table" }]);
});

test("strangers who are looked up together → each is reached where they are, whoever is not there or under other digits", async () => {
  const there = Array.from({ length: 6 }, () => person());
  const absent = person();
  const [dialled, registered] = ["+5511987650002", "+551187650002"];
  fake.notOnWhatsApp(absent);
  fake.alias(dialled, registered);
  const hunt = huntId();
  const contacts = [...there, absent, dialled].map((to) =>
    contact({ channel: "whatsapp_text", recipientPhone: to, message: `Pour ${to}` }),
  );
  await run(service, { huntId: hunt, accountId, contacts });
  const states = async (): Promise<string[]> =>
    (
      await world.sql.query<{ line: string }>(
        "select recipient || ' ' || status as line from messages where hunt_id = $1 order by 1",
        [hunt],
      )
    ).rows.map(({ line }) => line);
  await expect.poll(states).toEqual(
    [...there, dialled]
      .map((to) => `${to} delivered`)
      .concat(`${absent} skipped`)
      .toSorted(),
  );
  for (const to of there) expect(takenBy(to)).toMatchObject([{ text: `Pour ${to}`, undecryptable: 0 }]);
  expect(takenBy(registered)).toMatchObject([{ text: `Pour ${dialled}`, undecryptable: 0 }]);
  const { rows } = await world.sql.query(
    "select phone, jid, lid is not null as has_lid from whatsapp_numbers where phone = any($1) order by phone",
    [[absent, dialled]],
  );
  expect(rows).toEqual([
    { phone: absent, jid: null, has_lid: false },
    { phone: dialled, jid: `${registered.slice(1)}@s.whatsapp.net`, has_lid: true },
  ]);
});

test("a hunt of texts and pictures, by upload and by URL → each person gets theirs, byte for byte", async () => {
  const mediaId = await upload(FILES.png, "image/png");
  const [a, b, c] = [person(), person(), person()];
  const hunt = huntId();
  const accepted = await run(service, {
    huntId: hunt,
    accountId,
    contacts: [
      contact({ channel: "whatsapp_text", recipientPhone: a, message: "Bonjour A" }),
      contact({ channel: "whatsapp_image", recipientPhone: b, mediaId, message: "La façade" }),
      contact({ channel: "whatsapp_image", recipientPhone: c, mediaUrl: "http://cdn.example.com:8080/maison.jpg" }),
    ],
  });
  expect(accepted.accepted).toBe(3);
  await expect
    .poll(async () => (await messagesOf(service, hunt)).map(({ status }) => status))
    .toEqual(["delivered", "delivered", "delivered"]);
  expect(takenBy(a)).toMatchObject([{ text: "Bonjour A" }]);
  const [uploaded] = takenBy(b);
  expect(uploaded).toMatchObject({ text: "La façade", message: { imageMessage: { mimetype: "image/png" } } });
  expect(await fake.media.of(uploaded?.message ?? {})).toEqual(FILES.png);
  const [fetched] = takenBy(c);
  expect(fetched?.message?.imageMessage?.mimetype).toBe("image/jpeg");
  expect(await fake.media.of(fetched?.message ?? {})).toEqual(PICTURE);
});

test("a document, a recording and a voice note arrive as what they are", async () => {
  const pdf = await upload(FILES.pdf, "application/pdf", "interne.pdf");
  const document = await arrives("document", { mediaId: pdf, fileName: "Estimation n°4.pdf", message: "Voici" });
  expect(
    document.message?.documentMessage ?? document.message?.documentWithCaptionMessage?.message?.documentMessage,
  ).toMatchObject({
    fileName: "Estimation n°4.pdf",
    mimetype: "application/pdf",
    caption: "Voici",
  });
  const opus = await upload(FILES.opus, "audio/ogg");
  const recording = await arrives("audio", { mediaId: opus });
  expect(recording.message?.audioMessage?.ptt).not.toBe(true);
  const note = await arrives("audio", { mediaId: opus, voiceNote: true });
  expect(note.message?.audioMessage).toMatchObject({ ptt: true, seconds: 3, mimetype: "audio/ogg; codecs=opus" });
  expect(await fake.media.of(note.message ?? {})).toEqual(FILES.opus);
});

test("the media host refuses an upload → the message goes a little later, once", async () => {
  const mediaId = await upload(FILES.png, "image/png");
  fake.media.failNext = 2;
  const to = person();
  await arrives("image", { mediaId }, to);
  expect(takenBy(to)).toMatchObject([{ relays: 1 }]);
});

test("a place, a contact and a poll arrive as what they are", async () => {
  const place = await arrives("location", { latitude: 48.8584, longitude: 2.2945, placeName: "Agence" });
  expect(place.message?.locationMessage).toMatchObject({
    degreesLatitude: 48.8584,
    degreesLongitude: 2.2945,
    name: "Agence",
  });
  const card = await arrives("contact", { contactName: "Agence du Champ-de-Mars", contactPhone: "+33145678901" });
  expect(card.message?.contactMessage).toMatchObject({ displayName: "Agence du Champ-de-Mars" });
  expect(card.message?.contactMessage?.vcard).toContain("waid=33145678901");
  const poll = await arrives("poll", { question: "Quand ?", options: ["Le matin", "Le soir"] });
  const { pollCreationMessage, pollCreationMessageV3 } = poll.message ?? {};
  expect(pollCreationMessageV3 ?? pollCreationMessage).toMatchObject({
    name: "Quand ?",
    options: [{ optionName: "Le matin" }, { optionName: "Le soir" }],
    selectableOptionsCount: 1,
  });
});

test("an answer quotes one of ours by our id, and one of theirs by WhatsApp's", async () => {
  const to = person();
  const { messageId, id } = await arrives("text", { message: "Premier message" }, to);
  const own = await arrives("text", { message: "Je précise", replyTo: messageId }, to);
  expect(own.message?.extendedTextMessage?.contextInfo).toMatchObject({
    stanzaId: id,
    quotedMessage: { extendedTextMessage: { text: "Premier message" } },
  });
  const theirs = await fake.reply(to, sender, "Combien ?");
  const answer = await arrives("text", { message: "Dix", replyTo: theirs }, to);
  expect(answer.message?.extendedTextMessage?.contextInfo?.stanzaId).toBe(theirs);
});

test("an account without a session: refused at once; in a hunt failed, in words; sent when tried again after pairing", async () => {
  const lonely = await world.account();
  const to = person();
  const refused = await service.post("/api/whatsapp/text", {
    accountId: lonely,
    recipientPhone: to,
    message: "Bonjour",
  });
  expect(refused).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/accountId", detail: expect.stringContaining("no WhatsApp number") }] },
  });
  const nobody = await service.post("/api/whatsapp/text", { recipientPhone: to, message: "Bonjour" });
  expect(nobody).toMatchObject({ status: 400, body: { errors: [{ pointer: "/accountId" }] } });

  const hunt = huntId();
  await run(service, {
    huntId: hunt,
    accountId: lonely,
    contacts: [contact({ channel: "whatsapp_text", recipientPhone: to, message: "Bonjour" })],
  });
  const [message] = await messagesOf(service, hunt);
  expect(message).toMatchObject({
    status: "failed",
    code: "no_session",
    detail: "This account has no WhatsApp number. Pair one with POST /api/whatsapp/sessions.",
  });
  await pair(service, fake, lonely);
  const again = await service.post(`/api/jobs/whatsapp/${message.messageId}/retry`, {});
  expect(again.status).toBe(202);
  await settles(service, message.messageId, "delivered");
  expect(takenBy(to)).toMatchObject([{ relays: 1, text: "Bonjour" }]);
});

test("another account's number as sender, or one that nobody has paired → refused, and nothing leaves from it", async () => {
  const other = await pairedAccount(world, service, fake);
  const to = person();
  for (const senderPhone of [other.phone, sessionPhone()]) {
    const answer = await service.post("/api/whatsapp/text", {
      accountId,
      senderPhone,
      recipientPhone: to,
      message: "Bonjour",
    });
    expect(answer).toMatchObject({
      status: 400,
      body: { errors: [{ pointer: "/senderPhone", detail: expect.stringContaining("no such WhatsApp number") }] },
    });
  }
  const hunt = huntId();
  await run(service, {
    huntId: hunt,
    accountId,
    contacts: [contact({ channel: "whatsapp_text", senderPhone: other.phone, recipientPhone: to, message: "Bonjour" })],
  });
  expect(await messagesOf(service, hunt)).toMatchObject([{ status: "failed", code: "no_session" }]);
  expect(takenBy(to)).toEqual([]);
});

test("an account with two numbers: each leaves from the one that is named, and nobody hears from both", async () => {
  const own = await world.account();
  const [first, second] = [await pair(service, fake, own), await pair(service, fake, own)];
  const [a, b] = [person(), person()];
  for (const [to, { phone: senderPhone }] of [
    [a, first],
    [b, second],
  ] as const) {
    const { body } = await service.post("/api/whatsapp/text", {
      accountId: own,
      senderPhone,
      recipientPhone: to,
      message: "Bonjour",
    });
    await settles(service, body.messageId, "delivered");
    expect(takenBy(to)).toMatchObject([{ from: senderPhone }]);
  }
  const to = person();
  for (const text of ["un", "deux", "trois"])
    await settles(service, await sendText(service, own, to, text), "delivered");
  expect(new Set(takenBy(to).map(({ from }) => from)).size).toBe(1);
  expect((await messageOf(service, (await arrives("text", { message: "x" })).messageId)).provider).toBe("baileys");
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
