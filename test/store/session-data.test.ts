import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DatabaseError } from "../../src/store/database.ts";
import type { Lease } from "../../src/store/sessions.ts";
import {
  key,
  LEASE_MS,
  MAX_ROWS,
  message,
  openSessionLedger,
  PHONE,
  type SessionLedger,
} from "../helpers/session-ledger.ts";

let ledger: SessionLedger;
let database: SessionLedger["database"];
let store: SessionLedger["store"];

beforeAll(async () => {
  ledger = await openSessionLedger();
  ({ database, store } = ledger);
});
afterAll(() => ledger[Symbol.asyncDispose]());
beforeEach(() => ledger.clear());

describe("keys", () => {
  test("written, overwritten and deleted in one write", async () => {
    const { id, epoch } = await ledger.claimed();
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
    const { id, epoch } = await ledger.claimed();
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
    const { id, epoch } = await ledger.claimed();
    await store.writeKeys({ id, epoch }, [key("kept")]);
    const bad = { type: "session", id: null as unknown as string, sealed: "x" };
    await expect(store.writeKeys({ id, epoch }, [key("new"), key("kept", null), bad])).rejects.toThrow(DatabaseError);
    expect(await store.readKeys(id, "session", undefined)).toEqual(new Map([["kept", "sealed kept"]]));
  });

  test("a former owner, an expired lease, a stranger → false, and nothing is written or deleted", async () => {
    const { id, epoch } = await ledger.claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await ledger.expire(id);
    expect(await store.writeKeys({ id, epoch }, [key("a", null), key("b")])).toBe(false);
    await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.writeKeys({ id, epoch }, [key("a", null), key("b")])).toBe(false);
    expect(await store.writeKeys({ id: randomUUID(), epoch: 1 }, [key("b")])).toBe(false);
    expect(await store.readKeys(id, "session", undefined)).toEqual(new Map([["a", "sealed a"]]));
  });

  test("odd ids → as they are", async () => {
    const { id, epoch } = await ledger.claimed();
    const ids = ["", "__proto__", "constructor", "12345_1.0", "a:b,c/d", "é\"'\\"];
    await store.writeKeys(
      { id, epoch },
      ids.map((id) => key(id)),
    );
    const rows = await store.readKeys(id, "session", ids);
    expect([...rows.keys()].toSorted()).toEqual(ids.toSorted());
  });

  test("names → of all keys of this session but pre-keys and credentials; above the limit → none at all", async () => {
    const mine = await ledger.claimed("+33600000001");
    const other = await ledger.claimed("+33600000002");
    await store.writeKeys(other, [key("z")]);
    expect(await store.keyNames(mine.id, 2)).toEqual([]);
    const single = ["pre-key", "creds"].map((type) => ({ ...key("p"), type }));
    await store.writeKeys(mine, [key("a.1"), { ...key("b"), type: "tctoken" }, ...single]);
    expect((await store.keyNames(mine.id, 2))?.toSorted()).toEqual(["session.a.1", "tctoken.b"]);
    expect(await store.keyNames(mine.id, 1)).toBeUndefined();
  });

  test("stale → those of another mark, a page of them, of this session", async () => {
    const mine = await ledger.claimed("+33600000001");
    const other = await ledger.claimed("+33600000002");
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
    const { id, epoch } = await ledger.claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await store.report({ id, epoch }, { qr: "x", pairingCode: "y", pairedAt: new Date().toISOString() });
    expect(await store.wipe({ id, epoch }, false)).toBe(true);
    expect(await ledger.keysOf(id)).toBe(0);
    expect(await store.session(id)).toMatchObject({ qr: null, pairingCode: null, pairedAt: null });
    expect(await store.report({ id, epoch }, { state: "logged-out" })).toBe(true);
  });

  test("gone → nothing of it is left", async () => {
    const { id, epoch } = await ledger.claimed();
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
    const { id, epoch } = await ledger.claimed();
    await store.writeKeys({ id, epoch }, [key("a")]);
    await ledger.expire(id);
    expect(await store.wipe({ id, epoch }, gone)).toBe(false);
    await store.claim("worker-2", LEASE_MS, 10);
    expect(await store.wipe({ id, epoch }, gone)).toBe(false);
    expect(await ledger.keysOf(id)).toBe(1);
  });
});

describe("sent messages and contacts", () => {
  test("kept → read again, and the recipient counts as contacted, once and for that session", async () => {
    const one = await ledger.pair("+33600000001");
    const two = await ledger.pair("+33600000002");
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
    const { id } = await ledger.pair();
    await store.keepSent(message(id));
    await database.sql.query("update whatsapp_contacts set first_at = now() - interval '1 day'");
    await store.keepSent(message(id));
    await store.keepSent(message(id, { phone: "+33688888888" }));
    expect(await store.contactsSince(id, Date.now() - 3_600_000)).toBe(1);
    expect(await store.contactsSince(id, Date.now() - 2 * 86_400_000)).toBe(2);
  });

  test("the same message again → as it was first", async () => {
    const { id } = await ledger.pair();
    const first = message(id);
    await store.keepSent(first);
    await store.keepSent({ ...first, sealed: "another" });
    expect(await store.sent(first.id)).toMatchObject({ sealed: "sealed" });
  });

  test("the same message from another session, once or twice in a batch → what that one sends, counted from now", async () => {
    const [one, two] = [await ledger.pair("+33600000001"), await ledger.pair("+33600000002")];
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
    const { id } = await ledger.pair();
    const good = message(id);
    const results = await Promise.allSettled([store.keepSent(good), store.keepSent(message(randomUUID()))]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
    expect(await store.sent(good.id)).toBeDefined();
  });

  test("many batches to the same contacts at once → all are kept", async () => {
    const { id } = await ledger.pair();
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
    const [mine, other] = [await ledger.claimed("+33600000001"), await ledger.claimed("+33600000002")];
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
