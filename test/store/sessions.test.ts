import { createClient } from "@supabase/supabase-js";
import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { UnavailableError } from "../../src/core/errors.ts";
import { Database, DatabaseError } from "../../src/store/database.ts";
import type { Lease, SentMessage, Session, SessionState } from "../../src/store/sessions.ts";
import { createSessionStore } from "../../src/store/supabase-sessions.ts";

const PHONE = "+33612345678";
const LEASE_MS = 60_000;
/** What a hosted project cuts answers off at. */
const MAX_ROWS = 1000;

let database: TestDatabase;
let store: ReturnType<typeof createSessionStore>;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"), { maxRows: MAX_ROWS });
  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = database;
  store = createSessionStore(new Database({ url, serviceKey, timeoutMs: 10_000 }));
  await database.sql.query("insert into accounts (id) values ('acc'), ('other')");
});
afterAll(async () => {
  store.close();
  await database.drop();
});
beforeEach(async () => {
  await database.sql.query("delete from whatsapp_sessions");
  await database.sql.query("delete from whatsapp_numbers");
});

async function pair(phone = PHONE, accountId = "acc"): Promise<Session> {
  const answer = await store.pair(accountId, phone, "qr");
  if (!("session" in answer)) throw new Error(answer.result);
  return answer.session;
}

async function claimed(phone = PHONE): Promise<Session> {
  const { id } = await pair(phone);
  const session = (await store.claim("worker-1", LEASE_MS, 100)).find((session) => session.id === id);
  if (!session) throw new Error("not claimed");
  return session;
}

const read = async (id: string): Promise<Session> => {
  const session = await store.session(id);
  if (!session) throw new Error("there is none");
  return session;
};

const expire = (id: string) =>
  database.sql.query("update whatsapp_sessions set leased_until = now() - interval '1 second' where id = $1", [id]);

const setState = (id: string, state: SessionState, wanted = "on") =>
  database.sql.query("update whatsapp_sessions set state = $2, wanted = $3 where id = $1", [id, state, wanted]);

const key = (id: string, sealed: string | null = `sealed ${id}`, type = "session") => ({ type, id, sealed });

const keysOf = async (id: string): Promise<number> =>
  (await database.sql.query("select count(*)::int as n from whatsapp_keys where session_id = $1", [id])).rows[0].n;

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
    const { id, epoch } = await claimed();
    expect(await store.report({ id, epoch }, { qr: "2@abc" })).toBe(true);
    expect(await store.pair("acc", PHONE, "code")).toMatchObject({
      result: "again",
      session: { id, method: "code", state: "pairing", qr: "2@abc", epoch },
    });
    expect(await store.report({ id, epoch }, { qr: null })).toBe(true);
  });

  test.each(["connecting", "open", "backing-off"] as const)("one that is %s → paired, unchanged", async (state) => {
    const { id } = await pair();
    await setState(id, state);
    expect(await store.pair("acc", PHONE, "code")).toMatchObject({
      result: "paired",
      session: { id, state, method: "qr" },
    });
  });

  test.each(["logged-out", "banned", "stopped"] as const)(
    "one that is %s → again, without keys or what was known of the pairing, and its owner is fenced off",
    async (state) => {
      const { id, epoch } = await claimed();
      await store.writeKeys({ id, epoch }, [key("1")]);
      const pairedAt = new Date().toISOString();
      await store.report({ id, epoch }, { state, lastError: "401", qr: "2@abc", pairingCode: "ABCD", pairedAt });
      const answer = await store.pair("acc", PHONE, "code");
      expect(answer).toMatchObject({
        result: "again",
        session: { id, state: "pairing", method: "code", lastError: null, qr: null, pairingCode: null, pairedAt: null },
      });
      expect(await keysOf(id)).toBe(0);
      expect(await store.writeKeys({ id, epoch }, [key("1")])).toBe(false);
      expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
      expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, epoch: epoch + 2 }]);
    },
  );

  test("another account's number → taken", async () => {
    await pair();
    expect(await store.pair("other", PHONE, "qr")).toEqual({ result: "taken" });
  });

  test("one that is to be forgotten → leaving", async () => {
    const { id } = await pair();
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
    for (let i = 0; i < 60; i++) await pair(`+336${10_000_000 + i}`);
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
    const [held, free] = [await pair("+33600000001"), await pair("+33600000002")];
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
    const { id, epoch } = await claimed();
    expect(await store.claim("worker-2", LEASE_MS, 10)).toEqual([]);
    await expire(id);
    expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, epoch: epoch + 1 }]);
  });

  test("a lease → expires by itself", async () => {
    await pair();
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
    const { id } = await pair();
    await setState(id, state, wanted);
    expect(await store.claim("worker-1", LEASE_MS, 10)).toHaveLength(isClaimable ? 1 : 0);
  });
});

