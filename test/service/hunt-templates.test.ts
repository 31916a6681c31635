import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { finished, huntId, messagesOf, phone, run, statusOf, submit } from "../helpers/hunts.ts";
import { openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let accountId: string;

beforeAll(async () => {
  world = await openWorld();
  service = await world.start();
  accountId = await world.account();
});
afterAll(() => world[Symbol.asyncDispose]());

const call = async (method: string, path: string, body?: object): Promise<{ status: number; body: Answer["body"] }> => {
  const response = await fetch(service.url + path, {
    method,
    headers: { authorization: `Bearer ${SECRET}`, "content-type": "application/json" },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { status: response.status, body: await response.json() };
};
const one = (n: number, fields: object = {}): object => ({
  adId: `ad ${n}`,
  recipientPhone: phone(n),
  channel: "sms",
  ...fields,
});
async function textsOf(hunt: string): Promise<unknown[]> {
  const query = `select ad_id, status in ('sent', 'delivered') as sent, code, detail, variant, content ->> 'text' as text
    from messages where hunt_id = $1 order by ad_id, channel`;
  const { rows } = await world.sql.query(query, [hunt]);
  return rows.map(({ ad_id: id, sent, code, detail, variant, text }) =>
    sent ? [id, text, variant] : [id, code, detail, variant],
  );
}

test("a template → says to each contact what its variables make of it; who lacks one is skipped with its name", async () => {
  const { huntId: hunt } = await run(service, {
    accountId,
    templates: { sms: "Bonjour {{ name }} à {{ city }}", whatsapp_text: "Salut {{ name }}" },
    contacts: [
      one(1, { variables: { name: "Zoé <3", city: "Lyon" } }),
      one(2, { variables: { name: "Max", city: null } }),
      one(3, { message: "À moi {{ name }}" }),
      one(4, { channels: ["whatsapp_text", "sms"], channel: undefined, variables: { name: "Léa" } }),
      one(5, { channels: ["sms", "whatsapp_text"], channel: undefined, variables: { name: "Luc" } }),
      one(6, { variables: { name: "x".repeat(1000), city: "y".repeat(1000) } }),
      one(7, { channel: "ringless_voice", audioUrl: "https://cdn.example.com/a.mp3" }),
    ],
  });
  expect(await textsOf(hunt)).toEqual([
    ["ad 1", "Bonjour Zoé <3 à Lyon", null],
    ["ad 2", "missing_variable", "city", null],
    ["ad 3", "À moi {{ name }}", null],
    ["ad 4", "Salut Léa", null],
    ["ad 5", "missing_variable", "city", null],
    ["ad 6", "invalid_content", expect.stringContaining("2011 characters"), null],
    ["ad 7", null, null],
  ]);
  expect(await messagesOf(service, hunt)).toContainEqual(
    expect.objectContaining({ adId: "ad 2", status: "skipped", reason: "missing_variable", detail: "city" }),
  );
  expect(JSON.stringify(service.logs)).not.toMatch(/Zoé|Lyon/);
});

test("a name that is quoted only up to within an emoji → its contact alone is skipped, and the others are planned", async () => {
  const { huntId: hunt } = await run(service, {
    accountId,
    template: `{{ name["${"x".repeat(194)}🛑"] }}`,
    contacts: [one(40, { variables: { name: "Zoé" } }), one(41, { message: "Bonjour" })],
  });
  expect(await textsOf(hunt)).toEqual([
    ["ad 40", "missing_variable", `name.${"x".repeat(194)}`, null],
    ["ad 41", "Bonjour", null],
  ]);
});

test("a stream of contacts → is spoken for by its first line, whose faults are told by its number", async () => {
  const stream = (head: object, ...contacts: object[]): Promise<Answer> => {
    const lines = [{ huntId: huntId(), accountId, ...head }, ...contacts].map((line) => `${JSON.stringify(line)}\n`);
    return service.post("/api/hunt/execute", lines.join(""), { "content-type": "application/x-ndjson" });
  };
  const variables = { name: "Zoé" };
  const { status, body } = await stream({ template: "Bonjour {{ name }}" }, one(1, { variables }), one(2));
  expect(status).toBe(202);
  await finished(service, body.jobId);
  expect(await textsOf(body.huntId)).toEqual([
    ["ad 1", "Bonjour Zoé", null],
    ["ad 2", "missing_variable", "name", null],
  ]);
  for (const [field, head] of [
    ["template", { template: "Bonjour {{ name" }],
    ["templateVersion", { template: "Bonjour {{ name }}", templateVersion: 2 }],
    ["templateId", { templateId: randomUUID() }],
  ] as const) {
    const wrong = await stream(head, one(1, { variables }));
    expect(wrong.body.errors).toEqual([expect.objectContaining({ pointer: `/lines/1/${field}` })]);
  }
  const silent = await stream({}, one(1, { variables }));
  const detail = "has no message, and no template of the hunt is for sms";
  expect(silent.body.errors).toEqual([{ pointer: "/lines/2/message", detail }]);
});

test("whatever is wrong with templates, variants and variables → is told at once, and nothing is accepted", async () => {
  const hunt = huntId();
  const { status, body } = await service.post("/api/hunt/execute", {
    huntId: hunt,
    accountId,
    template: "Bonjour {{ name",
    variants: [
      { name: "A", weight: 0, template: "{% fro %}" },
      { name: "A", template: "ok", templateId: randomUUID() },
      { name: "B" },
    ],
    fallbackAfterSeconds: 0,
    contacts: [
      one(1, { variables: { name: { first: "x" }, "two words": 1, __proto__x: 1 } }),
      one(2, { variables: ["x"] }),
      '{"__proto__": 1}',
    ],
  });
  expect(status).toBe(400);
  expect(body.errors.map(({ pointer, detail }: Record<string, string>) => `${pointer} ${detail}`)).toEqual([
    expect.stringContaining("/template is no template: output"),
    expect.stringMatching(/^\/variants\/0\/weight .*0/),
    '/variants/0/template is no template: tag "fro" not found (line 1, column 1)',
    expect.stringContaining("/fallbackAfterSeconds"),
    "/variants/1/name is the name of another variant",
    "/variants/2 has no template: give template, templates or templateId",
    "/contacts/0/variables/name must be text, a number, true or false",
    expect.stringContaining("/contacts/0/variables/two words is no name of a variable"),
    "/contacts/1/variables must be an object of flat values",
    "/contacts/2 must be an object",
  ]);
  const sources = { template: "x", templates: { sms: "y" } };
  const other = await service.post("/api/hunt/execute", {
    huntId: hunt,
    accountId,
    ...sources,
    variants: [{ name: "A", template: "a" }, { name: "A", template: "b" }, { name: "C" }],
    templateVersion: 2,
    contacts: [one(1, { channel: "whatsapp_poll" })],
  });
  expect(other.body.errors).toEqual([
    { pointer: "/variants/1/name", detail: "is the name of another variant" },
    { pointer: "/variants/2", detail: "has no template: give template, templates or templateId" },
    { pointer: "/template", detail: "Give one of template, templates, templateId and variants." },
    expect.objectContaining({ pointer: "/contacts/0/question" }),
    expect.objectContaining({ pointer: "/contacts/0/options" }),
  ]);
  // JSON's own __proto__ is a key like any other.
  const raw = `{"huntId":"${hunt}","accountId":"${accountId}","template":"{{ x }}","contacts":[
    {"adId":"a","recipientPhone":"${phone(1)}","channel":"sms","variables":{"__proto__":"y"}}]}`;
  expect(await service.post("/api/hunt/execute", raw, { "content-type": "application/json" })).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/contacts/0/variables/__proto__" }] },
  });
  const uncovered = await service.post("/api/hunt/execute", {
    huntId: hunt,
    accountId,
    variants: [
      { name: "A", templates: { sms: "a" } },
      { name: "B", template: "b" },
    ],
    contacts: [one(1), one(2, { channel: "whatsapp_text" })],
  });
  expect(uncovered.body.errors).toMatchObject([{ pointer: "/contacts/1/message" }]);
  expect((await world.sql.query("select 1 from hunts where id = $1", [hunt])).rowCount).toBe(0);
});

test("variants → each contact gets one by weight, always the same, on every channel; results are counted by variant", async () => {
  const contacts = Array.from({ length: 120 }, (_, i) => one(100 + i));
  const variants = [
    { name: "court", weight: 3, template: "Libre ?" },
    { name: "long", weight: 1, template: "Votre bien est-il libre ?" },
  ];
  const hunt = huntId();
  const half = await submit(service, { huntId: hunt, accountId, variants, contacts: contacts.slice(0, 60) });
  await finished(service, half.jobId);
  const again = await submit(service, {
    huntId: hunt,
    accountId,
    variants,
    contacts: [...contacts, one(300, { message: "à moi" })],
  });
  await finished(service, again.jobId);
  const { rows } = await world.sql.query(
    "select variant, content ->> 'text' as text, count(*)::int as n from messages where hunt_id = $1 group by 1, 2 order by 1",
    [hunt],
  );
  expect(rows).toEqual([
    { variant: "court", text: "Libre ?", n: expect.any(Number) },
    { variant: "long", text: "Votre bien est-il libre ?", n: expect.any(Number) },
    { variant: null, text: "à moi", n: 1 },
  ]);
  expect(rows[0].n + rows[1].n).toBe(120);
  expect(rows[0].n).toBeGreaterThan(70);
  expect(rows[1].n).toBeGreaterThan(10);

  await expect.poll(async () => (await statusOf(service, again.jobId)).counts.delivered).toBe(121);
  const { rows: answered } = await world.sql.query(
    "select recipient, account_id from messages where hunt_id = $1 and variant = 'long' order by seq limit 2",
    [hunt],
  );
  for (const { recipient, account_id: account } of answered) {
    const reply = { account_id: account, phone: recipient, provider: "sandbox", reply_id: randomUUID(), text: "Oui" };
    await world.sql.query("select record_reply($1)", [{ ...reply, at: new Date().toISOString() }]);
  }
  const { byVariant } = await statusOf(service, again.jobId);
  expect(byVariant).toEqual({
    court: expect.objectContaining({ delivered: rows[0].n, replied: 0, failed: 0 }),
    long: expect.objectContaining({ delivered: rows[1].n, replied: 2, read: 0 }),
  });
  expect((await messagesOf(service, hunt)).find(({ adId }) => adId === "ad 300").variant).toBeNull();
});

test("a stored template → has versions; a hunt keeps the one that it was accepted with, and an archived one is used no more", async () => {
  const first = await service.post("/api/templates", { accountId, name: "Un", text: "v1 {{ name }}" });
  expect(first).toMatchObject({ status: 201, body: { version: 1 } });
  const { templateId } = first.body;
  const path = `/api/templates/${templateId}`;
  const paused = world.queue("hunt");
  await paused.pause();
  const contacts = (n: number): object[] => [one(n, { variables: { name: "Zoé" } })];
  const accepted = await submit(service, { accountId, templateId, contacts: contacts(400) });
  const put = { accountId, name: "Un", channel: "sms", text: "v2 {{ name }}" };
  expect(await call("PUT", path, put)).toEqual({ status: 200, body: { templateId, version: 2 } });
  expect(await call("PUT", path, put)).toEqual({ status: 200, body: { templateId, version: 2 } });
  expect(await call("PUT", path, { ...put, text: "{{ x" })).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/text" }] },
  });
  const keyed = { huntId: huntId(), accountId, templateId, contacts: contacts(401) };
  const newest = await submit(service, keyed, { "idempotency-key": "k1" });
  const pinned = await submit(service, { accountId, templateId, templateVersion: 1, contacts: contacts(402) });
  expect(await call("GET", `${path}?accountId=${accountId}`)).toMatchObject({
    status: 200,
    body: {
      version: 2,
      text: "v2 {{ name }}",
      channel: "sms",
      versions: [{ version: 2 }, { version: 1, text: "v1 {{ name }}" }],
    },
  });
  expect((await service.get(`/api/templates?accountId=${accountId}&limit=1`)).body).toMatchObject({
    templates: [{ templateId, version: 2, text: "v2 {{ name }}" }],
    nextCursor: templateId,
  });

  expect(await call("DELETE", `${path}?accountId=${accountId}`)).toMatchObject({ status: 200 });
  expect(await call("DELETE", `${path}?accountId=${accountId}`)).toMatchObject({ status: 404 });
  expect(await call("PUT", path, put)).toMatchObject({ status: 404 });
  const late = await service.post("/api/hunt/execute", {
    huntId: huntId(),
    accountId,
    templateId,
    contacts: contacts(403),
  });
  expect(late).toMatchObject({ status: 409, body: { code: "template_archived" } });
  // Whoever repeats what was accepted before gets the same answer.
  const repeated = await service.post("/api/hunt/execute", keyed, { "idempotency-key": "k1" });
  expect(repeated).toMatchObject({ status: 202, body: { jobId: newest.jobId } });
  await paused.resume();
  for (const { jobId } of [accepted, newest, pinned]) await finished(service, jobId);
  const texts = await Promise.all(
    [accepted, newest, pinned].map(async ({ huntId: hunt }) => (await textsOf(hunt)).flat()[1]),
  );
  expect(texts).toEqual(["v1 Zoé", "v2 Zoé", "v1 Zoé"]);

  const stranger = await world.account();
  const { body: open } = await service.post("/api/templates", { accountId, name: "Deux", text: "x" });
  expect(await call("PUT", `/api/templates/${open.templateId}`, { ...put, accountId: stranger })).toMatchObject({
    status: 404,
  });
  expect(await call("GET", `${path}?accountId=${stranger}`)).toMatchObject({ status: 404 });
  const theft = await service.post("/api/hunt/execute", {
    huntId: huntId(),
    accountId: stranger,
    templateId,
    contacts: contacts(404),
  });
  expect(theft).toMatchObject({ status: 400, body: { errors: [{ pointer: "/templateId" }] } });
});
