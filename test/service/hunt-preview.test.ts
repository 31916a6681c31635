import { randomUUID } from "node:crypto";
import { isDeepStrictEqual } from "node:util";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { finished, huntId, messagesOf, phone, run, submit } from "../helpers/hunts.ts";
import { accept, scriptedProvider } from "../helpers/scripted.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";

const NOON = Date.parse("2026-01-08T11:00:00Z");
const clock: ProviderDeps["clock"] = { now: () => NOON, monotonic: () => performance.now() };
let world: World;
let service: TestService;

beforeAll(async () => {
  world = await openWorld();
  const pace = { min: 1, max: 10, step: 1, cut: 0.5, senderOf: (from?: string) => from ?? "default" };
  const sms = scriptedProvider(accept, { pace });
  service = await world.start({ SWEEP_MS: "60000" }, { providers: { sms }, clock });
});
afterAll(() => world[Symbol.asyncDispose]());

async function put(accountId: string, settings: object): Promise<void> {
  const headers = { authorization: `Bearer ${SECRET}`, "content-type": "application/json" };
  const init = { method: "PUT", headers, body: JSON.stringify(settings) };
  expect((await fetch(`${service.url}/api/accounts/${accountId}`, init)).status).toBe(200);
}

/** Rows of every table, and jobs of every queue. */
async function everything(): Promise<unknown> {
  const { rows } = await world.sql.query(
    "select tablename as name from pg_tables where schemaname = 'public' and tablename <> 'epoch' order by 1",
  );
  const counts: Record<string, number> = {};
  for (const { name } of rows) {
    const { rows: counted } = await world.sql.query(`select count(*)::int as n from ${name}`);
    counts[name] = counted[0].n;
  }
  return [counts, (await service.get("/api/queues/stats")).body];
}

const sms = (n: number, fields: object = {}): object => ({
  adId: `ad ${n}`,
  recipientPhone: phone(n),
  channel: "sms",
  ...fields,
});

test("a preview → tells what the same hunt then does, contact by contact, and writes nothing", async () => {
  const accountId = await world.account();
  await put(accountId, { policy: { perDay: 1 } });
  await run(service, { accountId, contacts: [sms(1, { message: "Premier" })] });
  await world.sql.query("insert into suppressions (account_id, phone) values ($1, $2)", [accountId, phone(2)]);
  const erased = await fetch(`${service.url}/api/contacts/${encodeURIComponent(phone(3))}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${SECRET}` },
  });
  expect(erased.status).toBe(200);
  await world.credits(accountId, "sms", 4);
  const hunt = {
    huntId: huntId(),
    accountId,
    variants: [
      { name: "A", template: "Bonjour {{ name }}" },
      { name: "B", template: "Bonjour {{ name }}, l’annonce est-elle libre ?" },
    ],
    contacts: [],
  };
  const variables = { name: "Zoé" };
  await run(service, { ...hunt, contacts: [sms(20, { message: "déjà" })] });
  const contacts = [
    ...[1, 2, 3, 20, 10].map((n) => sms(n, { variables })),
    sms(11),
    sms(12, { recipientPhone: "not a number", message: "x" }),
    sms(13, { recipientPhone: phone(10), variables }),
    sms(10, { variables }),
    sms(21, { recipientPhone: phone(20), variables }),
    ...[14, 15, 16].map((n) => sms(n, { variables, channels: ["sms", "ringless_voice"], channel: undefined })),
    { ...sms(17, { variables }), channel: "whatsapp_text" },
  ];
  // What came before has come to rest.
  let before = await everything();
  const rests = async (): Promise<boolean> => isDeepStrictEqual(before, (before = await everything()));
  await expect.poll(rests).toBe(true);
  const { status, body } = await service.post("/api/hunt/preview", { ...hunt, contacts });
  expect(status).toBe(200);
  expect(await everything()).toEqual(before);
  expect(body).toMatchObject({
    huntId: hunt.huntId,
    accountId,
    contacts: 14,
    send: 4,
    skipped: 10,
    byChannel: {
      sms: { send: 3, skipped: 10, standby: 0, credits: { needed: 4, available: 3 } },
      whatsapp_text: { send: 1, skipped: 0, segments: null, credits: null },
      ringless_voice: { send: 0, standby: 2 },
    },
    reasons: {
      already_planned: 1,
      duplicate: 3,
      frequency_cap: 1,
      invalid_number: 1,
      missing_variable: 1,
      no_credit: 1,
      suppressed: 2,
    },
    startsAt: "2026-01-08T11:00:00.000Z",
    // Nobody can tell how fast the sandbox's WhatsApp is.
    endsAt: null,
  });
  expect(body.byVariant.A.send + body.byVariant.B.send).toBe(4);
  expect(body.samples.find(({ adId }: { adId: string }) => adId === "ad 10")).toMatchObject({
    channel: "sms",
    recipientPhone: expect.stringMatching(/^\+33\*+\d\d$/),
    text: expect.stringMatching(/^Bonjour Zoé/),
    segments: 1,
  });
  expect(body.byChannel.sms.segments).toEqual({ total: 3, most: 1 });
  expect(JSON.stringify(body)).not.toContain(phone(10));

  const { jobId } = await submit(service, { ...hunt, contacts });
  await finished(service, jobId);
  const skipped = (await messagesOf(service, hunt.huntId)).filter((message) => message.status === "skipped");
  const key = ({ adId, channel, reason }: Record<string, string>): string => `${adId} ${channel} ${reason}`;
  expect(skipped.map(key).toSorted()).toEqual(
    body.skips
      .filter(({ reason }: { reason: string }) => reason !== "already_planned")
      .map(key)
      .toSorted(),
  );
});

