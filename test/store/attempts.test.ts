import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { UnavailableError } from "../../src/core/errors.ts";
import type { NewAttempt, Store, Verdict } from "../../src/store/store.ts";
import { outcome, storeOn } from "../helpers/store.ts";

const PHONE = "+33612345678";
const LONG_MS = 60_000;

let database: TestDatabase;
let store: Store;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = storeOn(database);
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(async () => {
  await store.close();
  await database.drop();
});

interface Row {
  status: string;
  code: string | null;
  attempts: number;
  attempt_id: string | null;
  claim: string | null;
  retryable: boolean;
  credit: string;
  provider_message_id: string | null;
}

async function message(fields: Record<string, unknown> = {}): Promise<string> {
  const id = randomUUID();
  const row = { id, channel: "sms", queue: "sms", recipient: PHONE, content: {}, ...fields };
  await database.sql.query(
    `insert into messages (id, account_id, ad_id, channel, queue, recipient, content, status, credit, expires_at)
     select id, account_id, ad_id, channel, queue, recipient, content,
       coalesce(status, 'queued'), coalesce(credit, 'none'), coalesce(expires_at, now() + interval '1 day')
     from jsonb_populate_record(null::messages, $1)`,
    [row],
  );
  return id;
}

async function rowOf(id: string): Promise<Row> {
  return (await database.sql.query("select * from messages where id = $1", [id])).rows[0];
}

const begin = (messageId: string, fields: Partial<NewAttempt> = {}): Promise<Verdict> =>
  store.beginAttempt({ messageId, attemptId: randomUUID(), provider: "test", holdMs: LONG_MS, ...fields });

/** Begins an attempt that is to be the caller's; answers its id. */
async function go(messageId: string, holdMs = LONG_MS): Promise<string> {
  const attemptId = randomUUID();
  expect(await begin(messageId, { attemptId, holdMs })).toMatchObject({ verdict: "go" });
  return attemptId;
}

const record = (...args: Parameters<typeof outcome>): Promise<boolean> => store.recordOutcome(outcome(...args));

const expire = (id: string) => database.sql.query("update messages set held_until = now() where id = $1", [id]);

async function eventsOf(id: string): Promise<string[]> {
  const { rows } = await database.sql.query("select kind from message_events where message_id = $1 order by id", [id]);
  return rows.map(({ kind }) => kind);
}