describe("renew", () => {
  test("the caller's own → renewed; another's, an older one, an expired one → not", async () => {
    const mine = await claimed("+33600000001");
    const lost = await claimed("+33600000002");
    const expired = await claimed("+33600000003");
    await expire(lost.id);
    const [taken] = await store.claim("worker-2", LEASE_MS, 10);
    expect(taken?.id).toBe(lost.id);
    await expire(expired.id);
    await store.setSettings(mine.id, { messagesPerMinute: 3 });
    const renewed = await store.renew([mine, lost, expired], LEASE_MS);
    expect(renewed).toMatchObject([{ id: mine.id, epoch: mine.epoch, settings: { messagesPerMinute: 3 } }]);
  });

  test("renewed → longer", async () => {
    const session = await claimed();
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
    const { id, epoch } = await claimed();
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
    const { id, epoch } = await claimed();
    expect(await store.report({ id, epoch }, { state: "backing-off", release: true })).toBe(true);
    expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
    // What the former owner said of the connection holds no longer.
    expect(await store.claim("worker-2", LEASE_MS, 10)).toMatchObject([{ id, state: "connecting" }]);
  });

  test("a former owner, an expired one, a stranger → false, and nothing changes", async () => {
    const { id, epoch } = await claimed();
    await expire(id);
    expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
    const [next] = await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.report({ id, epoch }, { state: "open", jid: "x", release: true })).toBe(false);
    expect(await store.report({ id: randomUUID(), epoch: 1 }, { state: "open" })).toBe(false);
    expect(await read(id)).toEqual(next);
    expect(await store.renew([next as Session], LEASE_MS)).toHaveLength(1);
  });

  test("a state that does not exist → refused", async () => {
    const { id, epoch } = await claimed();
    await expect(store.report({ id, epoch }, { state: "confused" as SessionState })).rejects.toThrow(DatabaseError);
  });
});

describe("what callers ask for", () => {
  test("dismissed → wanted no more, as its owner learns when it renews", async () => {
    const session = await claimed();
    expect(await store.dismiss(session.id)).toBe(true);
    expect(await store.renew([session], LEASE_MS)).toMatchObject([{ wanted: "gone" }]);
    expect(await store.dismiss(randomUUID())).toBe(false);
  });

  test("settings → kept, for a session that exists", async () => {
    const { id } = await pair();
    expect(await store.setSettings(id, { typing: false })).toMatchObject({ id, settings: { typing: false } });
    expect(await store.session(id)).toMatchObject({ settings: { typing: false } });
    expect(await store.setSettings(randomUUID(), {})).toBeUndefined();
  });

  test("sessions → in the order of creation, of one account or of all", async () => {
    const one = await pair("+33600000001");
    const two = await pair("+33600000002", "other");
    const three = await pair("+33600000003");
    expect((await store.sessions({})).map(({ id }) => id)).toEqual([one.id, two.id, three.id]);
    expect((await store.sessions({ accountId: "acc" })).map(({ id }) => id)).toEqual([one.id, three.id]);
    expect(await store.sessions({ accountId: "nobody" })).toEqual([]);
    expect(await store.session(randomUUID())).toBeUndefined();
  });
});

