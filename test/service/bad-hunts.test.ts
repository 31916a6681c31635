import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone } from "../helpers/hunts.ts";
import { contact, openWorld, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

const submit = (fields: object, contacts: unknown): Promise<Answer> =>
  service.post("/api/hunt/execute", { huntId: huntId(), accountId, contacts, ...fields });

const pointers = (answer: Answer): string[] => answer.body.errors.map(({ pointer }: { pointer: string }) => pointer);

/** Whatever was refused left nothing in the ledger and no job. */
async function expectNothingTaken(): Promise<void> {
  const { rows } = await world.sql.query(
    "select (select count(*) from hunts) + (select count(*) from hunt_chunks) as n",
  );
  expect(rows[0].n).toBe("0");
  expect((await service.get("/api/queues/hunt/stats")).body).toMatchObject({
    waiting: 0,
    active: 0,
    completed: 0,
    failed: 0,
  });
}

test("every contact wrong in its own way → 400 with each fault by its pointer, nothing enqueued", async () => {
  const answer = await submit({}, [
    contact(),
    contact({ adId: "" }),
    contact({ adId: 5 }),
    contact({ adId: "x".repeat(201) }),
    contact({ recipientPhone: undefined }),
    contact({ recipientPhone: 33612345678 }),
    contact({ recipientPhone: "1".repeat(10_000) }),
    contact({ channel: "pigeon" }),
    contact({ channel: ["sms"] }),
    contact({ message: "" }),
    contact({ message: "  \n " }),
    contact({ message: "x".repeat(10_000) }),
    contact({ message: 12 }),
    contact({ message: null }),
    contact({ channel: "ringless_voice", audioUrl: "ftp://a.example/b.mp3" }),
    contact({ channel: "ringless_voice", audioUrl: "javascript:alert(1)" }),
    contact({ senderPhone: "" }),
    contact({ senderPhone: {} }),
    null,
    "contact",
    [contact()],
    42,
    {},
  ]);
  expect(answer).toMatchObject({ status: 400, body: { code: "invalid_request" } });
  expect(answer.headers.get("content-type")).toContain("application/problem+json");
  expect(pointers(answer)).toEqual([
    "/contacts/1/adId",
    "/contacts/2/adId",
    "/contacts/3/adId",
    "/contacts/4/recipientPhone",
    "/contacts/5/recipientPhone",
    "/contacts/6/recipientPhone",
    "/contacts/7/channel",
    "/contacts/8/channel",
    "/contacts/9/message",
    "/contacts/10/message",
    "/contacts/11/message",
    "/contacts/12/message",
    "/contacts/13/message",
    "/contacts/14/audioUrl",
    "/contacts/15/audioUrl",
    "/contacts/16/senderPhone",
    "/contacts/17/senderPhone",
    "/contacts/18",
    "/contacts/19",
    "/contacts/20",
    "/contacts/21",
    "/contacts/22/adId",
    "/contacts/22/recipientPhone",
    "/contacts/22/channel",
  ]);
  await expectNothingTaken();
});

test("faults in the head and in contacts → all in one answer", async () => {
  const answer = await submit({ huntId: "", accountId: 7, priority: "urgent", expiresAt: "tomorrow" }, [
    contact({ adId: "" }),
  ]);
  expect(answer.status).toBe(400);
  expect(pointers(answer).toSorted()).toEqual(["/accountId", "/contacts/0/adId", "/expiresAt", "/huntId", "/priority"]);
  await expectNothingTaken();
});

test("times that the ledger cannot hold → 400, wherever they stand", async () => {
  const far = "9999-12-31T23:59:59-23:59";
  expect(pointers(await submit({ expiresAt: far }, [contact()]))).toEqual(["/expiresAt"]);
  const old = "0000-01-01T00:00:00Z";
  expect(pointers(await submit({ sendAt: old }, [contact({ sendAt: old })]))).toEqual([
    "/sendAt",
    "/contacts/0/sendAt",
  ]);
  expect(pointers(await submit({ sendAt: "0099-01-01T09:00", timeZone: "Europe/Paris" }, [contact()]))).toEqual([
    "/sendAt",
  ]);
});

test.each([
  ["no contacts", []],
  ["contacts that are an object", { 0: contact() }],
  ["contacts that are a text", "everybody"],
  ["contacts that are null", null],
  ["contacts that are missing", undefined],
])("%s → 400 at /contacts", async (_, contacts) => {
  const answer = await submit({}, contacts);
  expect(answer.status).toBe(400);
  expect(pointers(answer)).toEqual(["/contacts"]);
});

test.each([
  ["null", "null"],
  ["a text", '"hunt"'],
  ["a number", "1"],
  ["a list", "[]"],
  ["a list of hunts", JSON.stringify([{ huntId: "h", accountId: "a", contacts: [] }])],
])("a body that is %s → 400", async (_, body) => {
  expect(await service.post("/api/hunt/execute", body)).toMatchObject({
    status: 400,
    body: { code: "invalid_request" },
  });
});

test.each([
  ["cut off", '{"huntId":"h","accountId":"a","contacts":[{"adId":"x"'],
  ["with a trailing comma", '{"huntId":"h",}'],
  ["in single quotes", "{'huntId':'h'}"],
  ["that is two values", "{}{}"],
  ["that is no JSON", "huntId=h"],
  ["that is blank", "   "],
])("JSON %s → 400 that says where, without repeating it", async (_, body) => {
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer).toMatchObject({ status: 400, body: { code: "malformed_json" } });
  expect(answer.body.detail).toMatch(/line 1|too early/);
});