describe("may a message be sent now?", () => {
  test("it waits in the queue → go, and the attempt is in the ledger", async () => {
    const id = await message();
    const attemptId = await go(id);
    expect(await rowOf(id)).toMatchObject({ status: "sending", attempts: 1, attempt_id: attemptId, claim: null });
  });

  test("the same attempt asks again, because the answer was lost → go, counted once", async () => {
    const id = await message();
    const attemptId = await go(id);
    expect(await begin(id, { attemptId })).toMatchObject({ verdict: "go", attempts: 1 });
    expect(await rowOf(id)).toMatchObject({ attempts: 1, attempt_id: attemptId });
  });

  test("another attempt is under way → wait, for as long as it is held", async () => {
    const id = await message();
    const attemptId = await go(id);
    const verdict = await begin(id);
    expect(verdict).toMatchObject({ verdict: "wait" });
    expect((verdict as { retryInMs: number }).retryInMs).toBeGreaterThan(LONG_MS - 10_000);
    expect((await rowOf(id)).attempt_id).toBe(attemptId);
  });

  test("an attempt is held no longer → reconcile it, and the next one waits", async () => {
    const id = await message();
    const attemptId = await go(id, 0);
    const verdict = await begin(id);
    expect(verdict).toMatchObject({
      verdict: "reconcile",
      recipient: expect.stringContaining("+"),
      attemptId,
      attempts: 1,
      startedAt: expect.any(Number),
    });
    expect(await begin(id)).toMatchObject({ verdict: "wait" });
  });

  test("the one who reconciles asks again → reconcile, not wait", async () => {
    const id = await message();
    await go(id, 0);
    const attemptId = randomUUID();
    expect(await begin(id, { attemptId })).toMatchObject({ verdict: "reconcile" });
    expect(await begin(id, { attemptId })).toMatchObject({ verdict: "reconcile" });
  });

  test.each(["sent", "delivered", "read", "failed", "skipped", "cancelled", "unknown"])(
    "it is %s → settled",
    async (status) => {
      expect(await begin(await message({ status }))).toMatchObject({ verdict: "settled", status });
    },
  );

  test("nobody knows it → missing", async () => {
    expect(await begin(randomUUID())).toEqual({ verdict: "missing" });
  });

  test("it has expired → skipped, its credit is released", async () => {
    await database.sql.query("insert into credits values ('acc', 'expiring', 5, 1, 0)");
    const past = new Date(0).toISOString();
    const id = await message({ account_id: "acc", channel: "expiring", credit: "reserved", expires_at: past });
    expect(await begin(id)).toEqual({ verdict: "skipped", code: "expired" });
    expect(await rowOf(id)).toMatchObject({ status: "skipped", code: "expired", credit: "released" });
    const { rows } = await database.sql.query(
      "select balance::int, reserved::int from credits where channel = 'expiring'",
    );
    expect(rows).toEqual([{ balance: 6, reserved: 0 }]);
  });

  test("an attempt is under way when the person says stop → it is not skipped in the middle", async () => {
    const recipient = "+33612345699";
    const id = await message({ recipient });
    const attemptId = await go(id);
    await database.sql.query("insert into suppressions (phone) values ($1)", [recipient]);
    expect(await begin(id, { attemptId })).toMatchObject({ verdict: "go" });
    expect(await begin(await message({ recipient }))).toEqual({ verdict: "skipped", code: "suppressed" });
  });

  test("two workers ask for one message at the same moment → one goes, the other waits", async () => {
    const id = await message();
    const verdicts = await Promise.all([begin(id), begin(id)]);
    expect(verdicts.map(({ verdict }) => verdict).toSorted()).toEqual(["go", "wait"]);
    expect((await rowOf(id)).attempts).toBe(1);
  });

  test("two workers of two processes ask at the same moment → one goes, the other waits", async () => {
    const other = storeOn(database);
    const ids = await Promise.all(Array.from({ length: 50 }, () => message()));
    const ask = (each: Store, id: string) =>
      each.beginAttempt({ messageId: id, attemptId: randomUUID(), provider: "test", holdMs: LONG_MS });
    const pairs = await Promise.all(ids.map((id) => Promise.all([ask(store, id), ask(other, id)])));
    expect(
      new Set(
        pairs.map((pair) =>
          pair
            .map(({ verdict }) => verdict)
            .toSorted()
            .join(),
        ),
      ),
    ).toEqual(new Set(["go,wait"]));
    await other.close();
  });

  test("two workers find the same abandoned attempt → one reconciles, the other waits", async () => {
    const id = await message();
    await go(id, 0);
    const verdicts = await Promise.all([begin(id), begin(id)]);
    expect(verdicts.map(({ verdict }) => verdict).toSorted()).toEqual(["reconcile", "wait"]);
  });

  test("300 messages at once → each has its own verdict", async () => {
    const ids = await Promise.all(Array.from({ length: 300 }, (_, i) => message(i % 3 ? {} : { status: "sent" })));
    const verdicts = await Promise.all(ids.map((id) => begin(id)));
    expect(verdicts.map(({ verdict }) => verdict)).toEqual(ids.map((_, i) => (i % 3 ? "go" : "settled")));
  });
});

