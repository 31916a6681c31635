import { createClient } from "@supabase/supabase-js";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { UnavailableError } from "../../src/core/errors.ts";
import { DatabaseError } from "../../src/store/database.ts";
import type { Session, SessionState } from "../../src/store/sessions.ts";
import { key, LEASE_MS, message, openSessionLedger, PHONE, type SessionLedger } from "../helpers/session-ledger.ts";

let ledger: SessionLedger;
let database: SessionLedger["database"];
let store: SessionLedger["store"];

beforeAll(async () => {
  ledger = await openSessionLedger();
  ({ database, store } = ledger);
});
afterAll(() => ledger[Symbol.asyncDispose]());
beforeEach(() => ledger.clear());

const read = async (id: string): Promise<Session> => {
  const session = await store.session(id);
  if (!session) throw new Error("there is none");
  return session;
};

const setState = (id: string, state: SessionState, wanted = "on") =>
  database.sql.query("update whatsapp_sessions set state = $2, wanted = $3 where id = $1", [id, state, wanted]);

describe("pair", () => {
  test("a new number → a session that is being paired", async () => {
    const answer = await store.pair("acc", PHONE, "code");
    expect(answer).toMatchObject({
      result: "created",
      session: {
        accountId: "acc",
        phone: PHONE,
        method: "code",
        state: "pairing",
        wanted: "on",
        epoch: 0,
        settings: {},
        pace: {},
        qr: null,
        pairedAt: null,
        jid: null,
        coldPausedUntil: null,
      },
    });
    expect(await store.sessions({})).toEqual([(answer as { session: Session }).session]);
  });

  test("one that is being paired → again, with the new method, and it keeps its owner", async () => {
    const { id, epoch } = await ledger.claimed();
    expect(await store.report({ id, epoch }, { qr: "2@abc" })).toBe(true);
    expect(await store.pair("acc", PHONE, "code")).toMatchObject({
      result: "again",
      session: { id, method: "code", state: "pairing", qr: "2@abc", epoch },
    });
    expect(await store.report({ id, epoch }, { qr: null })).toBe(true);
  });

  test.each(["connecting", "open", "backing-off"] as const)("one that is %s → paired, unchanged", async (state) => {
    const { id } = await ledger.pair();
    await setState(id, state);
    expect(await store.pair("acc", PHONE, "code")).toMatchObject({
      result: "paired",
      session: { id, state, method: "qr" },
    });
  });

  test.each(["logged-out", "banned", "stopped"] as const)(
    "one that is %s → again, without keys or what was known of the pairing, and its owner is fenced off",
    async (state) => {
      const { id, epoch } = await ledger.claimed();
      await store.writeKeys({ id, epoch }, [key("1")]);
      const pairedAt = new Date().toISOString();
      await store.report({ id, epoch }, { state, lastError: "401", qr: "2@abc", pairingCode: "ABCD", pairedAt });
      const answer = await store.pair("acc", PHONE, "code");
      expect(answer).toMatchObject({
        result: "again",
        session: { id, state: "pairing", method: "code", lastError: null, qr: null, pairingCode: null, pairedAt: null },
      });
      expect(await ledger.keysOf(id)).toBe(0);
      expect(await store.writeKeys({ id, epoch }, [key("1")])).toBe(false);
      expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
      expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, epoch: epoch + 2 }]);
    },
  );

  test("another account's number → taken", async () => {
    await ledger.pair();
    expect(await store.pair("other", PHONE, "qr")).toEqual({ result: "taken" });
  });

  test("one that is to be forgotten → leaving", async () => {
    const { id } = await ledger.pair();
    await store.dismiss(id);
    expect(await store.pair("acc", PHONE, "qr")).toEqual({ result: "leaving" });
  });

  test("no such account → unknown_account, and no session", async () => {
    expect(await store.pair("nobody", PHONE, "qr")).toEqual({ result: "unknown_account" });
    expect(await store.sessions({})).toEqual([]);
  });

  test("asked for twenty times at once → one is created", async () => {
    const answers = await Promise.all(Array.from({ length: 20 }, () => store.pair("acc", PHONE, "qr")));
    expect(answers.filter(({ result }) => result === "created")).toHaveLength(1);
    expect(answers.filter(({ result }) => result === "again")).toHaveLength(19);
  });
});

