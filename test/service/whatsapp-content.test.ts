import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, huntId, messageOf, messagesOf, phone, settles, submit } from "../helpers/hunts.ts";
import { FILES } from "../helpers/media-files.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

const MEDIA_URL = "https://cdn.example.com/fichier?signature=abc";
const ID = "7f1c9c1e-7a55-4b55-9c53-0a6d0b3f1a51";
const url = { mediaUrl: MEDIA_URL };
const media = { url: MEDIA_URL };
const place = { latitude: 48.8584, longitude: 2.2945 };

/** Each kind of message: what is given, and what its job carries. */
const KINDS: [kind: string, given: Record<string, unknown>, content: Record<string, unknown>][] = [
  ["text", { message: "Bonjour", replyTo: ID }, { text: "Bonjour", replyTo: ID }],
  ["image", { ...url, message: "La façade" }, { media, caption: "La façade" }],
  ["image", { mediaId: ID }, { media: { mediaId: ID } }],
  ["video", { ...url, replyTo: "3EB0C767D82B" }, { media, replyTo: "3EB0C767D82B" }],
  ["audio", { ...url }, { media }],
  ["audio", { ...url, voiceNote: true }, { media, voiceNote: true }],
  [
    "document",
    { ...url, message: "Notre estimation", fileName: "Estimation n°4.pdf" },
    { media, caption: "Notre estimation", fileName: "Estimation n°4.pdf" },
  ],
  [
    "location",
    { ...place, placeName: "Agence", placeAddress: "5, avenue Anatole-France" },
    { ...place, name: "Agence", address: "5, avenue Anatole-France" },
  ],
  ["contact", { contactName: "Agence", contactPhone: "+33 1 45 67 89 01" }, { name: "Agence", phone: "+33145678901" }],
  [
    "poll",
    { question: "Quand ?", options: ["Ce soir", "Demain"], multipleAnswers: true },
    { question: "Quand ?", options: ["Ce soir", "Demain"], multipleAnswers: true },
  ],
];

const pointersOf = ({ body }: Answer): string[] => body.errors.map(({ pointer }: { pointer: string }) => pointer);

async function contentOf(messageId: string): Promise<unknown> {
  return (await world.sql.query("select content from messages where id = $1", [messageId])).rows[0].content;
}

