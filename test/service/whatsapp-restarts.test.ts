import { randomBytes } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createSealer } from "../../src/core/sealed.ts";
import { whatsappIdOf } from "../../src/channels/whatsapp/providers/baileys/message-id.ts";
import type { FakeWhatsApp } from "../fakes/whatsapp/server.ts";
import { phone as recipient, settles } from "../helpers/hunts.ts";
import { openWorld, type World } from "../helpers/service.ts";
import {
  ENCRYPTION_KEY,
  keysOf,
  openFakeWhatsApp,
  pair,
  pairedAccount,
  sendText,
  sessionOf,
  untilState,
  whatsappEnvironment,
} from "../helpers/whatsapp.ts";

let fake: FakeWhatsApp;

beforeAll(async () => {
  fake = await openFakeWhatsApp();
});
afterAll(async () => {
  await fake.stop();
});

const environment = (keys = ENCRYPTION_KEY) => whatsappEnvironment(fake, { WHATSAPP_ENCRYPTION_KEY: keys });

/** Everything that the database keeps of a session, a line each row. */
async function dumpOf(world: World, id: string): Promise<string> {
  const tables = ["whatsapp_keys", "whatsapp_sent", "whatsapp_contacts"].map(
    (table) => `select to_jsonb(t)::text as row from ${table} t where session_id = $1`,
  );
  const { rows } = await world.sql.query(
    `${tables.join(" union all ")} union all select to_jsonb(t)::text from whatsapp_sessions t where id = $1`,
    [id],
  );
  return rows.map(({ row }) => row).join("\n");
}

/** With which keys the rows of a session are sealed, by their marks. */
async function marksOf(world: World, id: string): Promise<string[]> {
  const { rows } = await world.sql.query(
    `select distinct left(sealed, 9) as mark from (
       select sealed from whatsapp_keys where session_id = $1 union all select sealed from whatsapp_sent where session_id = $1
     ) as all_sealed`,
    [id],
  );
  return rows.map(({ mark }) => mark);
}

test("a restart keeps the pairing: it logs in by itself, nobody scans anything, the other side notices nothing", async () => {
  await using world = await openWorld();
  const first = await world.start(environment());
  const { id, phone, accountId } = await pairedAccount(world, first, fake);
  const to = recipient(801);
  await settles(first, await sendText(first, accountId, to, "un"), "delivered");
  const { pairedAt } = await sessionOf(first, id);
  await first.stop();
  expect(fake.connected(phone)).toBe(0);
  const second = await world.start(environment());
  expect(await untilState(second, id, "open")).toMatchObject({ id, pairedAt });
  expect(fake.logins(phone)).toBe(2);
  await settles(second, await sendText(second, accountId, to, "deux"), "delivered");
  expect(fake.messages.filter((message) => message.to === to)).toEqual([
    expect.objectContaining({ text: "un", undecryptable: 0 }),
    expect.objectContaining({ text: "deux", undecryptable: 0 }),
  ]);
});

test("a recipient that asks again after a restart gets the message, from what the database keeps", async () => {
  await using world = await openWorld();
  const first = await world.start(environment());
  const { id, accountId } = await pairedAccount(world, first, fake);
  const messageId = await sendText(first, accountId, recipient(802), "encore ?");
  await settles(first, messageId, "delivered");
  await first.stop();
  const second = await world.start(environment());
  await untilState(second, id, "open");
  const whatsappId = whatsappIdOf(messageId);
  fake.receipt(whatsappId, "retry");
  const again = await fake.waitForMessage((message) => message.id === whatsappId && message.relays === 2);
  expect(again).toMatchObject({ text: "encore ?", undecryptable: 0 });
  expect(fake.messages.filter((message) => message.id === whatsappId)).toHaveLength(1);
});