describe("a worker that was taken over", () => {
  test("asks again with its attempt → gets no further go", async () => {
    const id = await message();
    const attemptId = await go(id, 0);
    expect(await begin(id)).toMatchObject({ verdict: "reconcile" });
    expect(await begin(id, { attemptId })).toMatchObject({ verdict: "wait" });
  });

  test.each(["failed", "unknown", "not_sent", "ambiguous"] as const)(
    "reports %s → is not believed any more",
    async (result) => {
      const id = await message();
      const attemptId = await go(id, 0);
      await begin(id);
      expect(await record(id, attemptId, { result, code: "late", holdMs: 0 })).toBe(false);
      expect(await rowOf(id)).toMatchObject({ status: "sending", attempt_id: attemptId });
    },
  );

  test("reports sent → is believed, because it is a fact", async () => {
    const id = await message();
    const attemptId = await go(id, 0);
    const claim = randomUUID();
    await begin(id, { attemptId: claim });
    expect(await record(id, attemptId, { providerMessageId: `p-${id}` })).toBe(true);
    expect(await record(id, attemptId, { claim, result: "unknown", code: "ambiguous" })).toBe(false);
    expect(await rowOf(id)).toMatchObject({ status: "sent", provider_message_id: `p-${id}` });
  });

  test("reports sent after the message was given up as unknown → is believed", async () => {
    const id = await message();
    const attemptId = await go(id, 0);
    const claim = randomUUID();
    await begin(id, { attemptId: claim });
    expect(await record(id, attemptId, { claim, result: "unknown", code: "ambiguous" })).toBe(true);
    expect(await record(id, attemptId, { providerMessageId: `p-${id}` })).toBe(true);
    expect((await rowOf(id)).status).toBe("sent");
  });

  test("reports a result of an attempt that has been replaced → is not believed", async () => {
    const id = await message();
    const old = await go(id, 0);
    const claim = randomUUID();
    await begin(id, { attemptId: claim });
    await record(id, old, { claim, result: "not_sent", code: "not_accepted" });
    const young = await go(id);
    expect(await record(id, old, { result: "failed", code: "late" })).toBe(false);
    expect(await rowOf(id)).toMatchObject({ status: "sending", attempt_id: young, attempts: 2 });
  });
});

