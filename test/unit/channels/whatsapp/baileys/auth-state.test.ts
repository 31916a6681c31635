import {
  addTransactionCapability,
  type AuthenticationState,
  Curve,
  DEFAULT_CONNECTION_CONFIG,
  generateSignalPubKey,
  initAuthCreds,
  proto,
  type SignalDataSet,
  type SignalKeyStore,
} from "@whiskeysockets/baileys";
import { randomBytes } from "node:crypto";
import { pino } from "pino";
import { afterAll, beforeAll, expect, test } from "vitest";
import { LeaseLostError, openAuthState } from "../../../../../src/channels/whatsapp/providers/baileys/auth-state.ts";
import { createSealer, SealError } from "../../../../../src/core/sealed.ts";
import { UnavailableError } from "../../../../../src/core/errors.ts";
import type { SealedKey, Session, SessionStore } from "../../../../../src/store/sessions.ts";
import { memoryKeys } from "../../../../fakes/whatsapp/memory-keys.ts";
import { LEASE_MS, openSessionLedger, type SessionLedger } from "../../../../helpers/session-ledger.ts";
import { quietLibsignal, silentLogger } from "../../../../fakes/whatsapp/quiet.ts";

const KEY = randomBytes(32).toString("base64");
const sealer = createSealer([KEY]);
const log = pino({ enabled: false });

let ledger: SessionLedger;
let database: SessionLedger["database"];
let store: SessionLedger["store"];
let phones = 33_600_000_000;

beforeAll(async () => {
  quietLibsignal();
  ledger = await openSessionLedger();
  ({ database, store } = ledger);
});
afterAll(() => ledger[Symbol.asyncDispose]());

/** Whoever claims, claims all that is free: each test leaves its session leased. */
async function claimed(): Promise<Session> {
  await store.pair("acc", `+${(phones += 1)}`, "qr");
  const [session] = await store.claim("worker-1", LEASE_MS, 10);
  if (!session) throw new Error("nothing to claim");
  return session;
}

async function claimedAgain({ id }: Session): Promise<Session> {
  await database.sql.query("update whatsapp_sessions set leased_until = null where id = $1", [id]);
  const [session] = await store.claim("worker-2", LEASE_MS, 10);
  if (session?.id !== id) throw new Error("another was claimed");
  return session;
}

function open(lease: Session, options: { sealer?: typeof sealer; store?: Partial<SessionStore> } = {}) {
  const lost: Error[] = [];
  const opened = openAuthState({
    store: { ...store, ...options.store },
    sealer: options.sealer ?? sealer,
    lease,
    onLost: () => void lost.push(new Error("lost")),
    log,
  });
  return opened.then((auth) => ({ ...auth, keys: auth.state.keys, lost }));
}

const rowsOf = async ({ id }: Session): Promise<SealedKey[]> =>
  (await database.sql.query("select type, id, sealed from whatsapp_keys where session_id = $1 order by 1, 2", [id]))
    .rows;

const bytes = (text: string): Buffer => Buffer.from(text);

test("a new session → fresh credentials, of which nothing is written before it is asked for", async () => {
  const session = await claimed();
  const { state, saveCreds } = await open(session);
  expect(state.creds).toMatchObject({ registered: false, nextPreKeyId: 1 });
  expect(await rowsOf(session)).toEqual([]);
  await saveCreds();
  const again = await open(session);
  expect(again.state.creds).toEqual(JSON.parse(JSON.stringify(state.creds), reviveBytes));
  expect(again.state.creds.noiseKey.private).toEqual(Buffer.from(state.creds.noiseKey.private));
});

const reviveBytes = (_: string, value: unknown): unknown =>
  typeof value === "object" && value !== null && "type" in value && value.type === "Buffer" && "data" in value
    ? Buffer.from(value.data as number[])
    : value;