describe("a single message over WhatsApp", () => {
  test.each(KINDS)("%s of %j → 202, delivered, with its content", async (kind, given, content) => {
    const answer = await service.post(`/api/whatsapp/${kind}`, { recipientPhone: phone(1), accountId, ...given });
    const { messageId } = answer.body;
    expect(answer).toMatchObject({ status: 202, body: { jobId: messageId, queue: "whatsapp" } });
    expect(answer.headers.get("location")).toBe(`/api/messages/${messageId}`);
    expect(await settles(service, messageId, "delivered")).toMatchObject({
      channel: `whatsapp_${kind}`,
      recipientPhone: phone(1),
      accountId,
      attempts: 1,
      provider: "sandbox",
      providerMessageId: expect.stringMatching(/^sandbox:whatsapp:/),
    });
    expect(await contentOf(messageId)).toEqual(content);
    expect(await service.get(`/api/jobs/whatsapp/${messageId}`)).toMatchObject({ body: { queue: "whatsapp" } });
  });

  test.each(KINDS)("%s of %j, asked for twice under one key → one message", async (kind, given) => {
    const body = { recipientPhone: phone(2), accountId, ...given };
    const headers = { "idempotency-key": randomUUID() };
    const [first, second] = [
      await service.post(`/api/whatsapp/${kind}`, body, headers),
      await service.post(`/api/whatsapp/${kind}`, body, headers),
    ];
    expect(second.body).toEqual(first.body);
  });

  test("what the sandbox refuses, limits or loses → the same for a picture as for a text", async () => {
    const send = async (recipientPhone: string) =>
      (await service.post("/api/whatsapp/image", { recipientPhone, ...url })).body.messageId as string;
    expect(await settles(service, await send("+33612340001"), "failed")).toMatchObject({ code: "sandbox_refused" });
    expect(await settles(service, await send("+33612340003"), "delivered")).toMatchObject({ attempts: 3 });
    expect(await settles(service, await send("+33612340004"), "unknown")).toMatchObject({ attempts: 1 });
  });

  test("somebody who wrote STOP to a text → gets no picture either", async () => {
    const own = await world.account();
    const recipientPhone = "+33612770006";
    await service.post("/api/whatsapp/text", { recipientPhone, accountId: own, message: "Bonjour" });
    const isSuppressed = async () =>
      (await world.sql.query("select 1 from suppressions where phone = $1", [recipientPhone])).rowCount;
    await expect.poll(isSuppressed).toBeGreaterThan(0);
    const { body } = await service.post("/api/whatsapp/image", { recipientPhone, accountId: own, ...url });
    expect(await settles(service, body.messageId, "skipped")).toMatchObject({ reason: "suppressed", attempts: 0 });
  });

  const WRONG: [kind: string, given: Record<string, unknown>, pointers: string[]][] = [
    ["text", { message: " ", replyTo: "" }, ["/message", "/replyTo"]],
    ["image", {}, ["/mediaUrl"]],
    ["image", { ...url, mediaId: ID }, ["/mediaUrl", "/accountId"]],
    ["image", { mediaId: ID }, ["/accountId"]],
    [
      "image",
      { mediaUrl: "ftp://a/b", mediaId: "5", message: "x".repeat(1025) },
      ["/mediaUrl", "/mediaId", "/message"],
    ],
    ["video", { mediaUrl: "http://169.254.169.254/latest/meta-data/" }, ["/mediaUrl"]],
    ["video", { mediaUrl: "http://[::ffff:127.0.0.1]/a" }, ["/mediaUrl"]],
    ["audio", { mediaUrl: "http://user:secret@cdn.example.com/", voiceNote: "yes" }, ["/mediaUrl", "/voiceNote"]],
    ["document", { ...url, fileName: "../../etc/passwd", message: "" }, ["/fileName", "/message"]],
    ["location", {}, ["/latitude", "/longitude"]],
    ["location", { latitude: 91, longitude: "2", placeName: "" }, ["/latitude", "/longitude", "/placeName"]],
    ["contact", { contactName: "", contactPhone: "0145678901" }, ["/contactName", "/contactPhone"]],
    ["poll", { question: "", options: ["Oui"] }, ["/question", "/options"]],
    ["poll", { question: "Oui ?", options: ["Oui", "Oui"], multipleAnswers: 1 }, ["/options", "/multipleAnswers"]],
    ["poll", { question: "x".repeat(256), options: Array(13).fill("a") }, ["/question", "/options"]],
  ];

  test.each(WRONG)("%s of %j → 400 with every fault: %j", async (kind, given, pointers) => {
    const count = "select count(*)::int as n from messages";
    const before = (await world.sql.query(count)).rows[0].n;
    const answer = await service.post(`/api/whatsapp/${kind}`, { recipientPhone: phone(3), ...given });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(pointersOf(answer).toSorted()).toEqual(pointers.toSorted());
    for (const { detail } of answer.body.errors) expect(detail).toMatch(/\w \w/);
    expect(JSON.stringify(answer.body)).not.toContain("secret");
    expect((await world.sql.query(count)).rows[0].n).toBe(before);
  });

  test("a wrong recipient and no file → both faults", async () => {
    const answer = await service.post("/api/whatsapp/image", { recipientPhone: "12" });
    expect(pointersOf(answer)).toEqual(["/recipientPhone", "/mediaUrl"]);
  });
});