describe("claim", () => {
  test("sixty sessions, six claimers → each session has one owner", async () => {
    for (let i = 0; i < 60; i++) await ledger.pair(`+336${10_000_000 + i}`);
    const claims = await Promise.all(Array.from({ length: 6 }, (_, i) => store.claim(`worker-${i}`, LEASE_MS, 7)));
    for (const sessions of claims) expect(sessions.length).toBeLessThanOrEqual(7);
    const ids = claims.flat().map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const rest = await store.claim("worker-7", LEASE_MS, 100);
    expect(rest.length + ids.length).toBe(60);
    expect(new Set([...ids, ...rest.map(({ id }) => id)]).size).toBe(60);
    expect(await store.claim("worker-8", LEASE_MS, 100)).toEqual([]);
  });

  test("one that another transaction holds → the others are claimed without waiting for it", async () => {
    const [held, free] = [await ledger.pair("+33600000001"), await ledger.pair("+33600000002")];
    const client = await database.sql.connect();
    try {
      await client.query("begin");
      await client.query("select 1 from whatsapp_sessions where id = $1 for update", [held.id]);
      expect(await store.claim("worker-1", LEASE_MS, 10)).toMatchObject([{ id: free.id }]);
    } finally {
      await client.query("rollback");
      client.release();
    }
    expect(await store.claim("worker-1", LEASE_MS, 10)).toMatchObject([{ id: held.id }]);
  });

  test("one that is leased → nobody else's, until the lease has expired", async () => {
    const { id, epoch } = await ledger.claimed();
    expect(await store.claim("worker-2", LEASE_MS, 10)).toEqual([]);
    await ledger.expire(id);
    expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, epoch: epoch + 1 }]);
  });

  test("a lease → expires by itself", async () => {
    await ledger.pair();
    const [first] = await store.claim("worker-1", 1, 10);
    await expect.poll(() => store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id: first?.id }]);
  });

  test.each([
    ["logged-out", "on", false],
    ["banned", "on", false],
    ["stopped", "on", false],
    ["logged-out", "gone", true],
    ["stopped", "gone", true],
    ["backing-off", "on", true],
    ["open", "on", true],
  ] as const)("%s, wanted %s → claimable: %s", async (state, wanted, isClaimable) => {
    const { id } = await ledger.pair();
    await setState(id, state, wanted);
    expect(await store.claim("worker-1", LEASE_MS, 10)).toHaveLength(isClaimable ? 1 : 0);
  });
});

describe("renew", () => {
  test("the caller's own → renewed; another's, an older one, an expired one → not", async () => {
    const mine = await ledger.claimed("+33600000001");
    const lost = await ledger.claimed("+33600000002");
    const expired = await ledger.claimed("+33600000003");
    await ledger.expire(lost.id);
    const [taken] = await store.claim("worker-2", LEASE_MS, 10);
    expect(taken?.id).toBe(lost.id);
    await ledger.expire(expired.id);
    await store.setSettings(mine.id, { messagesPerMinute: 3 });
    const renewed = await store.renew([mine, lost, expired], LEASE_MS);
    expect(renewed).toMatchObject([{ id: mine.id, epoch: mine.epoch, settings: { messagesPerMinute: 3 } }]);
  });

  test("renewed → longer", async () => {
    const session = await ledger.claimed();
    const until = async (): Promise<Date> =>
      (await database.sql.query("select leased_until from whatsapp_sessions")).rows[0].leased_until;
    const before = await until();
    await store.renew([session], 10 * LEASE_MS);
    expect((await until()).getTime()).toBeGreaterThan(before.getTime() + 8 * LEASE_MS);
  });

  test("none → none, without asking", async () => {
    expect(await store.renew([], LEASE_MS)).toEqual([]);
  });
});

describe("report", () => {
  test("fields → exactly these change", async () => {
    const { id, epoch } = await ledger.claimed();
    const pairedAt = "2026-11-22T12:00:00+00:00";
    expect(
      await store.report(
        { id, epoch },
        {
          state: "open",
          qr: "2@abc",
          pairingCode: "ABCDEFGH",
          lastError: "503",
          pairedAt,
          jid: "33612345678:1@s.whatsapp.net",
          lid: "12345:1@lid",
          pace: { tokens: 1 },
          coldPausedUntil: pairedAt,
        },
      ),
    ).toBe(true);
    const open = await read(id);
    expect(open).toMatchObject({ state: "open", qr: "2@abc", pairingCode: "ABCDEFGH", lastError: "503", pairedAt });
    expect(open).toMatchObject({ jid: "33612345678:1@s.whatsapp.net", lid: "12345:1@lid", pace: { tokens: 1 } });
    await store.report({ id, epoch }, {});
    expect(await read(id)).toEqual(open);
    await store.report({ id, epoch }, { state: "open", qr: null, pairingCode: null, lastError: null });
    expect(await read(id)).toEqual({ ...open, qr: null, pairingCode: null, lastError: null });
    await store.report({ id, epoch }, { coldPausedUntil: null, state: "backing-off" });
    const later = await read(id);
    expect(later).toMatchObject({ coldPausedUntil: null, state: "backing-off" });
    expect(Date.parse(later.since)).toBeGreaterThan(Date.parse(open.since));
  });

  test("release → claimable at once, and the former owner is a stranger", async () => {
    const { id, epoch } = await ledger.claimed();
    expect(await store.report({ id, epoch }, { state: "backing-off", release: true })).toBe(true);
    expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
    // What the former owner said of the connection holds no longer.
    expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, state: "connecting" }]);
  });

  test("a former owner, an expired one, a stranger → false, and nothing changes", async () => {
    const { id, epoch } = await ledger.claimed();
    await ledger.expire(id);
    expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
    const [next] = await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.report({ id, epoch }, { state: "open", jid: "x", release: true })).toBe(false);
    expect(await store.report({ id: randomUUID(), epoch: 1 }, { state: "open" })).toBe(false);
    expect(await read(id)).toEqual(next);
    expect(await store.renew([next as Session], LEASE_MS)).toHaveLength(1);
  });

  test("a state that does not exist → refused", async () => {
    const { id, epoch } = await ledger.claimed();
    await expect(store.report({ id, epoch }, { state: "confused" as SessionState })).rejects.toThrow(DatabaseError);
  });
});