test("every type of version 7 → comes back as it was, in one row each, sealed", async () => {
  const session = await claimed();
  const data = {
    "pre-key": { "1": { public: bytes("public"), private: bytes("private") } },
    session: { "123_1.0": bytes("ratchet") },
    "sender-key": { "g@g.us::1::0": bytes("chain") },
    "sender-key-memory": { "g@g.us": { "33612345678@s.whatsapp.net": true } },
    "app-state-sync-key": {
      AAAA: proto.Message.AppStateSyncKeyData.fromObject({ keyData: bytes("key data"), timestamp: 1_700_000_000 }),
    },
    "app-state-sync-version": {
      regular: { version: 3, hash: bytes("hash"), indexValueMap: { "aa+/=": { valueMac: bytes("mac") } } },
    },
    "lid-mapping": { "33612345678": "123", "123_reverse": "33612345678" },
    "device-list": { "33612345678": ["0", "14"] },
    tctoken: { "123@lid": { token: bytes("token"), timestamp: "1700000000" } },
    "identity-key": { "123.0": Uint8Array.from([5, 1, 2, 3]) },
  } satisfies SignalDataSet;
  await (await open(session)).keys.set(data);

  const rows = await rowsOf(session);
  expect(rows).toHaveLength(11);
  expect(JSON.stringify(rows)).not.toContain(bytes("ratchet").toString("base64"));
  const { keys } = await open(session);
  for (const [type, values] of Object.entries(data)) {
    const read = await keys.get(type as keyof typeof data, [...Object.keys(values), "missing"]);
    expect(Object.keys(read)).toEqual(Object.keys(values));
    expect(JSON.stringify(read)).toBe(JSON.stringify(normal(values)));
  }
  const { AAAA } = await keys.get("app-state-sync-key", ["AAAA"]);
  expect(AAAA).toBeInstanceOf(proto.Message.AppStateSyncKeyData);
});

/** Uint8Arrays come back as Buffers. */
const normal = (values: Record<string, unknown>): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(values).map(([id, value]) => [
      id,
      value instanceof Uint8Array && !Buffer.isBuffer(value) ? Buffer.from(value) : value,
    ]),
  );

test("the 812 keys of a first login → one write, and all are read again", async () => {
  const session = await claimed();
  let writes = 0;
  const counted: Partial<SessionStore> = {
    writeKeys(lease, keys) {
      writes += 1;
      return store.writeKeys(lease, keys);
    },
  };
  const preKeys = Object.fromEntries(Array.from({ length: 812 }, (_, i) => [`${i + 1}`, Curve.generateKeyPair()]));
  await (await open(session, { store: counted })).keys.set({ "pre-key": preKeys });
  expect(writes).toBe(1);
  const read = await (await open(session)).keys.get("pre-key", Object.keys(preKeys));
  expect(Object.keys(read)).toHaveLength(812);
  expect(read["812"]?.private).toEqual(preKeys["812"] && Buffer.from(preKeys["812"].private));
});

test("several types in one set → one write, deletions included; an empty set → none", async () => {
  const session = await claimed();
  const written: (readonly SealedKey[])[] = [];
  const { keys } = await open(session, {
    store: {
      writeKeys(lease, keys) {
        written.push(keys);
        return store.writeKeys(lease, keys);
      },
    },
  });
  await keys.set({ session: { a: bytes("a") } });
  await keys.set({ session: { a: null, b: bytes("b") }, "lid-mapping": { "1": "2" } });
  await keys.set({});
  await keys.set({ session: {} });
  expect(written.map((keys) => keys.length)).toEqual([1, 3]);
  expect((await rowsOf(session)).map(({ type, id }) => [type, id])).toEqual([
    ["lid-mapping", "1"],
    ["session", "b"],
  ]);
});

test("what was read or written → is not read from the database again, but for pre-keys", async () => {
  const session = await claimed();
  const reads: string[] = [];
  const { keys } = await open(session, {
    store: {
      readKeys(id, type, ids) {
        reads.push(`${type} ${ids?.join()}`);
        return store.readKeys(id, type, ids);
      },
    },
  });
  reads.length = 0;
  await keys.set({ session: { a: bytes("a") }, "pre-key": { "1": Curve.generateKeyPair() } });
  for (let i = 0; i < 2; i++) {
    await keys.get("session", ["a"]);
    await keys.get("pre-key", ["1"]);
  }
  expect(reads).toEqual(["pre-key 1", "pre-key 1"]);
});

test("a write that fails → rejects, and what is read is what the database has", async () => {
  const session = await claimed();
  let fails = false;
  const { keys, lost } = await open(session, {
    store: {
      writeKeys(lease, keys) {
        if (fails) throw new UnavailableError("database", "gone");
        return store.writeKeys(lease, keys);
      },
    },
  });
  await keys.set({ session: { a: bytes("old") } });
  fails = true;
  await expect(keys.set({ session: { a: bytes("new"), b: bytes("new") } })).rejects.toThrow(UnavailableError);
  expect(await keys.get("session", ["a", "b"])).toEqual({ a: bytes("old") });
  fails = false;
  await keys.set({ session: { a: bytes("newer") } });
  expect(await keys.get("session", ["a"])).toEqual({ a: bytes("newer") });
  expect(lost).toEqual([]);
});

