import { pino } from "pino";
import { afterEach, expect, test, vi } from "vitest";
import { KeyBuffer } from "../../../../../src/channels/whatsapp/providers/baileys/key-buffer.ts";
import { UnavailableError } from "../../../../../src/core/errors.ts";
import { DatabaseError } from "../../../../../src/store/database.ts";
import type { SealedKey } from "../../../../../src/store/sessions.ts";

const lease = { id: "session", epoch: 1 };
const row = (type: string, id: string, sealed: string | null = `${type} ${id}`): SealedKey => ({ type, id, sealed });

afterEach(() => void vi.useRealTimers());

/** What it rejects with; caught at once, however late it is looked at. */
const rejection = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

/** A database in memory, whose writes are answered when the test says so. */
async function open({ names }: { names?: string[] | undefined } = { names: [] }) {
  const rows = new Map<string, string>();
  const writes: { keys: readonly SealedKey[]; answer: PromiseWithResolvers<boolean> }[] = [];
  const reads: string[] = [];
  let lost = 0;
  const errors: string[] = [];
  const buffer = await KeyBuffer.open({
    lease,
    onLost: () => void (lost += 1),
    log: pino({ level: "error" }, { write: (line) => void errors.push(JSON.parse(line).msg) }),
    store: {
      keyNames: async () => names,
      staleKeys: async () => [],
      async readKeys(_session, type, ids) {
        reads.push(...(ids ?? []).map((id) => `${type}.${id}`));
        const found = (ids ?? []).map((id) => [id, rows.get(`${type}.${id}`)] as const);
        return new Map(found.filter((entry): entry is [string, string] => entry[1] !== undefined));
      },
      async writeKeys(_lease, keys) {
        const answer = Promise.withResolvers<boolean>();
        writes.push({ keys, answer });
        const isMine = await answer.promise;
        if (isMine) for (const { type, id, sealed } of keys) if (sealed) rows.set(`${type}.${id}`, sealed);
        return isMine;
      },
    },
  });
  const answered = async (index: number): Promise<(typeof writes)[number]> => {
    await expect.poll(() => writes.length).toBeGreaterThan(index);
    return writes[index] as (typeof writes)[number];
  };
  return { buffer, rows, writes, reads, answered, errors, lost: () => lost };
}

test("keys of messages → do not wait for the database, and leave together while it writes", async () => {
  const { buffer, writes, answered, rows } = await open();
  expect(await buffer.writeKeys(lease, [row("session", "1")])).toBe(true);
  const first = await answered(0);
  expect(await buffer.writeKeys(lease, [row("session", "2")])).toBe(true);
  expect(await buffer.writeKeys(lease, [row("session", "3"), row("session", "2", "newer")])).toBe(true);
  const flushed = buffer.flushed().then(() => [...rows.values()]);
  first.answer.resolve(true);
  (await answered(1)).answer.resolve(true);
  expect(await flushed).toEqual(["session 1", "newer", "session 3"]);
  expect(writes).toHaveLength(2);
});

test.for(["pre-key", "creds", "app-state-sync-key", "sender-key"])(
  "a %s → is written before anything goes on, with what has waited",
  async (type) => {
    const { buffer, writes, answered } = await open();
    await buffer.writeKeys(lease, [row("session", "1")]);
    const first = await answered(0);
    await buffer.writeKeys(lease, [row("session", "2")]);
    let isWritten = false;
    const written = buffer.writeKeys(lease, [row(type, "1")]).then((mine) => (isWritten = mine));
    first.answer.resolve(true);
    const second = await answered(1);
    expect(second.keys).toEqual([row("session", "2"), row(type, "1")]);
    expect(isWritten).toBe(false);
    second.answer.resolve(true);
    expect(await written).toBe(true);
    expect(writes).toHaveLength(2);
  },
);

test("what is on its way → is read as it will be; what nobody has is not asked for", async () => {
  const { buffer, reads, rows, answered } = await open({ names: ["session.old"] });
  rows.set("session.old", "old");
  expect(await buffer.readKeys("session", "session", ["old", "new"])).toEqual(new Map([["old", "old"]]));
  expect(reads).toEqual(["session.old"]);
  await buffer.writeKeys(lease, [row("session", "new"), row("session", "old", null)]);
  expect(await buffer.readKeys("session", "session", ["old", "new"])).toEqual(new Map([["new", "session new"]]));
  (await answered(0)).answer.resolve(true);
  await buffer.flushed();
  expect(await buffer.readKeys("session", "session", ["new"])).toEqual(new Map([["new", "session new"]]));
  await buffer.readKeys("session", "pre-key", ["7"]);
  expect(reads).toEqual(["session.old", "session.new", "pre-key.7"]);
});

test("too many to know them all → the database is asked", async () => {
  const { buffer, reads } = await open({ names: undefined });
  await buffer.readKeys("session", "session", ["1"]);
  expect(reads).toEqual(["session.1"]);
});