describe("a hunt over WhatsApp", () => {
  test("of every kind of message → each delivered, with its content", async () => {
    const contacts = KINDS.map(([kind, given], i) =>
      contact({
        adId: `ad_${i}`,
        recipientPhone: phone(100 + i),
        channel: `whatsapp_${kind}`,
        message: null,
        ...given,
      }),
    );
    const { jobId, huntId: id } = await submit(service, { accountId, contacts });
    await finished(service, jobId);
    const messages = await messagesOf(service, id);
    expect(messages.map(({ channel }) => channel)).toEqual(KINDS.map(([kind]) => `whatsapp_${kind}`));
    for (const [i, { messageId }] of messages.entries()) {
      await settles(service, messageId, "delivered");
      expect(await contentOf(messageId)).toEqual(KINDS[i]?.[2]);
    }
  });

  test("the same advert over three kinds → three messages; over one twice → a duplicate", async () => {
    const common = { adId: "ad", recipientPhone: phone(200), message: "Bonjour", ...url, ...place };
    const kinds = ["text", "image", "location", "image"];
    const contacts = kinds.map((kind) => contact({ ...common, channel: `whatsapp_${kind}` }));
    const { jobId, huntId: id } = await submit(service, { accountId, contacts });
    await finished(service, jobId);
    expect((await messagesOf(service, id)).map(({ channel, reason }) => [channel, reason])).toEqual([
      ["whatsapp_text", null],
      ["whatsapp_image", null],
      ["whatsapp_location", null],
      ["whatsapp_image", "duplicate"],
    ]);
  });

  test("of an upload → accepted, planned and sent by its mediaId", async () => {
    const response = await fetch(`${service.url}/api/media?accountId=${accountId}`, {
      method: "POST",
      headers: { authorization: `Bearer ${SECRET}`, "content-type": "image/jpeg" },
      body: new Uint8Array(FILES.jpeg),
    });
    const { mediaId } = (await response.json()) as { mediaId: string };
    const contacts = Array.from({ length: 20 }, (_, i) =>
      contact({ recipientPhone: phone(300 + i), channel: "whatsapp_image", mediaId, message: `Annonce ${i}` }),
    );
    const { jobId, huntId: id } = await submit(service, { accountId, contacts });
    expect(await finished(service, jobId)).toMatchObject({ total: 20, counts: { failed: 0, skipped: 0, unknown: 0 } });
    const [first] = await messagesOf(service, id);
    expect(await contentOf(first.messageId)).toEqual({ media: { mediaId }, caption: "Annonce 0" });
    expect(await messageOf(service, first.messageId)).toMatchObject({ channel: "whatsapp_image" });
  });

  test("with faults in many contacts → all of them at once, nothing is taken", async () => {
    const contacts = [
      contact({ channel: "whatsapp_image", ...url }),
      contact({ channel: "whatsapp_image" }),
      contact({ channel: "whatsapp_video", mediaUrl: "http://localhost/a", message: "x".repeat(1025) }),
      contact({ channel: "whatsapp_document", mediaUrl: 5, fileName: "a/b" }),
      contact({ channel: "whatsapp_audio", ...url, mediaId: ID, voiceNote: 1 }),
      contact({ channel: "whatsapp_location", latitude: "48", longitude: 181 }),
      contact({ channel: "whatsapp_contact", contactName: "a\0", contactPhone: "12" }),
      contact({ channel: "whatsapp_poll", question: "?", options: ["a", "a"] }),
      contact({ channel: "whatsapp_text", replyTo: "a\ud800" }),
    ];
    const id = huntId();
    const answer = await service.post("/api/hunt/execute", { huntId: id, accountId, contacts });
    expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
    expect(pointersOf(answer).toSorted()).toEqual(
      [
        "/contacts/1/mediaUrl",
        "/contacts/2/mediaUrl",
        "/contacts/2/message",
        "/contacts/3/mediaUrl",
        "/contacts/3/fileName",
        "/contacts/4/mediaUrl",
        "/contacts/4/voiceNote",
        "/contacts/5/latitude",
        "/contacts/5/longitude",
        "/contacts/6/contactName",
        "/contacts/6/contactPhone",
        "/contacts/7/options",
        "/contacts/8/replyTo",
      ].toSorted(),
    );
    expect((await service.get(`/api/hunt/${id}/messages`)).status).toBe(404);
  });

  test("a text with fields of other kinds, whatever is in them → they are ignored", async () => {
    const strange = { mediaUrl: "http://localhost/\0", options: "x", latitude: "north", voiceNote: {}, fileName: "\0" };
    const { jobId, huntId: id } = await submit(service, {
      accountId,
      contacts: [contact({ channel: "whatsapp_text", recipientPhone: phone(400), ...strange })],
    });
    await finished(service, jobId);
    const [message] = await messagesOf(service, id);
    expect(await contentOf(message.messageId)).toEqual({ text: "Bonjour" });
  });
});

test("a job whose content was tampered with → not sent", async () => {
  await world.queue("whatsapp").pause();
  const { body } = await service.post("/api/whatsapp/image", { recipientPhone: phone(500), ...url });
  const job = await world.queue("whatsapp").getJob(body.messageId);
  await job?.updateData({ ...(job.data as object), content: { media: { url: "http://127.0.0.1/" } } });
  await world.queue("whatsapp").resume();
  expect(await settles(service, body.messageId, "failed")).toMatchObject({ attempts: 0, sentAt: null });
});