test("a read that fails → rejects", async () => {
  const session = await claimed();
  let fails = false;
  const { keys } = await open(session, {
    store: {
      readKeys(id, type, ids) {
        if (fails) throw new UnavailableError("database", "gone");
        return store.readKeys(id, type, ids);
      },
    },
  });
  fails = true;
  await expect(keys.get("session", ["a"])).rejects.toThrow(UnavailableError);
});

test("a second lease → the first's writes reject, onLost is called once, and its reads reject too", async () => {
  const session = await claimed();
  let reads = 0;
  const first = await open(session, {
    store: {
      readKeys(...args) {
        reads += 1;
        return store.readKeys(...args);
      },
    },
  });
  await first.keys.set({ session: { a: bytes("first") } });
  await first.saveCreds();
  const before = await rowsOf(session);
  const second = await open(await claimedAgain(session));

  const results = await Promise.allSettled([
    first.keys.set({ session: { a: bytes("late") } }),
    first.saveCreds(),
    first.keys.set({ session: { a: null } }),
  ]);
  for (const result of results) {
    expect(result).toMatchObject({ status: "rejected", reason: { name: "LeaseLostError" } });
  }
  expect(first.lost).toHaveLength(1);
  reads = 0;
  await expect(first.keys.get("session", ["a"])).rejects.toThrow(LeaseLostError);
  expect(reads).toBe(0);
  await expect(first.saveCreds()).rejects.toThrow(LeaseLostError);
  await expect(first.reseal()).rejects.toThrow(LeaseLostError);
  expect(first.lost).toHaveLength(1);
  expect(await rowsOf(session)).toEqual(before);

  expect(await second.keys.get("session", ["a"])).toEqual({ a: bytes("first") });
  await second.keys.set({ session: { a: bytes("second") } });
  expect(second.lost).toEqual([]);
});

test("credentials that change while they are written → the newest are written, in two writes at the most", async () => {
  const session = await claimed();
  const written: Promise<boolean>[] = [];
  const { state, saveCreds } = await open(session, {
    store: {
      writeKeys(lease, keys) {
        const write = store.writeKeys(lease, keys);
        written.push(write);
        return write;
      },
    },
  });
  const saves = [saveCreds()];
  await expect.poll(() => written.length).toBe(1);
  for (let counter = 1; counter <= 20; counter++) {
    state.creds.accountSyncCounter = counter;
    saves.push(saveCreds());
  }
  await Promise.all(saves);
  expect(written).toHaveLength(2);
  expect((await open(session)).state.creds.accountSyncCounter).toBe(20);
});

test("credentials that could not be written → rejects, and the next call writes them", async () => {
  const session = await claimed();
  let fails = true;
  const { state, saveCreds } = await open(session, {
    store: {
      writeKeys(lease, keys) {
        if (fails) throw new UnavailableError("database", "gone");
        return store.writeKeys(lease, keys);
      },
    },
  });
  state.creds.accountSyncCounter = 7;
  await expect(saveCreds()).rejects.toThrow(UnavailableError);
  fails = false;
  await saveCreds();
  expect((await open(session)).state.creds.accountSyncCounter).toBe(7);
});

test("another encryption key → cannot be opened, and no fresh credentials are made", async () => {
  const session = await claimed();
  await (await open(session)).saveCreds();
  const stranger = createSealer([randomBytes(32).toString("base64")]);
  await expect(open(session, { sealer: stranger })).rejects.toThrow(SealError);
});

test("a row that was moved to another session or id → does not open", async () => {
  const [one, two] = [await claimed(), await claimed()];
  const { keys, saveCreds } = await open(one);
  await saveCreds();
  await keys.set({ session: { a: bytes("a") } });
  await database.sql.query(
    "insert into whatsapp_keys select $2, type, id, sealed from whatsapp_keys where session_id = $1",
    [one.id, two.id],
  );
  await expect(open(two)).rejects.toThrow(SealError);
  await database.sql.query("update whatsapp_keys set id = 'b' where session_id = $1 and type = 'session'", [one.id]);
  const { keys: reopened } = await open(one);
  await expect(reopened.get("session", ["b"])).rejects.toThrow(SealError);
});

test("a new encryption key in front → all rows move to it, and the old key is not needed any more", async () => {
  const session = await claimed();
  const before = await open(session);
  await before.saveCreds();
  const mappings = Object.fromEntries(Array.from({ length: 450 }, (_, i) => [`${i}`, `lid ${i}`]));
  await before.keys.set({ "lid-mapping": mappings });

  const newer = randomBytes(32).toString("base64");
  const both = createSealer([newer, KEY]);
  const during = await open(session, { sealer: both });
  await during.keys.set({ "lid-mapping": { "0": "changed" } });
  expect(await during.reseal()).toBe(450);
  expect(await during.reseal()).toBe(0);
  const rows = await rowsOf(session);
  expect(rows).toHaveLength(451);
  expect(rows.filter(({ sealed }) => !sealed?.startsWith(both.mark))).toEqual([]);

  const after = await open(session, { sealer: createSealer([newer]) });
  expect(after.state.creds.registrationId).toBe(before.state.creds.registrationId);
  const read = await after.keys.get("lid-mapping", Object.keys(mappings));
  expect(read).toEqual({ ...mappings, "0": "changed" });
});