test("a preview → has a hunt's faults and refusals", async () => {
  const accountId = await world.account();
  const post = (fields: object) =>
    service.post("/api/hunt/preview", { huntId: huntId(), accountId, contacts: [sms(1, { message: "x" })], ...fields });
  const bad = { template: "{{ x", contacts: [sms(1), { adId: "a" }] };
  const [previewed, executed] = [
    await post(bad),
    await service.post("/api/hunt/execute", { huntId: huntId(), accountId, ...bad }),
  ];
  expect(previewed.body.errors).toHaveLength(3);
  expect(previewed.body.errors).toEqual(executed.body.errors);
  expect(await post({ accountId: "nobody" })).toMatchObject({ status: 422, body: { code: "unknown_account" } });
  const suspended = await world.account({ status: "suspended" });
  expect(await post({ accountId: suspended })).toMatchObject({ status: 403, body: { code: "suspended_account" } });
  expect(await post({ templateId: randomUUID() })).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/templateId" }] },
  });
  const { huntId: taken } = await run(service, {
    accountId: await world.account(),
    contacts: [sms(1, { message: "x" })],
  });
  expect(await post({ huntId: taken })).toMatchObject({ status: 409, body: { code: "hunt_of_other_account" } });
  const windows = { days: [1], from: "09:00", to: "10:00" };
  const own = { huntId: huntId(), accountId: await world.account(), contacts: [sms(1, { message: "x" })] };
  await submit(service, { ...own, windows: { ...windows, to: "24:00" }, expiresAt: "2026-12-30T00:00:00Z" });
  // Both answer the same, and a further submission is as the hunt is.
  for (const path of ["/api/hunt/preview", "/api/hunt/execute"])
    expect(await service.post(path, { ...own, windows, priority: "high" })).toMatchObject({
      status: 409,
      body: { code: "hunt_differs", errors: [{ pointer: "/priority" }, { pointer: "/windows" }] },
    });
  expect(await post({ ...own, sendAt: "2026-12-31T00:00:00Z" })).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/sendAt" }] },
  });
  const contacts = [sms(2, { message: "x" })];
  expect((await post({ ...own, contacts })).body).toMatchObject({
    send: 1,
    startsAt: expect.stringMatching(/^2026-01-1/),
  });
});