describe("keys", () => {
  test("written, overwritten and deleted in one write", async () => {
    const { id, epoch } = await claimed();
    const lease: Lease = { id, epoch };
    expect(await store.writeKeys(lease, [key("a"), key("b"), key("c"), key("a", "another", "pre-key")])).toBe(true);
    expect(await store.writeKeys(lease, [key("a", null), key("b", "new"), key("d"), key("never", null)])).toBe(true);
    expect(await store.readKeys(id, "session", undefined)).toEqual(
      new Map([
        ["b", "new"],
        ["c", "sealed c"],
        ["d", "sealed d"],
      ]),
    );
    expect(await store.readKeys(id, "session", ["b", "a", "z"])).toEqual(new Map([["b", "new"]]));
    expect(await store.readKeys(id, "pre-key", ["a"])).toEqual(new Map([["a", "another"]]));
    expect(await store.readKeys(id, "session", [])).toEqual(new Map());
    expect(await store.readKeys(randomUUID(), "session", undefined)).toEqual(new Map());
    expect(await store.writeKeys(lease, [])).toBe(true);
  });

  test("more than an answer may have rows → all of them", async () => {
    const { id, epoch } = await claimed();
    const keys = Array.from({ length: MAX_ROWS + 500 }, (_, i) => key(`${i}`));
    expect(await store.writeKeys({ id, epoch }, keys)).toBe(true);
    expect((await store.readKeys(id, "session", undefined)).size).toBe(MAX_ROWS + 500);
    expect(
      (
        await store.readKeys(
          id,
          "session",
          keys.map(({ id }) => id),
        )
      ).size,
    ).toBe(MAX_ROWS + 500);
  });

  test("one bad key among many → none is written, and none deleted", async () => {
    const { id, epoch } = await claimed();
    await store.writeKeys({ id, epoch }, [key("kept")]);
    const bad = { type: "session", id: null as unknown as string, sealed: "x" };
    await expect(store.writeKeys({ id, epoch }, [key("new"), key("kept", null), bad])).rejects.toThrow(DatabaseError);
    expect(await store.readKeys(id, "session", undefined)).toEqual(new Map([["kept", "sealed kept"]]));
  });

  test("a former owner, an expired lease, a stranger → false, and nothing is written or deleted", async () => {
    const { id, epoch } = await claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await expire(id);
    expect(await store.writeKeys({ id, epoch }, [key("a", null), key("b")])).toBe(false);
    await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.writeKeys({ id, epoch }, [key("a", null), key("b")])).toBe(false);
    expect(await store.writeKeys({ id: randomUUID(), epoch: 1 }, [key("b")])).toBe(false);
    expect(await store.readKeys(id, "session", undefined)).toEqual(new Map([["a", "sealed a"]]));
  });

  test("odd ids → as they are", async () => {
    const { id, epoch } = await claimed();
    const ids = ["", "__proto__", "constructor", "12345_1.0", "a:b,c/d", "é\"'\\"];
    await store.writeKeys(
      { id, epoch },
      ids.map((id) => key(id)),
    );
    const rows = await store.readKeys(id, "session", ids);
    expect([...rows.keys()].toSorted()).toEqual(ids.toSorted());
  });

  test("names → of all keys of this session but pre-keys and credentials; above the limit → none at all", async () => {
    const mine = await claimed("+33600000001");
    const other = await claimed("+33600000002");
    await store.writeKeys(other, [key("z")]);
    expect(await store.keyNames(mine.id, 2)).toEqual([]);
    const single = ["pre-key", "creds"].map((type) => ({ ...key("p"), type }));
    await store.writeKeys(mine, [key("a.1"), { ...key("b"), type: "tctoken" }, ...single]);
    expect((await store.keyNames(mine.id, 2))?.toSorted()).toEqual(["session.a.1", "tctoken.b"]);
    expect(await store.keyNames(mine.id, 1)).toBeUndefined();
  });

  test("stale → those of another mark, a page of them, of this session", async () => {
    const mine = await claimed("+33600000001");
    const other = await claimed("+33600000002");
    await store.writeKeys(other, [key("z", "0ld.z")]);
    await store.writeKeys(mine, [key("a", "0ld.a"), key("b", "new.b"), key("c", "0ld.c"), key("d", "ne%.d")]);
    expect(await store.staleKeys(mine.id, "new.", 10)).toEqual([
      key("a", "0ld.a"),
      key("c", "0ld.c"),
      key("d", "ne%.d"),
    ]);
    expect(await store.staleKeys(mine.id, "new.", 2)).toHaveLength(2);
    expect(await store.staleKeys(mine.id, "ne%.", 10)).toHaveLength(3);
  });
});

