import { toBuffer } from "qrcode";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase } from "../../dev/stack/databases.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { messageOf, phone as recipient, settles } from "../helpers/hunts.ts";
import { openWorld, SECRET, type TestService, type World } from "../helpers/service.ts";
import {
  ENCRYPTION_KEY,
  keysOf,
  openFakeWhatsApp,
  pair,
  pairedAccount,
  sendText,
  sessionOf,
  sessionPhone,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

const PATH = "/api/whatsapp/sessions";

let world: World;
let fake: FakeWhatsApp;
let service: TestService;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
  world = await openWorld();
  // Whatever is not confirmed here stays so until its session goes.
  service = await world.start(whatsappEnvironment(fake, { WHATSAPP_ACK_TIMEOUT_MS: "20000" }));
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await fake.stop();
});

async function ask(method: "qr" | "code" = "qr", accountId?: string, phone = sessionPhone()) {
  const { status, body } = await service.post(PATH, { accountId: accountId ?? (await world.account()), phone, method });
  expect(status).toBe(202);
  return { id: body.id as string, phone, accountId: body.accountId as string };
}

const untilQr = async (id: string, not?: string): Promise<string> => {
  await expect
    .poll(async () => (await sessionOf(service, id)).qr)
    .toSatisfy((qr) => typeof qr === "string" && qr !== not);
  return (await sessionOf(service, id)).qr;
};

