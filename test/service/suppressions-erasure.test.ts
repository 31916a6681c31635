import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { ProviderDeps } from "../../src/channels/provider-definition.ts";
import { phoneHash } from "../../src/store/phone-hash.ts";
import { huntId as newHuntId, messageOf, messagesOf, phone, run, settles, submit } from "../helpers/hunts.ts";
import {
  accept,
  refusal,
  channelsWithSms,
  scriptedProvider,
  type Script,
  type ScriptedProvider,
} from "../helpers/scripted.ts";
import { contact, openWorld, SECRET, type Answer, type TestService, type World } from "../helpers/service.ts";

let world: World;
let service: TestService;
let provider: ScriptedProvider;
let inbound: ProviderDeps["inbound"];
let script: Script = accept;
let last = 0;

/** Nobody else's words. */
const TEXT = "Le mot de la personne";
const SALT = "a salt of the tests, and of nobody else";

beforeAll(async () => {
  world = await openWorld();
  provider = scriptedProvider((request, signal) => script(request, signal));
  const channels = channelsWithSms((port) => {
    inbound = port;
    return provider;
  });
  service = await world.start({ SUPPRESSION_SALT: SALT, SWEEP_MS: "500" }, {}, channels);
});
afterAll(() => world[Symbol.asyncDispose]());

const nextPhone = (): string => phone((last += 1));
const national = (e164: string): string => `0${e164.slice(3)}`.replaceAll(/(..)(?=.)/g, "$1 ");
const theirs = (to: string, fields: object = {}) => contact({ recipientPhone: to, message: TEXT, ...fields });

async function erase(who: string, from: TestService = service): Promise<Answer> {
  const response = await fetch(`${from.url}/api/contacts/${encodeURIComponent(who)}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${SECRET}` },
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** Where the database still has any of these words. */
async function tablesWith(...words: string[]): Promise<string[]> {
  const { rows } = await world.sql.query("select tablename from pg_tables where schemaname = 'public' order by 1");
  const found: string[] = [];
  for (const { tablename } of rows) {
    const like = words.map((word) => `%${word}%`);
    const { rowCount } = await world.sql.query(`select 1 from ${tablename} t where t::text like any ($1) limit 1`, [
      like,
    ]);
    if (rowCount) found.push(tablename);
  }
  return found;
}

/** Redis' keys that have any of these words. */
async function keysWith(...words: string[]): Promise<string[]> {
  const read: Record<string, (key: string) => Promise<unknown>> = {
    hash: (key) => world.redis.hgetall(key),
    string: (key) => world.redis.get(key),
    list: (key) => world.redis.lrange(key, 0, -1),
    zset: (key) => world.redis.zrange(key, "0", "-1"),
    set: (key) => world.redis.smembers(key),
    stream: (key) => world.redis.xrange(key, "-", "+"),
  };
  const found: string[] = [];
  for (const key of await world.redis.keys(`${world.prefix}*`)) {
    const value = JSON.stringify((await read[await world.redis.type(key)]?.(key)) ?? "");
    if (words.some((word) => value.includes(word))) found.push(key);
  }
  return found;
}

const digits = (to: string): string => to.slice(1);
/** In the number's own words and in national ones, and what was said. */
const traces = (to: string): string[] => [digits(to), national(to), `0${to.slice(3)}`, TEXT];

test("a person who was written to, answered and was suppressed → nothing is left of number and words", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  const contacts = [theirs(national(to), { adId: "ad_1" }), theirs(to, { adId: "ad_2", channel: "ringless_voice" })];
  const { huntId } = await run(service, { accountId, contacts });
  await inbound.reply({ provider: "scripted", from: to, text: TEXT, at: Date.now() });
  await inbound.reply({ provider: "scripted", from: to, text: "STOP", at: Date.now() });
  await service.post("/api/suppressions", { phone: to, reason: "asked twice" });
  expect(await tablesWith(...traces(to))).toEqual(["leads", "messages", "replies", "suppressions"]);

  const { status, body } = await erase(national(to));
  expect({ status, body }).toEqual({ status: 200, body: { messages: 2, replies: 2, leads: 2, contacts: 0 } });
  expect(await tablesWith(...traces(to))).toEqual([]);
  expect(await keysWith(...traces(to))).toEqual([]);

  const kept = await messagesOf(service, huntId);
  expect(kept.map(({ adId, recipientPhone }) => [adId, recipientPhone])).toEqual([
    ["ad_1", "erased"],
    ["ad_2", "erased"],
  ]);
  const { rows } = await world.sql.query("select phone, stage from leads where account_id = $1", [accountId]);
  expect(rows).toEqual([
    { phone: null, stage: "replied" },
    { phone: null, stage: expect.any(String) },
  ]);
  expect((await erase(to)).body).toEqual({ messages: 0, replies: 0, leads: 0, contacts: 0 });
});