describe("wipe", () => {
  test("the pairing → no keys, and the session stays the caller's", async () => {
    const { id, epoch } = await claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await store.report({ id, epoch }, { qr: "x", pairingCode: "y", pairedAt: new Date().toISOString() });
    expect(await store.wipe({ id, epoch }, false)).toBe(true);
    expect(await keysOf(id)).toBe(0);
    expect(await read(id)).toMatchObject({ qr: null, pairingCode: null, pairedAt: null });
    expect(await store.report({ id, epoch }, { state: "logged-out" })).toBe(true);
  });

  test("gone → nothing of it is left", async () => {
    const { id, epoch } = await claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    const sent = message(id);
    await store.keepSent(sent);
    expect(await store.wipe({ id, epoch }, false)).toBe(true);
    expect(await store.sent(sent.id)).toMatchObject({ sessionId: id, sealed: "sealed" });
    expect(await store.wipe({ id, epoch }, true)).toBe(true);
    expect(await store.session(id)).toBeUndefined();
    // That it was sent stays known, not what or to whom.
    expect(await store.sent(sent.id)).toEqual({ sessionId: undefined, jid: "", sealed: "" });
    for (const table of ["whatsapp_keys", "whatsapp_sent", "whatsapp_contacts"]) {
      expect((await database.sql.query(`select 1 from ${table} where session_id = $1`, [id])).rows).toEqual([]);
    }
    expect(await store.report({ id, epoch }, { state: "open" })).toBe(false);
    expect(await store.pair("other", PHONE, "qr")).toMatchObject({ result: "created" });
  });

  test.each([true, false])("a former owner (gone: %s) → false, and nothing is lost", async (gone) => {
    const { id, epoch } = await claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await expire(id);
    expect(await store.wipe({ id, epoch }, gone)).toBe(false);
    await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.wipe({ id, epoch }, gone)).toBe(false);
    expect(await keysOf(id)).toBe(1);
  });
});

function message(sessionId: string, fields: Partial<SentMessage> = {}): SentMessage {
  return {
    id: randomUUID(),
    sessionId,
    jid: "33699999999@s.whatsapp.net",
    phone: "+33699999999",
    sealed: "sealed",
    ...fields,
  };
}