test("keys that are written while rows move to a new key → stay the newest", async () => {
  const session = await claimed();
  const ids = Array.from({ length: 300 }, (_, i) => `${i}`);
  const all = (value: string) => ({ "lid-mapping": Object.fromEntries(ids.map((id) => [id, value])) });
  await (await open(session)).keys.set(all("old"));

  const { promise: isRead, resolve: read } = Promise.withResolvers<void>();
  const { promise: mayGoOn, resolve: goOn } = Promise.withResolvers<void>();
  let writes = 0;
  const both = createSealer([randomBytes(32).toString("base64"), KEY]);
  const during = await open(session, {
    sealer: both,
    store: {
      async staleKeys(...args) {
        const stale = await store.staleKeys(...args);
        read();
        await mayGoOn;
        return stale;
      },
      writeKeys(lease, keys) {
        writes += 1;
        return store.writeKeys(lease, keys);
      },
    },
  });
  const moved = during.reseal();
  await isRead;
  const written = during.keys.set(all("new"));
  // Time enough for a write that does not wait.
  await store.readKeys(session.id, "lid-mapping", ids);
  expect(writes).toBe(0);
  goOn();
  await Promise.all([moved, written]);
  const values = await (await open(session, { sealer: both })).keys.get("lid-mapping", ids);
  expect(Object.keys(values)).toHaveLength(300);
  expect(new Set(Object.values(values))).toEqual(new Set(["new"]));
});

test("a row that no key opens → resealing rejects, and nothing is lost", async () => {
  const session = await claimed();
  await store.writeKeys(session, [{ type: "session", id: "a", sealed: "00000000.AAAA" }]);
  const { reseal } = await open(session);
  await expect(reseal()).rejects.toThrow(SealError);
  expect(await rowsOf(session)).toEqual([{ type: "session", id: "a", sealed: "00000000.AAAA" }]);
});

function signalOf({ creds, keys }: { creds: AuthenticationState["creds"]; keys: SignalKeyStore }) {
  const transactional = addTransactionCapability(keys, silentLogger, { maxCommitRetries: 1, delayBetweenTriesMs: 1 });
  return DEFAULT_CONNECTION_CONFIG.makeSignalRepository({ creds, keys: transactional }, silentLogger);
}

test("a Signal conversation over restarts → both sides read everything", async () => {
  let session = await claimed();
  const contact = { creds: initAuthCreds(), keys: memoryKeys() };
  const preKey = Curve.generateKeyPair();
  contact.keys.set({ "pre-key": { "1": preKey } });
  const theirs = signalOf(contact);
  const [ourJid, theirJid] = ["111@lid", "222@lid"];

  for (let restart = 0; restart < 4; restart++) {
    const { state, saveCreds } = await open(session);
    await saveCreds();
    const ours = signalOf(state);
    if (restart === 0) {
      const { registrationId, signedIdentityKey, signedPreKey } = contact.creds;
      await ours.injectE2ESession({
        jid: theirJid,
        session: {
          registrationId,
          identityKey: generateSignalPubKey(signedIdentityKey.public),
          signedPreKey: {
            keyId: signedPreKey.keyId,
            publicKey: generateSignalPubKey(signedPreKey.keyPair.public),
            signature: signedPreKey.signature,
          },
          preKey: { keyId: 1, publicKey: generateSignalPubKey(preKey.public) },
        },
      });
    }
    for (let i = 0; i < 3; i++) {
      const out = await ours.encryptMessage({ jid: theirJid, data: bytes(`out ${restart} ${i}`) });
      expect(bytes(`out ${restart} ${i}`)).toEqual(Buffer.from(await theirs.decryptMessage({ jid: ourJid, ...out })));
      const back = await theirs.encryptMessage({ jid: ourJid, data: bytes(`in ${restart} ${i}`) });
      expect(bytes(`in ${restart} ${i}`)).toEqual(Buffer.from(await ours.decryptMessage({ jid: theirJid, ...back })));
    }
    ours.close?.();
    session = await claimedAgain(session);
  }
  theirs.close?.();
});