test("a preview of a stream → as that of the same contacts in JSON; faults by line, refusals as well, and nothing is staged", async () => {
  const accountId = await world.account();
  await world.credits(accountId, "sms", 2000);
  const own = { huntId: huntId(), accountId, template: "Bonjour {{ name }}" };
  const contacts: object[] = Array.from({ length: 2300 }, (_, i) =>
    sms(3000 + i, { variables: i % 50 === 0 ? {} : { name: "Zoé" } }),
  );
  // Their numbers were there in chunks before.
  contacts.push(sms(3001, { adId: "x", message: "x" }), {
    adId: "y",
    recipientPhone: phone(3002),
    channels: ["whatsapp_text", "sms"],
    message: "x",
  });
  const lines = (head: object, rest: object[]) =>
    service.post("/api/hunt/preview", [head, ...rest].map((line) => JSON.stringify(line)).join("\n"), {
      "content-type": "application/x-ndjson",
    });
  const before = await everything();
  const { status, body } = await lines(own, contacts);
  expect(status).toBe(200);
  expect(body).toMatchObject({
    contacts: 2302,
    send: 2000,
    reasons: { missing_variable: 46, duplicate: 2, no_credit: 254 },
  });
  expect(body).toEqual((await service.post("/api/hunt/preview", { ...own, contacts })).body);
  const wrong = [sms(1, { channel: "pigeon" }), ...contacts.slice(0, 600), sms(2, { variables: 7 })];
  expect((await lines(own, wrong)).body.errors).toMatchObject([
    { pointer: "/lines/2/channel" },
    { pointer: "/lines/603/variables" },
  ]);
  expect(await lines({ ...own, accountId: "nobody" }, contacts)).toMatchObject({ status: 422 });
  await put(accountId, { policy: "none" });
  const late = [sms(1, { message: "x", sendAt: "2026-02-02T00:00:00Z" })];
  const { huntId: there } = await submit(service, { accountId, contacts: [sms(2, { message: "x" })] });
  await world.sql.query("update hunts set expires_at = '2026-02-01' where id = $1", [there]);
  expect(await lines({ huntId: there, accountId }, late)).toMatchObject({
    status: 400,
    body: { errors: [{ pointer: "/sendAt" }] },
  });
  const chunks = (counts: unknown) => (counts as [Record<string, number>])[0]["hunt_chunks"];
  expect(chunks(await everything())).toBe(Number(chunks(before)) + 1);
});

test("hours and the provider's rate → when it would begin and end, at the latest when it expires", async () => {
  const accountId = await world.account();
  const hours = [{ days: [1, 2, 3, 4, 5, 6, 7], from: "14:00", to: "15:00" }];
  await put(accountId, { policy: { hours: { sms: hours } } });
  const contacts = Array.from({ length: 600 }, (_, i) => sms(1000 + i, { message: "Bonjour" }));
  const of = async (fields: object = {}) =>
    (await service.post("/api/hunt/preview", { huntId: huntId(), accountId, contacts, ...fields })).body;
  // 14:00 in Paris; ten a second.
  expect(await of()).toMatchObject({
    send: 600,
    startsAt: "2026-01-08T13:00:00.000Z",
    endsAt: "2026-01-08T13:01:00.000Z",
    etaSeconds: 2 * 3600 + 60,
  });
  expect(await of({ expiresAt: "2026-01-08T13:00:30Z" })).toMatchObject({ endsAt: "2026-01-08T13:00:30.000Z" });
  // Its own time and hours come beside the account's.
  expect(await of({ sendAt: "2026-01-08T14:50", timeZone: "Europe/Paris" })).toMatchObject({
    startsAt: "2026-01-08T13:50:00.000Z",
    endsAt: "2026-01-08T13:51:00.000Z",
  });
  const windows = { days: [5], from: "14:30", to: "18:00" };
  expect(await of({ windows })).toMatchObject({ startsAt: "2026-01-09T13:30:00.000Z" });
  expect(await of({ windows: { ...windows, spread: true }, expiresAt: "2026-01-09T13:40:00Z" })).toMatchObject({
    endsAt: "2026-01-09T13:40:00.000Z",
  });
  await put(accountId, { policy: { hours: { sms: hours } }, limits: [{ channel: "sms", perMinute: 300 }] });
  expect(await of()).toMatchObject({ endsAt: "2026-01-08T13:02:00.000Z" });
  expect(await of({ contacts: [sms(1, { recipientPhone: "x", message: "x" })] })).toMatchObject({
    send: 0,
    startsAt: null,
    endsAt: null,
  });
});