describe("sent messages and contacts", () => {
  test("kept → read again, and the recipient counts as contacted, once and for that session", async () => {
    const one = await pair("+33600000001");
    const two = await pair("+33600000002");
    const start = Date.now() - 1000;
    expect(await store.hasContacted(one.id, "+33699999999")).toBe(false);
    const first = message(one.id);
    await Promise.all([store.keepSent(first), store.keepSent(message(one.id)), store.keepSent(message(one.id))]);
    await store.keepSent(message(one.id, { phone: "+33688888888" }));
    expect(await store.sent(first.id)).toEqual({ sessionId: one.id, jid: first.jid, sealed: "sealed" });
    expect(await store.sent("never")).toBeUndefined();
    expect(await store.hasContacted(one.id, "+33699999999")).toBe(true);
    expect(await store.hasContacted(two.id, "+33699999999")).toBe(false);
    expect(await store.contactsSince(one.id, start)).toBe(2);
    expect(await store.contactsSince(two.id, start)).toBe(0);
  });

  test("contacted before → not counted as of today, nor again when written to", async () => {
    const { id } = await pair();
    await store.keepSent(message(id));
    await database.sql.query("update whatsapp_contacts set first_at = now() - interval '1 day'");
    await store.keepSent(message(id));
    await store.keepSent(message(id, { phone: "+33688888888" }));
    expect(await store.contactsSince(id, Date.now() - 3_600_000)).toBe(1);
    expect(await store.contactsSince(id, Date.now() - 2 * 86_400_000)).toBe(2);
  });

  test("the same message again → as it was first", async () => {
    const { id } = await pair();
    const first = message(id);
    await store.keepSent(first);
    await store.keepSent({ ...first, sealed: "another" });
    expect(await store.sent(first.id)).toMatchObject({ sealed: "sealed" });
  });

  test("the same message from another session, once or twice in a batch → what that one sends, counted from now", async () => {
    const [one, two] = [await pair("+33600000001"), await pair("+33600000002")];
    const first = message(one.id);
    await store.keepSent(first);
    await database.sql.query("update whatsapp_sent set created_at = now() - interval '29 days'");
    const again = { ...first, sessionId: two.id, jid: "33699999998@s.whatsapp.net", sealed: "another" };
    await Promise.all([store.keepSent(again), store.keepSent(again), store.keepSent(message(two.id))]);
    expect(await store.sent(first.id)).toEqual({ sessionId: two.id, jid: again.jid, sealed: "another" });
    const { rows } = await database.sql.query(
      "select now() - created_at < interval '1 hour' as is_new from whatsapp_sent where id = $1",
      [first.id],
    );
    expect(rows).toEqual([{ is_new: true }]);
  });

  test("a session that is gone → only its message fails", async () => {
    const { id } = await pair();
    const good = message(id);
    const results = await Promise.allSettled([store.keepSent(good), store.keepSent(message(randomUUID()))]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(await store.sent(good.id)).toBeDefined();
  });

  test("many batches to the same contacts at once → all are kept", async () => {
    const { id } = await pair();
    const messages = Array.from({ length: 2000 }, (_, i) =>
      message(id, { phone: `+336${10_000_000 + ((i * 7) % 300)}` }),
    );
    await Promise.all(messages.map((one) => store.keepSent(one)));
    expect(await store.contactsSince(id, 0)).toBe(300);
  });
});

describe("numbers", () => {
  test("kept → known, and found by LID", async () => {
    const number = { phone: PHONE, jid: "33612345678@s.whatsapp.net", lid: "123@lid" };
    expect(await store.number(PHONE)).toBeUndefined();
    await store.keepNumber(number);
    const known = await store.number(PHONE);
    expect(known).toMatchObject(number);
    expect(Math.abs(Date.parse(known?.checkedAt ?? "") - Date.now())).toBeLessThan(60_000);
    expect(await store.phonesOf({ jid: undefined, lid: "123@lid" })).toEqual([PHONE]);
    expect(await store.phonesOf({ jid: undefined, lid: "456@lid" })).toEqual([]);
  });

  test("many at once, one of them twice → each is known as it was last said, and contacted by its session only", async () => {
    const [mine, other] = [await claimed("+33600000001"), await claimed("+33600000002")];
    const phones = Array.from({ length: 150 }, (_, i) => `+336${String(10_000_000 + i)}`);
    const numbers = phones.map((phone, i) => ({ phone, jid: `${i}@s.whatsapp.net`, lid: i % 2 ? `${i}@lid` : null }));
    await Promise.all([{ phone: PHONE, jid: null, lid: null }, ...numbers].map((number) => store.keepNumber(number)));
    await Promise.all(
      ["1@s.whatsapp.net", "2@s.whatsapp.net"].map((jid) => store.keepNumber({ phone: PHONE, jid, lid: null })),
    );
    const known = await Promise.all([...phones, "+33699999999", PHONE].map((phone) => store.number(phone)));
    expect(known.slice(0, 150)).toMatchObject(numbers);
    expect(known[150]).toBeUndefined();
    expect(known[151]).toMatchObject({ jid: "2@s.whatsapp.net" });

    const [to = ""] = phones;
    await store.keepSent({ id: "3EB0", sessionId: mine.id, jid: "0@s.whatsapp.net", phone: to, sealed: "x" });
    const asked = phones.flatMap((phone) => [store.hasContacted(mine.id, phone), store.hasContacted(other.id, phone)]);
    expect((await Promise.all(asked)).map((yes, i) => (yes ? i : -1)).filter((i) => i >= 0)).toEqual([0]);
  });

  test("not on WhatsApp → known as such; checked again without a LID → the one that was seen stays", async () => {
    await store.keepNumber({ phone: PHONE, jid: null, lid: null });
    expect(await store.number(PHONE)).toMatchObject({ jid: null, lid: null });
    await store.keepNumber({ phone: PHONE, jid: "1@s.whatsapp.net", lid: "123@lid" });
    await store.keepNumber({ phone: PHONE, jid: "2@s.whatsapp.net", lid: null });
    expect(await store.number(PHONE)).toMatchObject({ jid: "2@s.whatsapp.net", lid: "123@lid" });
    await store.keepNumber({ phone: PHONE, jid: "2@s.whatsapp.net", lid: "456@lid" });
    expect(await store.phonesOf({ jid: undefined, lid: "123@lid" })).toEqual([]);
    expect(await store.phonesOf({ jid: undefined, lid: "456@lid" })).toEqual([PHONE]);
  });
});

test("a number that is known under other digits → found by its address, and by a LID that was seen with that only", async () => {
  const jid = "551187654321@s.whatsapp.net";
  await store.keepNumber({ phone: "+5511987654321", jid, lid: null });
  expect(await store.phonesOf({ jid, lid: undefined })).toEqual(["+5511987654321"]);
  await store.keepNumber({ phone: "+551187654321", jid, lid: "789@lid" });
  expect(await store.phonesOf({ jid: undefined, lid: "789@lid" })).toEqual(["+551187654321", "+5511987654321"]);
  expect(await store.phonesOf({ jid: undefined, lid: undefined })).toEqual([]);
});

test("receipts → proof of acceptance, unless they report a failure", async () => {
  await database.sql.query(
    `insert into pending_receipts (provider, provider_message_id, status, at)
     values ('baileys', 'A', 'delivered', now()), ('baileys', 'B', 'failed', now()), ('other', 'C', 'read', now())`,
  );
  expect(await store.hasReceipt("baileys", "A")).toBe(true);
  expect(await store.hasReceipt("baileys", "B")).toBe(false);
  expect(await store.hasReceipt("baileys", "C")).toBe(false);
});

describe("media", () => {
  const media = () => ({
    id: randomUUID(),
    accountId: "acc",
    contentType: "image/png",
    fileName: "photo é.png",
    data: Buffer.from(Uint8Array.from({ length: 70_000 }, (_, i) => i % 256)),
  });

  test("kept → read as it was, by its account only", async () => {
    const file = media();
    await store.keepMedia(file);
    expect(await store.media(file.id, "acc")).toEqual(file);
    expect(await store.media(file.id, "other")).toBeUndefined();
    expect(await store.media(randomUUID(), "acc")).toBeUndefined();
    const nameless = { ...media(), fileName: undefined };
    await store.keepMedia(nameless);
    expect(await store.media(nameless.id, "acc")).toEqual(nameless);
  });

  test("older than eight days → not there", async () => {
    const file = media();
    await store.keepMedia(file);
    const age = (hours: number) =>
      database.sql.query("update media set created_at = now() - make_interval(hours => $2) where id = $1", [
        file.id,
        hours,
      ]);
    await age(8 * 24 - 1);
    expect(await store.media(file.id, "acc")).toBeDefined();
    await age(8 * 24 + 1);
    expect(await store.media(file.id, "acc")).toBeUndefined();
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
    const session = await claimed();
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
  const session = await claimed();
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