describe("what callers ask for", () => {
  test("dismissed → wanted no more, as its owner learns when it renews", async () => {
    const session = await ledger.claimed();
    expect(await store.dismiss(session.id)).toBe(true);
    expect(await store.renew([session], LEASE_MS)).toMatchObject([{ wanted: "gone" }]);
    expect(await store.dismiss(randomUUID())).toBe(false);
  });

  test("settings → kept, for a session that exists", async () => {
    const { id } = await ledger.pair();
    expect(await store.setSettings(id, { typing: false })).toMatchObject({ id, settings: { typing: false } });
    expect(await store.session(id)).toMatchObject({ settings: { typing: false } });
    expect(await store.setSettings(randomUUID(), {})).toBeUndefined();
  });

  test("sessions → in the order of creation, of one account or of all", async () => {
    const one = await ledger.pair("+33600000001");
    const two = await ledger.pair("+33600000002", "other");
    const three = await ledger.pair("+33600000003");
    expect((await store.sessions({})).map(({ id }) => id)).toEqual([one.id, two.id, three.id]);
    expect((await store.sessions({ accountId: "acc" })).map(({ id }) => id)).toEqual([one.id, three.id]);
    expect(await store.sessions({ accountId: "nobody" })).toEqual([]);
    expect(await store.session(randomUUID())).toBeUndefined();
  });
});

const TABLES = [
  "whatsapp_sessions",
  "whatsapp_keys",
  "whatsapp_sent",
  "whatsapp_numbers",
  "whatsapp_contacts",
  "media",
] as const;

test.each(["anon", "authenticated"])(
  "the role %s → reads none of these tables, and row-level security hides all of it",
  async (role) => {
    const session = await ledger.claimed();
    await store.writeKeys(session, [key("a")]);
    await store.keepSent(message(session.id));
    await store.keepNumber({ phone: PHONE, jid: null, lid: null });
    await store.keepMedia({
      id: randomUUID(),
      accountId: "acc",
      contentType: "text/plain",
      fileName: undefined,
      data: Buffer.from("x"),
    });
    const client = await database.sql.connect();
    try {
      for (const table of TABLES) {
        const { rows } = await client.query(`select 1 from ${table} limit 1`);
        expect({ table, rows: rows.length }).toEqual({ table, rows: 1 });
        await client.query(`begin; set local role ${role}`);
        await expect(client.query(`select * from ${table}`)).rejects.toMatchObject({ code: "42501" });
        await client.query(`rollback; begin; grant select on ${table} to ${role}; set local role ${role}`);
        const granted = await client.query(`select * from ${table}`);
        expect({ table, rows: granted.rows }).toEqual({ table, rows: [] });
        await client.query("rollback");
      }
    } finally {
      client.release();
    }
  },
);

test("the anonymous key → reads none of these tables", async () => {
  const anonymous = createClient(database.supabaseUrl, database.supabaseAnonKey, { auth: { persistSession: false } });
  for (const table of TABLES) {
    expect({ table, code: (await anonymous.from(table).select("*")).error?.code }).toEqual({ table, code: "42501" });
  }
});

test("the database does not answer → UnavailableError, for everything that is asked", async () => {
  const session = await ledger.claimed();
  await database.pausePostgrest();
  try {
    for (const ask of [
      () => store.pair("acc", PHONE, "qr"),
      () => store.session(session.id),
      () => store.claim("worker-2", LEASE_MS, 1),
      () => store.renew([session], LEASE_MS),
      () => store.report(session, { state: "open" }),
      () => store.writeKeys(session, [key("a")]),
      () => store.readKeys(session.id, "session", ["a"]),
      () => store.keepSent(message(session.id)),
      () => store.number(PHONE),
      () => store.contactsSince(session.id, 0),
      () => store.media(randomUUID(), "acc"),
    ]) {
      await expect(ask()).rejects.toThrow(UnavailableError);
    }
  } finally {
    await database.resumePostgrest();
  }
});