test("limits a day → it ends on the day on which they let the last of it through, with what today has used", async () => {
  const accountId = await world.account();
  const contacts = Array.from({ length: 250 }, (_, i) => sms(2000 + i, { message: "Bonjour" }));
  const of = async (limits: object[], fields: object = {}) => {
    await put(accountId, { policy: "none", limits });
    return (await service.post("/api/hunt/preview", { huntId: huntId(), accountId, contacts, ...fields })).body.endsAt;
  };
  expect(await of([{ perDay: 100 }])).toBe("2026-01-10T00:00:05.000Z");
  await world.sql.query(
    "insert into limit_counters (account_id, scope, day, used) values ($1, 'sms/*', '2026-01-08', 90), ($1, '/*', '2026-01-07', 90)",
    [accountId],
  );
  expect(await of([{ perDay: 100 }])).toBe("2026-01-10T00:00:05.000Z");
  expect(await of([{ channel: "sms", perDay: 100 }])).toBe("2026-01-11T00:00:04.000Z");
  // A day of Paris; by a sender's own limit.
  const bySender = [{ sender: "+33612345678", perDay: 200, timeZone: "Europe/Paris" }];
  expect(await of(bySender)).toBe("2026-01-08T11:00:25.000Z");
  const from = contacts.map((contact) => ({ ...contact, senderPhone: "+33612345678" }));
  expect(await of(bySender, { contacts: from })).toBe("2026-01-08T23:00:05.000Z");
  // Nobody can tell how fast the sandbox's WhatsApp is, but on which day it goes on.
  const whatsapp = { contacts: contacts.map((contact) => ({ ...contact, channel: "whatsapp_text" })) };
  expect(await of([{ channel: "whatsapp", perDay: 249 }], whatsapp)).toBe("2026-01-09T00:00:00.000Z");
  expect(await of([{ channel: "whatsapp", perDay: 250 }], whatsapp)).toBeNull();
});

test("more for a hunt that there is → by its own windows and its own end; too late for it → refused, as it would be", async () => {
  const accountId = await world.account();
  await put(accountId, { policy: "none" });
  const contacts = [sms(1, { message: "Bonjour" })];
  const windows = { days: [4], from: "14:00", to: "15:00", timeZone: "UTC" };
  const { huntId: there } = await submit(service, { accountId, contacts, windows, expiresAt: "2030-01-08T00:00:00Z" });
  const more = { huntId: there, accountId, contacts: [sms(2, { message: "Bonjour" })] };
  const preview = async (fields: object) => service.post("/api/hunt/preview", { ...more, ...fields });
  const startsAt = "2026-01-08T14:00:00.000Z";
  expect((await preview({})).body).toMatchObject({ send: 1, startsAt });
  expect((await preview({ windows })).body).toMatchObject({ send: 1, startsAt, endsAt: "2026-01-08T14:00:00.100Z" });
  const other = { windows: { ...windows, days: [5] }, expiresAt: "2026-01-08T13:00:00Z" };
  expect((await preview(other)).body).toMatchObject({
    code: "hunt_differs",
    errors: [{ pointer: "/expiresAt" }, { pointer: "/windows" }],
  });
  await world.sql.query("update hunts set expires_at = '2026-02-01' where id = $1", [there]);
  for (const late of [
    { sendAt: "2026-02-01T00:00:00Z" },
    { contacts: [sms(2, { message: "Bonjour", sendAt: "2026-02-02T00:00:00Z" })] },
  ]) {
    const executed = await service.post("/api/hunt/execute", { ...more, ...late });
    expect(executed).toMatchObject({ status: 400, body: { errors: [{ pointer: "/sendAt" }] } });
    expect((await preview(late)).body.errors).toEqual(executed.body.errors);
  }
  await world.sql.query("update hunts set expires_at = '2026-01-08' where id = $1", [there]);
  expect((await preview({})).body).toMatchObject({ status: 400, errors: [{ pointer: "/expiresAt" }] });
});