describe("what an attempt came to", () => {
  test.each([
    ["sent", { status: "sent", credit: "spent", retryable: false }, ["sent"]],
    ["failed", { status: "failed", credit: "released", retryable: true }, ["failed"]],
    ["unknown", { status: "unknown", credit: "reserved", retryable: false }, ["unknown"]],
    ["not_sent", { status: "queued", credit: "reserved", attempt_id: null }, ["retry"]],
    ["ambiguous", { status: "sending", credit: "reserved" }, ["ambiguous"]],
  ] as const)("%s → is recorded with credit and event, once", async (result, expected, events) => {
    const channel = `channel-${result}`;
    await database.sql.query("insert into credits values ('acc', $1, 5, 1, 0)", [channel]);
    const id = await message({ account_id: "acc", channel, credit: "reserved" });
    const attemptId = await go(id);
    const fields = { result, code: result === "sent" ? undefined : "why", holdMs: 0 };
    expect(await record(id, attemptId, fields)).toBe(true);
    const after = await rowOf(id);
    expect(after).toMatchObject({ code: fields.code ?? null, ...expected });
    if (result !== "ambiguous") expect(await record(id, attemptId, fields)).toBe(false);
    expect(await eventsOf(id)).toEqual(events);
    const { rows } = await database.sql.query(
      "select balance::int, reserved::int, spent::int from credits where channel = $1",
      [channel],
    );
    const credit = {
      sent: [5, 0, 1],
      failed: [6, 0, 0],
      unknown: [5, 1, 0],
      not_sent: [5, 1, 0],
      ambiguous: [5, 1, 0],
    }[result];
    expect([rows[0].balance, rows[0].reserved, rows[0].spent]).toEqual(credit);
  });

  test("the same outcome several times in one batch → events and credits once", async () => {
    await database.sql.query("insert into credits values ('acc', 'doubled', 5, 3, 0)");
    const id = await message({ account_id: "acc", channel: "doubled", credit: "reserved" });
    const attemptId = await go(id);
    await Promise.all([record(id, attemptId), record(id, attemptId), record(id, attemptId)]);
    expect(await eventsOf(id)).toEqual(["sent"]);
    const { rows } = await database.sql.query(
      "select reserved::int, spent::int from credits where channel = 'doubled'",
    );
    expect(rows).toEqual([{ reserved: 2, spent: 1 }]);
  });

  test("sent and unknown for one attempt in one batch → sent", async () => {
    const id = await message();
    const attemptId = await go(id);
    await Promise.all([record(id, attemptId, { result: "unknown", code: "ambiguous" }), record(id, attemptId)]);
    expect((await rowOf(id)).status).toBe("sent");
  });

  test("a late result of an old attempt beside that of the present one in a batch → the present one counts", async () => {
    const id = await message();
    const attemptId = await go(id);
    await Promise.all([record(id, randomUUID(), { result: "failed", code: "late" }), record(id, attemptId)]);
    expect((await rowOf(id)).status).toBe("sent");
  });

  test("the same outcome many times at once → changes something once", async () => {
    const id = await message();
    const attemptId = await go(id);
    const answers = await Promise.all(
      Array.from({ length: 5 }, async () => {
        const other = storeOn(database);
        const changed = await other.recordOutcome(outcome(id, attemptId));
        await other.close();
        return changed;
      }),
    );
    expect(answers.filter(Boolean)).toHaveLength(1);
    expect(await eventsOf(id)).toEqual(["sent"]);
  });

  test("ambiguous → is held until the provider can be asked, then to be reconciled", async () => {
    const id = await message();
    const attemptId = await go(id);
    await record(id, attemptId, { result: "ambiguous", code: "reset", holdMs: LONG_MS });
    expect(await begin(id)).toMatchObject({ verdict: "wait" });
    await expire(id);
    expect(await begin(id)).toMatchObject({ verdict: "reconcile", attemptId });
  });

  test("an outcome under a claim → is taken with that claim only", async () => {
    const id = await message();
    const attemptId = await go(id, 0);
    const claim = randomUUID();
    await begin(id, { attemptId: claim });
    expect(await record(id, attemptId, { claim: randomUUID(), result: "not_sent" })).toBe(false);
    expect(await record(id, attemptId, { claim, result: "not_sent", code: "not_accepted" })).toBe(true);
    expect(await rowOf(id)).toMatchObject({ status: "queued", claim: null, attempt_id: null });
  });

  test("a failure before any attempt → is taken only while the message waits", async () => {
    const waiting = await message();
    expect(await record(waiting, undefined, { result: "failed", code: "channel_off" })).toBe(true);
    const underWay = await message();
    await go(underWay);
    expect(await record(underWay, undefined, { result: "failed", code: "channel_off" })).toBe(false);
    expect((await rowOf(underWay)).status).toBe("sending");
    expect(await record(await message(), undefined, { result: "sent" })).toBe(false);
  });

  test("an outcome that breaks a rule of the database → fails alone, the rest of its batch is recorded", async () => {
    const ids = await Promise.all(Array.from({ length: 20 }, () => message()));
    const attempts = await Promise.all(ids.map((id) => go(id)));
    const answers = await Promise.allSettled(
      ids.map((id, i) => record(id, attempts[i], { providerMessageId: i === 7 ? "a\0b" : `p-${id}` })),
    );
    expect(answers.map(({ status }) => status)).toEqual(ids.map((_, i) => (i === 7 ? "rejected" : "fulfilled")));
    expect((await rowOf(ids[7] as string)).status).toBe("sending");
  });

  test("an outcome for a message that is not there → changes nothing, harms nobody", async () => {
    const id = await message();
    const attemptId = await go(id);
    expect(await Promise.all([record(randomUUID(), randomUUID()), record(id, attemptId)])).toEqual([false, true]);
  });

  test("a carrier that asks never to be contacted again → one suppression, also when it says so twice", async () => {
    const recipient = "+33612345111";
    for (let i = 0; i < 2; i++) {
      const id = await message({ account_id: "acc", recipient });
      const attemptId = randomUUID();
      // The second was begun before the first said so.
      await database.sql.query("update messages set status = 'sending', attempt_id = $2 where id = $1", [
        id,
        attemptId,
      ]);
      expect(await record(id, attemptId, { result: "failed", code: "opted_out", suppress: true })).toBe(true);
    }
    const { rows } = await database.sql.query("select account_id, reason from suppressions where phone = $1", [
      recipient,
    ]);
    expect(rows).toEqual([{ account_id: "acc", reason: "carrier" }]);
  });

  test("sent → the contact's lead is contacted; failed → it is not", async () => {
    await database.sql.query("insert into leads (account_id, ad_id) values ('acc', 'sent'), ('acc', 'failed')");
    for (const result of ["sent", "failed"] as const) {
      const id = await message({ account_id: "acc", ad_id: result });
      await record(id, await go(id), { result });
    }
    const { rows } = await database.sql.query("select ad_id, stage from leads order by ad_id");
    expect(rows).toEqual([
      { ad_id: "failed", stage: "new" },
      { ad_id: "sent", stage: "contacted" },
    ]);
  });
});