test("somebody else → keeps everything", async () => {
  const [accountId, to, other] = [await world.account(), nextPhone(), nextPhone()];
  const { huntId } = await run(service, {
    accountId,
    contacts: [theirs(to), contact({ recipientPhone: other, adId: "x" })],
  });
  await inbound.reply({ provider: "scripted", from: other, text: "Bien sûr", at: Date.now() });
  await service.post("/api/suppressions", { phone: other, accountId });
  await erase(to);
  expect(await tablesWith(digits(other))).toEqual(["leads", "messages", "replies", "suppressions"]);
  expect((await messagesOf(service, huntId)).map(({ recipientPhone }) => recipientPhone)).toEqual(["erased", other]);
});

test("a person who was erased → is contacted by no account, in a hunt or alone, and nothing of it is stored", async () => {
  const to = nextPhone();
  await erase(to);
  const accountId = await world.account();
  await world.credits(accountId, "sms", 5);
  const { huntId } = await run(service, {
    accountId,
    contacts: [theirs(national(to)), theirs(to), theirs(to, { channel: "ringless_voice" })],
  });
  expect((await messagesOf(service, huntId)).map(({ reason }) => reason)).toEqual(Array(3).fill("suppressed"));
  const alone = await service.post("/api/phone/sms", { recipientPhone: to, accountId, message: TEXT });
  expect((await settles(service, alone.body.messageId, "skipped")).reason).toBe("suppressed");
  expect(provider.callsTo(to)).toBe(0);
  expect(await tablesWith(...traces(to))).toEqual([]);
  const { rows } = await world.sql.query("select balance, reserved from credits where account_id = $1", [accountId]);
  expect(rows).toEqual([{ balance: "5", reserved: "0" }]);
  // The job that the request put into its queue goes as well.
  await expect.poll(() => keysWith(...traces(to))).toEqual([]);
});

test("a message that is queued → is skipped at once, its credit comes back, and its job is gone", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  await world.credits(accountId, "sms", 1);
  await world.queue("sms").pause();
  const { huntId } = await submit(service, { accountId, contacts: [theirs(to)] });
  await expect.poll(() => keysWith(digits(to))).toHaveLength(1);
  const { body } = await erase(to);
  expect(body).toMatchObject({ messages: 1, leads: 1 });
  expect(await keysWith(...traces(to))).toEqual([]);
  expect(await messagesOf(service, huntId)).toMatchObject([{ status: "skipped", reason: "suppressed" }]);
  await world.queue("sms").resume();
  const { rows } = await world.sql.query("select balance, reserved from credits where account_id = $1", [accountId]);
  expect(rows).toEqual([{ balance: "1", reserved: "0" }]);
  expect(provider.callsTo(to)).toBe(0);
});

test("a call that is under way → ends as it would have, and then nothing is left of it either", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  const { promise, resolve } = Promise.withResolvers<void>();
  script = async (request, signal) => {
    await promise;
    return accept(request, signal);
  };
  const { huntId } = await submit(service, { accountId, contacts: [theirs(to)] });
  await expect.poll(() => provider.callsTo(to)).toBe(1);
  expect((await erase(to)).body).toMatchObject({ messages: 1 });
  expect(await tablesWith(digits(to))).toEqual(["messages"]);
  resolve();
  await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("sent");
  await expect.poll(() => tablesWith(...traces(to))).toEqual([]);
  await expect.poll(() => keysWith(...traces(to))).toEqual([]);
  script = accept;
});

test("a call that is under way and fails so that it would be tried again → is not made again", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  const { promise, resolve } = Promise.withResolvers<void>();
  script = async () => {
    await promise;
    throw refusal("carrier_21610", true);
  };
  const { huntId } = await submit(service, { accountId, contacts: [theirs(to)] });
  await expect.poll(() => provider.callsTo(to)).toBe(1);
  await erase(to);
  resolve();
  await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("failed");
  await expect.poll(() => tablesWith(...traces(to))).toEqual([]);
  const [{ messageId }] = await messagesOf(service, huntId);
  expect(await service.post(`/api/jobs/sms/${messageId}/retry`, {})).toMatchObject({
    status: expect.toBeOneOf([404, 409]),
  });
  expect(provider.callsTo(to)).toBe(1);
  script = accept;
});