test("refused → said once, flushed rejects, and nothing is written any more", async () => {
  const { buffer, writes, answered, lost } = await open();
  await buffer.writeKeys(lease, [row("session", "1")]);
  const flushed = buffer.flushed();
  (await answered(0)).answer.resolve(false);
  await expect(flushed).rejects.toThrow("not written here any more");
  expect(await buffer.writeKeys(lease, [row("session", "2")])).toBe(false);
  await expect(buffer.flushed()).rejects.toThrow("not written here any more");
  expect(lost()).toBe(1);
  expect(writes).toHaveLength(1);
});

test("the database is away → whoever comes then waits, and all of it is written when it is back", async () => {
  const { buffer, answered, rows } = await open();
  await buffer.writeKeys(lease, [row("session", "1")]);
  const away = new UnavailableError("database", "away");
  const flushed = buffer.flushed();
  (await answered(0)).answer.reject(away);
  await expect(flushed).rejects.toBe(away);
  const waits = buffer.writeKeys(lease, [row("session", "2")]);
  const second = await answered(1);
  expect(second.keys).toEqual([row("session", "1"), row("session", "2")]);
  second.answer.resolve(true);
  expect(await waits).toBe(true);
  await buffer.flushed();
  expect([...rows.keys()]).toEqual(["session.1", "session.2"]);
});

test.for([
  { error: new UnavailableError("database", "away"), said: 0 },
  { error: new DatabaseError("write_whatsapp_keys", "42501", "no"), said: 1 },
])(
  "not written ($error.name) → whoever waits for it learns it, the newest ratchet is read all the same, and written later",
  async ({ error, said }) => {
    vi.useFakeTimers();
    const { buffer, writes, rows, errors } = await open();
    const settled = (index: number, answer: boolean | Error): Promise<void> => {
      const write = writes[index];
      if (answer instanceof Error) write?.answer.reject(answer);
      else write?.answer.resolve(answer);
      return vi.advanceTimersByTimeAsync(0).then(() => {});
    };
    const ratchet = async () => (await buffer.readKeys("session", "session", ["bob"])).get("bob");

    await buffer.writeKeys(lease, [row("session", "bob", "ratchet 1")]);
    await vi.advanceTimersByTimeAsync(0);
    await settled(0, true);
    expect(await buffer.writeKeys(lease, [row("session", "bob", "ratchet 2")])).toBe(true);
    const flushed = rejection(buffer.flushed());
    await vi.advanceTimersByTimeAsync(25);
    await settled(1, error);
    await flushed;
    expect(await ratchet()).toBe("ratchet 2");

    // Told that it was not written: the message that used it has left by then.
    const told = rejection(buffer.writeKeys(lease, [row("session", "bob", "ratchet 3"), row("pre-key", "7", null)]));
    await vi.advanceTimersByTimeAsync(0);
    await settled(2, error);
    expect(await told).toBe(error);
    expect(await ratchet()).toBe("ratchet 3");
    const still = rejection(buffer.flushed());
    await vi.advanceTimersByTimeAsync(25);
    await settled(3, error);
    expect(await still).toBe(error);
    expect(await ratchet()).toBe("ratchet 3");

    // By itself, before anybody asks.
    await vi.advanceTimersByTimeAsync(500);
    expect(writes[4]?.keys).toEqual([row("session", "bob", "ratchet 3"), row("pre-key", "7", null)]);
    await settled(4, true);
    expect(await buffer.flushed()).toBeUndefined();
    expect(rows.get("session.bob")).toBe("ratchet 3");
    expect(writes).toHaveLength(5);
    expect(errors).toHaveLength(said);
    await buffer.close();
  },
);

test("closed → what waits is not written", async () => {
  const { buffer, writes, answered } = await open();
  await buffer.writeKeys(lease, [row("session", "1")]);
  const first = await answered(0);
  await buffer.writeKeys(lease, [row("session", "2")]);
  const closed = buffer.close();
  first.answer.resolve(true);
  await closed;
  expect(writes).toHaveLength(1);
});

test("one message after the other → written at once; many → together, when eight need theirs or 25 ms have passed", async () => {
  vi.useFakeTimers();
  const { buffer, writes } = await open();
  const send = async (message: number): Promise<void> => {
    await buffer.writeKeys(lease, [row("session", `${message}`), row("session", "own", `after ${message}`)]);
    void buffer.flushed();
    await vi.advanceTimersByTimeAsync(0);
  };
  const written = (): number[] => writes.map(({ keys, answer }) => (answer.resolve(true), keys.length));
  await send(1);
  expect(written()).toEqual([2]);
  for (let message = 2; message < 9; message++) await send(message);
  expect(written()).toEqual([2]);
  await send(9);
  expect(written()).toEqual([2, 9]);
  expect(writes[1]?.keys).toContainEqual(row("session", "own", "after 9"));
  await vi.advanceTimersByTimeAsync(10);
  await send(10);
  await vi.advanceTimersByTimeAsync(14);
  expect(written()).toEqual([2, 9]);
  await vi.advanceTimersByTimeAsync(1);
  expect(written()).toEqual([2, 9, 2]);
  await vi.advanceTimersByTimeAsync(25);
  await send(11);
  expect(written()).toEqual([2, 9, 2, 2]);
});