test("the database cancels a statement that takes too long → the outcome is written all the same, and a caller is told to come again", async () => {
  const id = await message();
  const attemptId = await go(id);
  const holder = await database.sql.connect();
  const cancelled = async (): Promise<number> => {
    const { rows } = await database.sql.query(
      `select pg_cancel_backend(pid) from pg_stat_activity
       where datname = current_database() and usename = 'authenticator' and wait_event_type = 'Lock'`,
    );
    return rows.length;
  };
  try {
    await holder.query("begin");
    await holder.query("select from messages where id = $1 for update", [id]);
    const written = store.recordOutcome(outcome(id, attemptId));
    await expect.poll(cancelled, { interval: 10 }).toBe(1);
    // It comes again by itself.
    await expect.poll(cancelled, { interval: 10 }).toBe(1);
    await holder.query("rollback");
    expect(await written).toBe(true);
    expect(await rowOf(id)).toMatchObject({ status: "sent", attempts: 1 });

    await holder.query("begin");
    await holder.query("lock table accounts");
    const missed = store.accounts.change("acc", { limits: [] }).catch((error: unknown) => error);
    await expect.poll(cancelled, { interval: 10 }).toBe(1);
    expect(await missed).toBeInstanceOf(UnavailableError);
  } finally {
    await holder.query("rollback");
    holder.release();
  }
});

describe("somebody else has the message in hand when it is asked for", () => {
  /** What `ask` comes to: it waits for the row of message `id`, whose holder meanwhile does `changes`, then commits. */
  async function meanwhile<T>(id: string, changes: string, ask: () => Promise<T>): Promise<T> {
    const holder = await database.sql.connect();
    const waits = `select from pg_stat_activity
      where datname = current_database() and usename = 'authenticator' and wait_event_type = 'Lock'`;
    try {
      await holder.query("begin");
      await holder.query("select from messages where id = $1 for update", [id]);
      const asked = ask();
      await expect.poll(async () => (await database.sql.query(waits)).rowCount, { interval: 10 }).toBe(1);
      await holder.query(changes);
      await holder.query("commit");
      return await asked;
    } finally {
      await holder.query("rollback");
      holder.release();
    }
  }

  test.each([
    [
      "an account that is suspended",
      "suspended_account",
      "update accounts set status = 'suspended' where id = 'other'",
    ],
    [
      "a person who says stop",
      "suppressed",
      "insert into suppressions (account_id, phone) values ('other', '+33600000001')",
    ],
  ])("%s meanwhile → skipped", async (_, code, changes) => {
    await database.sql.query(
      "insert into accounts (id) values ('other') on conflict (id) do update set status = 'active'",
    );
    await database.sql.query("delete from suppressions where account_id = 'other'");
    const id = await message({ account_id: "other", recipient: "+33600000001" });
    expect(await meanwhile(id, changes, () => begin(id))).toEqual({ verdict: "skipped", code });
    expect(await rowOf(id)).toMatchObject({ status: "skipped", code, attempts: 0 });
  });

  test("another attempt that begins meanwhile → wait, and it keeps the message", async () => {
    const id = await message();
    const theirs = randomUUID();
    const changes = `update messages set status = 'sending', attempts = 1, attempt_id = '${theirs}',
      attempt_started_at = now(), held_until = now() + interval '1 minute' where id = '${id}'`;
    expect(await meanwhile(id, changes, () => begin(id))).toMatchObject({ verdict: "wait" });
    expect(await rowOf(id)).toMatchObject({ status: "sending", attempt_id: theirs, attempts: 1 });
  });

  test("an outcome of an attempt that is taken over meanwhile → is not believed", async () => {
    const id = await message();
    const attemptId = await go(id);
    const claim = randomUUID();
    const changes = `update messages set claim = '${claim}' where id = '${id}'`;
    expect(await meanwhile(id, changes, () => record(id, attemptId, { result: "failed" }))).toBe(false);
    expect(await rowOf(id)).toMatchObject({ status: "sending", claim });
  });
});