test.each([
  ["__proto__ at the top", '{"__proto__":{"polluted":1},"huntId":"h","accountId":"a","contacts":[]}', "/__proto__"],
  ["constructor.prototype", '{"constructor":{"prototype":{"polluted":1}}}', "/constructor"],
  ["__proto__ in a contact", '{"contacts":[{"adId":"x","__proto__":{"polluted":1}}]}', "/contacts/0/__proto__"],
  ["an escaped __proto__", '{"contacts":[{"\\u005f_proto__":{"polluted":1}}]}', "/contacts/0/__proto__"],
])("%s → 400 by its pointer, no prototype is touched", async (_, body, pointer) => {
  const answer = await service.post("/api/hunt/execute", body);
  expect(answer.status).toBe(400);
  expect(pointers(answer)).toContain(pointer);
  expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
});

test("ids named like an object's own properties → are ordinary ids", async () => {
  const id = `__proto__${huntId()}`;
  const contacts = ["__proto__", "constructor", "toString"].map((adId, i) =>
    contact({ adId, recipientPhone: phone(i) }),
  );
  const answer = await submit({ huntId: id }, contacts);
  expect(answer.status).toBe(202);
  await finished(service, answer.body.jobId);
  expect((await messagesOf(service, id)).map(({ adId }) => adId)).toEqual(["__proto__", "constructor", "toString"]);
  await world.sql.query("truncate hunts, hunt_chunks, messages, leads cascade");
  await world.queue("hunt").obliterate({ force: true });
});

const NUL = "a\0b";
const HALF = "a\ud83d";

test.each([
  ["/contacts/0/adId", { contacts: [contact({ adId: NUL })] }],
  ["/contacts/0/adId", { contacts: [contact({ adId: HALF })] }],
  ["/contacts/0/recipientPhone", { contacts: [contact({ recipientPhone: NUL })] }],
  ["/contacts/0/recipientPhone", { contacts: [contact({ recipientPhone: HALF })] }],
  ["/contacts/0/message", { contacts: [contact({ message: NUL })] }],
  ["/contacts/0/message", { contacts: [contact({ message: HALF })] }],
  ["/contacts/0/senderPhone", { contacts: [contact({ senderPhone: NUL })] }],
  ["/contacts/0/senderPhone", { contacts: [contact({ senderPhone: HALF })] }],
  [
    "/contacts/0/message",
    { contacts: [contact({ channel: "ringless_voice", audioUrl: "https://a.example/b.mp3", message: HALF })] },
  ],
  ["/huntId", { huntId: NUL }],
  ["/huntId", { huntId: HALF }],
  ["/accountId", { accountId: NUL }],
  ["/accountId", { accountId: HALF }],
])("text that no database stores at %s (%#) → 400 by its pointer", async (pointer, fields) => {
  const answer = await submit({ contacts: [contact()], ...fields }, undefined);
  expect(answer.status).toBe(400);
  expect(pointers(answer)).toEqual([pointer]);
});