const picture = async (id: string): Promise<{ status: number; type: string | null; bytes: Buffer }> => {
  const response = await fetch(`${service.url}${PATH}/${id}/qr.png`, {
    headers: { authorization: `Bearer ${SECRET}` },
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, type: response.headers.get("content-type"), bytes };
};

const forget = (id: string): Promise<Response> =>
  fetch(`${service.url}${PATH}/${id}`, { method: "DELETE", headers: { authorization: `Bearer ${SECRET}` } });

test("pairing by QR code: the code as text and as a picture, gone once it is open", async () => {
  const accountId = await world.account();
  const phone = sessionPhone();
  const asked = await service.post(PATH, { accountId, phone, method: "qr" });
  expect(asked).toMatchObject({
    status: 202,
    body: { accountId, phone, method: "qr", state: "pairing", pairedAt: null },
  });
  const { id } = asked.body;
  expect(asked.headers.get("location")).toBe(`${PATH}/${id}`);
  const qr = await untilQr(id);
  expect(await picture(id)).toEqual({ status: 200, type: "image/png", bytes: await toBuffer(qr, { width: 384 }) });
  expect(await sessionOf(service, id)).not.toHaveProperty("pairingCode");

  const before = Date.now();
  await fake.scanQr(phone, qr);
  const open = await untilState(service, id, "open");
  expect(open).not.toHaveProperty("qr");
  expect(open).not.toHaveProperty("lastError");
  expect(Date.parse(open.pairedAt)).toBeGreaterThanOrEqual(before - 1000);
  expect(Date.parse(open.since)).toBeGreaterThanOrEqual(before - 1000);
  expect(await picture(id)).toMatchObject({ status: 404 });

  const again = await service.post(PATH, { accountId, phone, method: "qr" });
  expect(again).toMatchObject({ status: 200, body: { id, state: "open" } });
  const listed = await service.get(`${PATH}?accountId=${accountId}`);
  expect(listed.body.sessions).toEqual([expect.objectContaining({ id, phone, state: "open" })]);
  expect(fake.connected(phone)).toBe(1);
});

test("pairing by code: a code to type in, no picture; a wrong code changes nothing", async () => {
  const { id, phone } = await ask("code");
  await expect.poll(async () => (await sessionOf(service, id)).pairingCode).toMatch(/^[0-9A-Z]{8}$/);
  const { pairingCode, qr } = await sessionOf(service, id);
  expect(qr).toBeUndefined();
  expect(await picture(id)).toMatchObject({ status: 404 });
  await fake.waitFor(() => fake.codeAsked(phone));
  await expect(fake.enterCode(phone, "AAAAAAAA")).rejects.toThrow("wrong code");
  expect(await sessionOf(service, id)).toMatchObject({ state: "pairing", pairingCode });
  await fake.enterCode(phone, pairingCode);
  expect(await untilState(service, id, "open")).not.toHaveProperty("pairingCode");
});

test("a connection that breaks while pairing by code → a new code, which works", async () => {
  const { id, phone } = await ask("code");
  await expect.poll(async () => (await sessionOf(service, id)).pairingCode).toBeTypeOf("string");
  const { pairingCode: first } = await sessionOf(service, id);
  await fake.waitFor(() => fake.codeAsked(phone));
  fake.breakPairings();
  await expect.poll(async () => (await sessionOf(service, id)).pairingCode).not.toBe(first);
  await expect.poll(async () => (await sessionOf(service, id)).pairingCode).toBeTypeOf("string");
  await fake.waitFor(() => fake.codeAsked(phone));
  await fake.enterCode(phone, (await sessionOf(service, id)).pairingCode);
  await untilState(service, id, "open");
});

test("WhatsApp interrupts a pairing (companion_reg_refresh) → a code with a fresh secret, at once, and it works", async () => {
  const { id, phone } = await ask();
  const first = await untilQr(id);
  fake.interruptPairing();
  await expect(fake.scanQr(phone, first)).rejects.toThrow("retired");
  const second = await untilQr(id, first);
  expect(second.split(",").toSpliced(3, 1)).toEqual(first.split(",").toSpliced(3, 1));
  await fake.scanQr(phone, second);
  await untilState(service, id, "open");
});

test("asked again with the other method while pairing → what is shown changes", async () => {
  const { id, phone, accountId } = await ask();
  await untilQr(id);
  await ask("code", accountId, phone);
  await expect.poll(async () => (await sessionOf(service, id)).pairingCode).toBeTypeOf("string");
  expect(await sessionOf(service, id)).not.toHaveProperty("qr");
  await fake.waitFor(() => fake.codeAsked(phone));
  await fake.enterCode(phone, (await sessionOf(service, id)).pairingCode);
  await untilState(service, id, "open");
});

test("nobody scans the code in time → stopped, in words; asked again → pairs", async () => {
  fake.qrCodes(0);
  const { id, phone, accountId } = await ask();
  const stopped = await untilState(service, id, "stopped");
  expect(stopped.lastError).toBe("Nobody scanned the code in time. Start pairing again.");
  expect(stopped).not.toHaveProperty("qr");
  expect(await keysOf(world, id)).toEqual([]);
  fake.qrCodes(6);
  expect(await ask("qr", accountId, phone)).toMatchObject({ id });
  await fake.scanQr(phone, await untilQr(id));
  expect(await untilState(service, id, "open")).not.toHaveProperty("lastError");
});

test("what cannot be paired: another account's number, an unknown account, no number at all", async () => {
  const { phone } = await ask();
  const other = await world.account();
  expect(await service.post(PATH, { accountId: other, phone })).toMatchObject({
    status: 409,
    body: { code: "number_taken", detail: "Another account has paired this number." },
  });
  const unknown = await service.post(PATH, { accountId: "acc_nobody", phone: sessionPhone() });
  expect(unknown).toMatchObject({ status: 400, body: { errors: [{ pointer: "/accountId" }] } });
  const wrong = await service.post(PATH, { accountId: other, phone: "12" });
  expect(wrong).toMatchObject({ status: 400, body: { errors: [{ pointer: "/phone" }] } });
  const both = await service.post(PATH, { accountId: "acc_nobody", phone: "12" });
  expect(both).toMatchObject({ status: 400, body: { errors: [{ pointer: "/accountId" }, { pointer: "/phone" }] } });
  const { body } = await service.get(`${PATH}?accountId=${other}`);
  expect(body).toEqual({ sessions: [] });
  expect((await service.get(`${PATH}/4f8b1c9e-7d0a-4b7e-9c53-0a1f6d2e8b11`)).status).toBe(404);
});

test("with the sandbox as provider there are no sessions to pair: 409, which says what to set", async () => {
  await using other = await openWorld();
  const sandboxed = await other.start({ WHATSAPP_ENCRYPTION_KEY: ENCRYPTION_KEY, WHATSAPP_PROVIDER: "sandbox" });
  const refused = await sandboxed.post(PATH, { accountId: await other.account(), phone: sessionPhone() });
  expect(refused).toMatchObject({ status: 409, body: { code: "sessions_off" } });
  expect(refused.body.detail).toContain("WHATSAPP_ENCRYPTION_KEY");
  expect((await sandboxed.get(PATH)).body).toEqual({ sessions: [], off: refused.body.detail });
});

test("a session's own settings: shown, in force, replaced as a whole, refused when they make no sense", async () => {
  const { id } = await pairedAccount(world, service, fake);
  const set = (body: object) => service.post(`${PATH}/${id}/settings`, body);
  expect(await set({ messagesPerMinute: 7, typing: true })).toMatchObject({
    status: 200,
    body: { settings: { messagesPerMinute: 7, typing: true } },
  });
  await expect
    .poll(async () => (await sessionOf(service, id)).pace)
    .toMatchObject({ messagesPerMinute: 7, typing: true });
  await set({ newContactsPerDay: 30 });
  expect((await sessionOf(service, id)).settings).toEqual({ newContactsPerDay: 30 });
  await expect
    .poll(async () => (await sessionOf(service, id)).pace)
    .toMatchObject({ messagesPerMinute: null, typing: false, newContactsPerDay: 30 });
  expect(await set({ minGapMs: 10, maxGapMs: 5 })).toMatchObject({ status: 400 });
  expect(await set({ messagesPerMinute: -1 })).toMatchObject({ status: 400 });
  expect(await set({ speed: 3 })).toMatchObject({ status: 400 });
  expect((await sessionOf(service, id)).settings).toEqual({ newContactsPerDay: 30 });
});

/** Everything that the database keeps of WhatsApp, as text. */
async function dumpOf(id: string): Promise<string> {
  const tables = ["whatsapp_keys", "whatsapp_sent", "whatsapp_contacts"].map(
    (table) => `select to_jsonb(t)::text as row from ${table} t where session_id = $1`,
  );
  const { rows } = await world.sql.query(
    `${tables.join(" union all ")} union all select to_jsonb(t)::text from whatsapp_sessions t where id = $1`,
    [id],
  );
  return rows.map(({ row }) => row).join("\n");
}

/** What Redis has of a session's lane. */
const keysInRedis = (id: string): Promise<string[]> => world.redis.keys(`${world.prefix}:whatsapp.${id}:*`);

/** Logs in to Bull Board; answers what reads the lanes that it shows. */
async function boardLanes(): Promise<() => Promise<string[]>> {
  const { headers } = await fetch(`${service.url}/admin/login`, {
    method: "POST",
    redirect: "manual",
    body: new URLSearchParams({ secret: SECRET }),
  });
  const cookie = headers.get("set-cookie")?.split(";")[0] ?? "";
  return async () => {
    const board = await fetch(`${service.url}/admin/queues/api/queues`, { headers: { cookie } });
    const { queues } = (await board.json()) as { queues: { name: string }[] };
    return queues.map(({ name }) => name).filter((name) => name.startsWith("whatsapp."));
  };
}

test("DELETE of an open session: the phone forgets the device, the database everything, Bull Board and the API its lane", async () => {
  const { id, phone, accountId } = await pairedAccount(world, service, fake);
  const messageId = await sendText(service, accountId, recipient(901));
  await settles(service, messageId, "delivered");
  expect(await dumpOf(id)).toContain(id);
  expect(await keysInRedis(id)).toContain(`${world.prefix}:whatsapp.${id}:${messageId}`);
  const lanes = await boardLanes();
  await expect.poll(lanes).toContain(`whatsapp.${id}`);
  const looks = async () => {
    const answers = ["stats", "failed"].map((what) => service.get(`/api/queues/whatsapp.${id}/${what}`));
    return (await Promise.all(answers)).map(({ status, body }) => body.code ?? status);
  };
  await expect.poll(looks).toEqual([200, 200]);
  expect((await forget(id)).status).toBe(202);
  await expect.poll(() => dumpOf(id)).toBe("");
  await expect.poll(lanes).not.toContain(`whatsapp.${id}`);
  await expect.poll(looks).toEqual(["not_found", "not_found"]);
  expect(await keysInRedis(id)).toEqual([]);
  expect(fake.paired(phone)).toBe(false);
  await fake.waitFor(() => fake.connected(phone) === 0);
  expect((await service.get(`${PATH}/${id}`)).status).toBe(404);
  expect((await forget(id)).status).toBe(404);
  // What was sent stays in the ledger, and the number is free for others.
  expect((await messageOf(service, messageId)).status).toBe("delivered");
  await pair(service, fake, await world.account(), phone);
});

test("DELETE of a session that was never paired, and of one that is logged out", async () => {
  const { id: never } = await ask();
  await untilQr(never);
  const { id: out, phone } = await pairedAccount(world, service, fake);
  fake.unpair(phone);
  await untilState(service, out, "logged-out");
  for (const id of [never, out]) expect((await forget(id)).status).toBe(202);
  for (const id of [never, out]) await expect.poll(() => dumpOf(id)).toBe("");
});

test("DELETE with messages waiting → they fail, and say that there is no session", async () => {
  const { id, phone, accountId } = await pairedAccount(world, service, fake);
  fake.unpair(phone);
  await untilState(service, id, "logged-out");
  const messageId = await sendText(service, accountId, recipient(902));
  await expect.poll(async () => (await world.queue(`whatsapp.${id}`).getJobCounts("waiting"))["waiting"]).toBe(1);
  expect((await messageOf(service, messageId)).status).toBe("queued");
  await forget(id);
  expect(await settles(service, messageId, "failed")).toMatchObject({ code: "no_session" });
  await expect.poll(() => keysInRedis(id)).toEqual([]);
});

test("DELETE with messages put off and one in doubt, and the account has another number → from that leave those, once, and not this", async () => {
  const { id, phone, accountId } = await pairedAccount(world, service, fake);
  const [doubtful, inDoubt] = [recipient(904), () => fake.messages.filter(({ to }) => to === recipient(904))];
  fake.onSend({ to: doubtful, outcome: "silent" });
  fake.autoReceipts({ kind: "none" });
  const doubtfulId = await sendText(service, accountId, doubtful);
  await fake.waitFor(() => inDoubt().length > 0);
  fake.autoReceipts({ kind: "delivered" });
  await service.post(`${PATH}/${id}/settings`, { newContactsPerDay: 0 });
  await expect.poll(async () => (await sessionOf(service, id)).pace).toMatchObject({ newContactsPerDay: 0 });
  const messageId = await sendText(service, accountId, recipient(903));
  await expect.poll(async () => (await world.queue(`whatsapp.${id}`).getJobCounts("delayed"))["delayed"]).toBe(1);
  const other = await pair(service, fake, accountId);
  await forget(id);
  await settles(service, messageId, "delivered");
  expect(fake.messages.filter(({ to }) => to === recipient(903))).toMatchObject([{ from: other.phone, relays: 1 }]);
  await settles(service, doubtfulId, "unknown");
  expect(inDoubt()).toMatchObject([{ from: phone, relays: 1 }]);
  await expect.poll(() => keysInRedis(id)).toEqual([]);
});

test("a database that gives at most 1,000 rows an answer, as hosted ones do → every session is listed, and stays its owner's", async () => {
  await using database = await openTestDatabase(inject("stack"), { maxRows: 1000 });
  await database.sql.query("insert into accounts (id) values ('acc_big')");
  await database.sql.query(
    `insert into whatsapp_sessions (account_id, phone, method, state, owner, epoch, leased_until)
     select 'acc_big', '+336' || (10000000 + n), 'qr', 'open', 'us', 1, now() + interval '1 hour'
     from generate_series(1, 1001) n`,
  );
  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = database;
  const store = createSupabaseStore({ url, serviceKey, timeoutMs: 10_000 });
  const { rows } = await database.sql.query("select id from whatsapp_sessions order by created_at, id");
  for (const filter of [{}, { accountId: "acc_big" }]) {
    const listed = await store.sessions.sessions(filter);
    expect(listed.map(({ id }) => id)).toEqual(rows.map(({ id }) => id));
  }
  const leases = rows.map(({ id }) => ({ id, epoch: 1 }));
  expect(await store.sessions.renew(leases, 60_000)).toHaveLength(1001);
  await store.close();
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