test("contacts that are not planned yet, written in any way → are skipped without number and words", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  await world.queue("hunt").pause();
  const spellings = [to, national(to), `00${digits(to)}`, `+33 (0)${to.slice(3)}`];
  const contacts = [
    ...spellings.map((recipientPhone, i) => theirs(recipientPhone, { adId: `ad_${i}` })),
    contact({ adId: "other", recipientPhone: nextPhone() }),
  ];
  const { jobId, huntId } = await submit(service, { accountId, contacts });
  expect(await tablesWith(TEXT)).toEqual(["hunt_chunks"]);
  expect((await erase(to)).body).toMatchObject({ messages: 0, contacts: 4 });
  expect(await tablesWith(...traces(to), "(0)")).toEqual([]);
  await world.queue("hunt").resume();
  await expect.poll(async () => (await service.get(`/api/hunt/status/${jobId}`)).body.state).toBe("finished");
  expect((await messagesOf(service, huntId)).map(({ adId, reason, status }) => [adId, reason ?? status])).toEqual([
    ["ad_0", "suppressed"],
    ["ad_1", "suppressed"],
    ["ad_2", "suppressed"],
    ["ad_3", "suppressed"],
    ["other", "sent"],
  ]);
});

test("an erasure while hunts with that person are being planned → whatever the order, nothing is left, nobody is called twice", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  const hunts = Array.from({ length: 8 }, () =>
    submit(service, {
      accountId,
      contacts: [theirs(to), ...Array.from({ length: 20 }, () => contact({ recipientPhone: nextPhone() }))],
    }),
  );
  await Promise.race(hunts);
  const [accepted] = await Promise.all([Promise.all(hunts), erase(to)]);
  for (const { jobId } of accepted) {
    await expect.poll(async () => (await service.get(`/api/hunt/status/${jobId}`)).body.state).toBe("finished");
  }
  await expect.poll(() => tablesWith(...traces(to))).toEqual([]);
  await expect.poll(() => keysWith(...traces(to))).toEqual([]);
});

test("a hash that comes onto the list after planning → the message is not sent", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  await world.queue("sms").pause();
  const { huntId } = await submit(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  await expect.poll(async () => (await messagesOf(service, huntId))[0]?.status).toBe("queued");
  await world.sql.query("insert into suppressions (phone, reason) values ($1, 'erased')", [phoneHash(to, SALT)]);
  await world.queue("sms").resume();
  await expect.poll(async () => (await messagesOf(service, huntId))[0]?.reason).toBe("suppressed");
  expect(provider.callsTo(to)).toBe(0);
});

test("a job that comes into its queue after the erasure → is taken out again", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  const { huntId } = await run(service, { accountId, contacts: [theirs(to)] });
  const [{ messageId }] = await messagesOf(service, huntId);
  await erase(to);
  const data = { messageId, accountId, channel: "sms", to, content: { text: TEXT } };
  await world.queue("sms").add("sms", data, { jobId: messageId });
  await expect.poll(() => keysWith(...traces(to))).toEqual([]);
  expect((await messageOf(service, messageId)).status).toBe("sent");
  expect(provider.callsTo(to)).toBe(1);
});

test("what they wrote and the database has refused, or was away for → goes from its queue; what others wrote stays", async () => {
  const [to, other] = [nextPhone(), nextPhone()];
  const queue = world.queue("inbound");
  const reply = (from: string) => ({ kind: "reply", provider: "scripted", from, text: TEXT, at: Date.now() });
  // Beyond what Postgres takes for a time.
  const refused = (...from: string[]) => ({ events: from.map((each) => ({ ...reply(each), at: 8.64e15 })) });
  const jobs = await queue.addBulk(
    [refused(to), refused(to, other), refused(other)].map((data) => ({ name: "events", data })),
  );
  for (const job of jobs) await expect.poll(() => job.getState()).toBe("failed");
  await queue.add("events", { events: [reply(to)] }, { delay: 600_000 });
  await queue.pause();
  await queue.add("events", { events: [reply(to)] });
  await erase(to);
  expect(await keysWith(digits(to))).toEqual([]);
  expect(await Promise.all(jobs.map((job) => job.getState()))).toEqual(["unknown", "failed", "failed"]);
  expect((await queue.getFailed()).flatMap(({ data }) => data.events)).toMatchObject([
    { from: other },
    { from: other },
  ]);
  await queue.resume();
});