test("emoji, right-to-left, combining and unassigned characters → arrive as they were given", async () => {
  const adId = "🏠👩‍👩‍👧‍👦 שלום مرحبا é\u{e000}\u{10ffff}\u2028\u0001";
  const answer = await submit({}, [contact({ adId, message: adId, recipientPhone: phone(10) })]);
  expect(answer.status).toBe(202);
  await finished(service, answer.body.jobId);
  expect((await messagesOf(service, answer.body.huntId)).map((message) => message.adId)).toEqual([adId]);
  const { rows } = await world.sql.query("select content from messages where hunt_id = $1", [answer.body.huntId]);
  expect(rows[0].content).toEqual({ text: adId, segments: 1 });
});

test("numbers that cannot be dialled → are skipped with a reason in words, the hunt is taken", async () => {
  const bad = ["call me", "+33 6", "0612345678901234", "+999123456789", "112", "06 12 34 56 78 ext. 3", "٠٦", "-"];
  const answer = await submit({}, [
    ...bad.map((recipientPhone) => contact({ recipientPhone })),
    contact({ recipientPhone: phone(11) }),
  ]);
  expect(answer).toMatchObject({ status: 202, body: { accepted: bad.length + 1 } });
  const status = await finished(service, answer.body.jobId);
  expect(status.counts).toMatchObject({ skipped: bad.length });
  const skipped = (await messagesOf(service, answer.body.huntId)).slice(0, bad.length);
  expect(skipped.map(({ recipientPhone }) => recipientPhone)).toEqual(bad);
  for (const { reason, detail } of skipped) {
    expect(reason).toBe("invalid_number");
    expect(detail).toMatch(/\w+ \w+/);
  }
});

test("fields that we do not know → refused wherever a body is read, beside what else is wrong; nobody is contacted", async () => {
  const before = (await world.sql.query("select count(*) from messages")).rows;
  const time = "2031-01-01T09:00:00Z";
  const head = { huntId: huntId(), accountId };
  const lines = [{ ...head, contacts: [], template: "{{ x" }, contact(), contact({ sendat: time })];
  const hunt = { windos: {}, contacts: [contact({ colour: "red" })] };
  const recurrence = { accountId, name: "n", cron: "0 9 * * 1", timeZone: "Europe/Paris", hunt };
  const answers = [
    await submit({ sendat: time, window: {}, priority: "urgent" }, [contact(), contact({ sendat: time })]),
    await service.post("/api/hunt/preview", { ...head, sendat: time, contacts: [contact()] }),
    await service.post("/api/hunt/execute", lines.map((line) => `${JSON.stringify(line)}\n`).join(""), {
      "content-type": "application/x-ndjson",
    }),
    await service.post("/api/recurrences", recurrence),
    await service.post("/api/phone/sms", { recipientPhone: phone(12), message: "Bonjour", sendAt: time }),
    await service.post("/api/suppressions", { phone: phone(12), acountId: accountId }),
  ];
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 400));
  expect(answers.map((answer) => pointers(answer).toSorted())).toEqual([
    ["/contacts/1/sendat", "/priority", "/sendat", "/window"],
    ["/sendat"],
    ["/lines/1/contacts", "/lines/1/template", "/lines/3/sendat"],
    ["/hunt/contacts/0/colour", "/hunt/windos"],
    ["/sendAt"],
    ["/acountId"],
  ]);
  expect((await world.sql.query("select count(*) from messages")).rows).toEqual(before);
});

test("lists and objects within each other, in place of a text → 400 by its pointer, or of the whole when they are too deep", async () => {
  const refused = async (depth: number) => {
    const deep = `${"[".repeat(depth)}${"]".repeat(depth)}`;
    const body = `{"huntId":${deep},"accountId":"a","contacts":[{"adId":"x","recipientPhone":"0612345678","channel":"sms","message":${deep}}]}`;
    const answer = await service.post("/api/hunt/execute", body);
    expect(answer.status).toBe(400);
    return pointers(answer).toSorted();
  };
  // Of a hundred the message is within three others.
  expect(await refused(97)).toEqual(["/contacts/0/message", "/huntId"]);
  expect(await refused(98)).toEqual([""]);
  expect(await refused(100_000)).toEqual([""]);
});