test("a new key in front of the old one → every row is sealed again, and the old one can go", async () => {
  await using world = await openWorld();
  const fresh = randomBytes(32).toString("base64");
  const [oldMark, newMark] = [createSealer([ENCRYPTION_KEY]).mark, createSealer([fresh]).mark];
  const first = await world.start(environment());
  const { id, accountId } = await pairedAccount(world, first, fake);
  const messageId = await sendText(first, accountId, recipient(803), "avant");
  await settles(first, messageId, "delivered");
  expect(await marksOf(world, id)).toEqual([oldMark]);
  await first.stop();

  const both = await world.start(environment(`${fresh},${ENCRYPTION_KEY}`));
  await untilState(both, id, "open");
  await expect.poll(() => marksOf(world, id)).toEqual([newMark]);
  await both.stop();

  const alone = await world.start(environment(fresh));
  await untilState(alone, id, "open");
  await settles(alone, await sendText(alone, accountId, recipient(803), "après"), "delivered");
  fake.receipt(whatsappIdOf(messageId), "retry");
  expect(
    await fake.waitForMessage((message) => message.id === whatsappIdOf(messageId) && message.relays === 2),
  ).toMatchObject({ text: "avant", undecryptable: 0 });
});

test("the key is not configured any more → says which, gives no pairing up; with the key back it goes on", async () => {
  await using world = await openWorld();
  const first = await world.start(environment());
  const { id, phone } = await pairedAccount(world, first, fake);
  await first.stop();
  const keys = await keysOf(world, id);
  const wrong = await world.start(environment(randomBytes(32).toString("base64")));
  await expect
    .poll(async () => (await sessionOf(wrong, id)).lastError)
    .toContain(
      `a key that is not configured any more (its mark is ${createSealer([ENCRYPTION_KEY]).mark.slice(0, -1)})`,
    );
  expect(await sessionOf(wrong, id)).toMatchObject({ state: "backing-off" });
  expect(await keysOf(world, id)).toEqual(keys);
  await wrong.stop();
  expect(fake.logins(phone)).toBe(1);
  const right = await world.start(environment());
  expect(await untilState(right, id, "open")).not.toHaveProperty("lastError");
  expect(fake.logins(phone)).toBe(2);
});

test("what the database keeps cannot be read without the key, nor any of it moved elsewhere", async () => {
  await using world = await openWorld();
  const service = await world.start(environment());
  const { id, accountId } = await pairedAccount(world, service, fake);
  const secretText = "La clé est sous le paillasson";
  await settles(service, await sendText(service, accountId, recipient(804), secretText), "delivered");
  const keys = await keysOf(world, id);
  const types = new Set(keys.map(({ type }) => type));
  for (const type of ["creds", "pre-key", "session", "lid-mapping", "device-list"]) expect(types).toContain(type);
  for (const { sealed } of keys) expect(sealed).toMatch(/^[0-9a-f]{8}\.[\w-]+$/);

  const sealer = createSealer([ENCRYPTION_KEY]);
  const aadOf = (session: string, type: string, keyId: string) => JSON.stringify([session, type, keyId]);
  const row = keys.find(({ type }) => type === "creds");
  const creds = JSON.parse(sealer.open(row?.sealed ?? "", aadOf(id, "creds", "")).toString());
  const dump = await dumpOf(world, id);
  const secrets = [creds.signedIdentityKey.private.data, creds.noiseKey.private.data, creds.advSecretKey].map(
    (base64) => Buffer.from(base64, "base64"),
  );
  for (const secret of secrets) expect(secret).toHaveLength(32);
  for (const secret of [...secrets, Buffer.from(secretText)]) {
    for (const encoding of ["utf8", "base64", "base64url", "hex"] as const) {
      expect(dump).not.toContain(secret.toString(encoding));
    }
  }
  const { id: other } = await pair(service, fake, accountId);
  expect(() => sealer.open(row?.sealed ?? "", aadOf(other, "creds", ""))).toThrow("belongs elsewhere");
});

test("in all of that nobody broke WhatsApp's protocol", () => {
  expect(fake.faults).toEqual([]);
});