test("what WhatsApp has of a person → goes; what it has of others stays", async () => {
  const [accountId, to, other] = [await world.account(), nextPhone(), nextPhone()];
  const [{ id }] = (
    await world.sql.query(
      "insert into whatsapp_sessions (account_id, phone, method, state) values ($1, $2, 'qr', 'stopped') returning id",
      [accountId, nextPhone()],
    )
  ).rows;
  for (const [who, lid] of [
    [to, "987654321000001"],
    [other, "987654321000002"],
  ] as const) {
    const user = digits(who);
    await world.sql.query("insert into whatsapp_numbers (phone, jid, lid) values ($1, $2, $3)", [
      who,
      `${user}@s.whatsapp.net`,
      `${lid}@lid`,
    ]);
    await world.sql.query("insert into whatsapp_contacts (session_id, phone) values ($1, $2)", [id, who]);
    for (const jid of [`${user}@s.whatsapp.net`, `${lid}@lid`]) {
      await world.sql.query("insert into whatsapp_sent (id, session_id, jid, sealed) values ($1, $2, $3, 'x')", [
        randomUUID(),
        id,
        jid,
      ]);
    }
    for (const [type, key] of [
      ["session", `${user}.0`],
      ["session", `${lid}_1.0`],
      ["device-list", user],
      ["lid-mapping", user],
      ["lid-mapping", `${lid}_reverse`],
      ["tctoken", `${lid}@lid`],
    ]) {
      await world.sql.query("insert into whatsapp_keys (session_id, type, id, sealed) values ($1, $2, $3, 'x')", [
        id,
        type,
        key,
      ]);
    }
  }
  await world.sql.query("insert into whatsapp_keys (session_id, type, id, sealed) values ($1, 'pre-key', $2, 'x')", [
    id,
    digits(to),
  ]);
  await erase(to);
  await world.sql.query("delete from whatsapp_keys where type = 'pre-key'");
  expect(await tablesWith(digits(to), "987654321000001")).toEqual([]);
  const { rows } = await world.sql.query(
    "select (select count(*)::int from whatsapp_sent) as sent, (select count(*)::int from whatsapp_keys) as keys, (select count(*)::int from whatsapp_contacts) as contacts",
  );
  expect(rows).toEqual([{ sent: 2, keys: 6, contacts: 1 }]);
});

test("the list → shows that somebody was erased without a number; START does not take it back, a person can", async () => {
  const to = nextPhone();
  await erase(to);
  await inbound.reply({ provider: "scripted", from: to, text: "START", at: Date.now() });
  const found = await service.get(`/api/suppressions?${new URLSearchParams({ phone: to }).toString()}`);
  expect(found.body.suppressions).toEqual([
    { accountId: null, phone: null, source: "erasure", reason: null, createdAt: expect.any(String) },
  ]);
  expect((await service.get("/api/suppressions/export?everybody=true")).body).not.toContain("hash");
  await fetch(`${service.url}/api/suppressions?${new URLSearchParams({ phone: to }).toString()}`, {
    method: "DELETE",
    headers: { authorization: `Bearer ${SECRET}` },
  });
  const { huntId } = await run(service, {
    huntId: newHuntId(),
    accountId: await world.account(),
    contacts: [theirs(to)],
  });
  expect(await messagesOf(service, huntId)).toMatchObject([{ status: "sent" }]);
});

test("somebody who was erased and answers a message of then → is kept as who writes now, and may write STOP", async () => {
  const [accountId, to] = [await world.account(), nextPhone()];
  await run(service, { accountId, contacts: [contact({ recipientPhone: to })] });
  const call = provider.calls.find((each) => each.to === to);
  await erase(to);
  const providerMessageId = `scripted:${call?.attemptId}`;
  await inbound.reply({ provider: "scripted", providerMessageId, from: to, text: "STOP", at: Date.now() });
  const { rows } = await world.sql.query("select account_id, phone, reason from suppressions where account_id = $1", [
    accountId,
  ]);
  expect(rows).toEqual([{ account_id: accountId, phone: to, reason: "stop" }]);
  await erase(to);
  expect(await tablesWith(digits(to))).toEqual([]);
});

test("without a salt → nobody is erased, and the answer says what to set", async () => {
  await using other = await openWorld();
  const unsalted = await other.start({ SUPPRESSION_SALT: "" });
  const accountId = await other.account();
  const { huntId } = await run(unsalted, { accountId, contacts: [theirs("+33612000017")] });
  expect(await erase("+33612000017", unsalted)).toMatchObject({
    status: 503,
    body: { code: "erasure_off", detail: expect.stringContaining("Set SUPPRESSION_SALT") },
  });
  expect(await messagesOf(unsalted, huntId)).toMatchObject([{ recipientPhone: "+33612000017" }]);
});

test("all of this → no number of theirs stands in the log", () => {
  const log = JSON.stringify(service.logs);
  for (let n = 1; n <= last; n++) expect(log).not.toContain(digits(phone(n)));
});
