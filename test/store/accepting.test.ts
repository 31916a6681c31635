import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import type { Idempotency } from "../../src/core/route.ts";
import type { Account, NewHunt, PlannedMessage, Store } from "../../src/store/store.ts";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import { until } from "../helpers/ledger.ts";

let database: TestDatabase;
let store: Store;
/** What was asked of the database, and how many callers each batch carried. */
const requests: string[] = [];
const batches: number[] = [];

function open(): Store {
  const { supabaseUrl: url, supabaseServiceKey: serviceKey } = database;
  return createSupabaseStore({
    url,
    serviceKey,
    timeoutMs: 10_000,
    onRequest: (operation) => void requests.push(operation),
    onBatch: (_, items) => void batches.push(items),
  });
}

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  store = open();
});
afterAll(async () => {
  await store.close();
  await database.drop();
});
beforeEach(() => {
  requests.length = 0;
  batches.length = 0;
});

async function account(columns: { status?: string; default_country?: string } = {}): Promise<string> {
  const id = `acc_${randomUUID()}`;
  const { status = "active", default_country = "FR" } = columns;
  await sql("insert into accounts (id, status, default_country) values ($1, $2, $3)", id, status, default_country);
  return id;
}

// Tests look into rows of every shape.
// oxlint-disable-next-line typescript/no-explicit-any
async function sql(text: string, ...values: unknown[]): Promise<any[]> {
  return (await database.sql.query(text, values)).rows;
}

const keyOf = (key: string, bodyHash = "one"): Idempotency => ({ scope: "POST /somewhere", key, bodyHash });

describe("single sends in one batch", () => {
  /** Accepts one; `sender` tells for what country it was made. */
  async function send(
    accountId: string | undefined,
    fields: Partial<PlannedMessage> = {},
    idempotency?: Idempotency,
    seen: (Account | undefined)[] = [],
  ) {
    const id = randomUUID();
    const plan = async (known: Account | undefined) => {
      seen.push(known);
      const message = {
        id,
        accountId,
        copy: 0,
        channel: "sms",
        queue: "sms",
        recipient: "+33612345678",
        sender: known?.defaultCountry,
        content: { text: "Bonjour" },
        ...fields,
      } as PlannedMessage;
      return { message, response: { messageId: id } };
    };
    const { message: _, ...answer } = await store.acceptMessage(accountId, plan, idempotency);
    return answer;
  }
  const messagesOf = (accountId: string) =>
    sql("select sender, status from messages where account_id = $1 order by seq", accountId);

  test("each is answered for itself: accepted, replayed, in conflict, refused", async () => {
    const [active, suspended] = [await account(), await account({ status: "suspended" })];
    const [key, other] = [randomUUID(), randomUUID()];
    // Whose accounts are known come in one batch.
    await Promise.all([send(active), send(suspended)]);
    batches.length = 0;
    const answers = await Promise.all([
      send(active),
      send(active, {}, keyOf(key)),
      send(active, {}, keyOf(key)),
      send(active, {}, keyOf(key, "two")),
      send(suspended, {}, keyOf(other)),
      send(undefined, {}, keyOf(other)),
      send(undefined),
    ]);
    expect(batches).toEqual([7]);
    const results = answers.map(({ result }) => result);
    const refused = "suspended_account";
    expect(results).toEqual(["accepted", "accepted", "replay", "conflict", refused, "accepted", "accepted"]);
    expect(answers[2]).toMatchObject({ response: (answers[1] as { response: object }).response });
    expect(await messagesOf(active)).toHaveLength(3);
    expect(await messagesOf(suspended)).toEqual([]);
    // What is seen again in a later batch is the same.
    expect(await send(suspended, {}, keyOf(key))).toEqual(answers[2]);
  });

  test("one that the database refuses → fails alone", async () => {
    const id = await account();
    await send(id);
    batches.length = 0;
    const key = keyOf(randomUUID());
    const broken = send(id, { content: null }, key).catch((error: unknown) => error);
    const [first, error, last] = await Promise.all([send(id), broken, send(id)]);
    expect(batches).toEqual([3]);
    expect([first, last]).toMatchObject([{ result: "accepted" }, { result: "accepted" }]);
    expect(error).toMatchObject({ name: "DatabaseError", code: "23502" });
    expect(await messagesOf(id)).toHaveLength(3);
    // Nothing was kept of it: mended, it may have its key.
    expect(await send(id, {}, key)).toMatchObject({ result: "accepted" });
  });

  test("the database goes in the middle of a batch → every caller is told, nothing is written, and the same keys are accepted then", async () => {
    const id = await account();
    await send(id);
    const keys = Array.from({ length: 5 }, () => keyOf(randomUUID()));
    const lock = await database.sql.connect();
    await lock.query("begin; lock table messages in exclusive mode");
    batches.length = 0;
    const answers = Promise.allSettled(keys.map((key) => send(id, {}, key)));
    const blocked = `select pg_terminate_backend(pid) from pg_stat_activity
      where wait_event_type = 'Lock' and query like '%accept_messages%' and datname = current_database()`;
    await until(
      () => sql(blocked),
      (found) => found.length === 1,
    );
    const lost = { status: "rejected", reason: { name: "UnavailableError", dependency: "database" } };
    expect(await answers).toMatchObject(keys.map(() => lost));
    await lock.query("rollback");
    lock.release();
    expect(batches).toEqual([5]);
    expect(await messagesOf(id)).toHaveLength(1);
    const again = await Promise.all(keys.map((key) => send(id, {}, key)));
    expect(again.map(({ result }) => result)).toEqual(keys.map(() => "accepted"));
    expect(await messagesOf(id)).toHaveLength(6);
  });

  test("credits for two of three → two are reserved, the last is skipped", async () => {
    const id = await account();
    await sql("insert into credits (account_id, channel, balance) values ($1, 'sms', 2)", id);
    await Promise.all([send(id), send(id), send(id)]);
    expect((await messagesOf(id)).map(({ status }) => status).toSorted()).toEqual(["queued", "queued", "skipped"]);
    expect(await sql("select balance, reserved from credits where account_id = $1", id)).toEqual([
      { balance: "0", reserved: "2" },
    ]);
  });

  test("beside one that is to be skipped, or by itself → the same is written", async () => {
    const [id, stopped] = [await account(), "+33612345679"];
    await sql("insert into suppressions (account_id, phone, reason) values ($1, $2, 'manual')", id, stopped);
    const fields = { category: "marketing", detail: "why", caps: [], expiresAt: "2099-01-01T00:00:00Z" } as const;
    await send(id, fields);
    await Promise.all([send(id, fields), send(id, { ...fields, recipient: stopped })]);
    expect(batches).toEqual([1, 2]);
    const columns = "to_jsonb(m) - '{id, seq, created_at, updated_at}'::text[] as row";
    const written = await sql(`select ${columns} from messages m where account_id = $1 order by seq`, id);
    const [plain, beside, skipped] = written.map(({ row }) => row);
    expect(beside).toEqual(plain);
    expect(plain).toMatchObject({ category: "marketing", detail: "why", status: "queued" });
    expect(skipped).toMatchObject({ status: "skipped", code: "suppressed" });
    // Who has had enough is counted, alone in his call, too.
    await send(id, { ...fields, caps: [{ max: 0, withinMs: 3_600_000, words: "enough" }] });
    await send(id, { ...fields, skip: "too_late" });
    const last = await sql("select code from messages where account_id = $1 order by seq desc limit 2", id);
    expect(last).toEqual([{ code: "too_late" }, { code: "frequency_cap" }]);
  });

  test("an account that is known → is not looked up again; when it changes, what is written holds for it as it is now", async () => {
    const id = await account();
    const seen: (Account | undefined)[] = [];
    await send(id, {}, undefined, seen);
    await send(id, {}, undefined, seen);
    expect(requests).toEqual(["accounts", "accept_messages", "accept_messages"]);
    await sql("update accounts set default_country = 'GB' where id = $1", id);
    await send(id, {}, undefined, seen);
    await sql(`update accounts set policy = '"fr-marketing"' where id = $1`, id);
    await send(id, {}, undefined, seen);
    await sql("update accounts set consent_declared = true where id = $1", id);
    await send(id, {}, undefined, seen);
    // Each change costs one call, and none is written on the old terms.
    expect(requests.filter((operation) => operation === "accounts")).toHaveLength(1);
    expect(seen.map((known) => [known?.defaultCountry, known?.policy, known?.consentDeclared])).toEqual([
      ["FR", null, false],
      ["FR", null, false],
      ["FR", null, false],
      ["GB", null, false],
      ["GB", null, false],
      ["GB", "fr-marketing", false],
      ["GB", "fr-marketing", false],
      ["GB", "fr-marketing", true],
    ]);
    expect((await messagesOf(id)).map(({ sender }) => sender)).toEqual(["FR", "FR", "GB", "GB", "GB"]);
    await sql("update accounts set status = 'suspended' where id = $1", id);
    expect(await send(id)).toEqual({ result: "suspended_account" });
  });

  test("what is refused for an account that has changed → is judged by the account as it is now", async () => {
    const id = await account();
    await send(id);
    await sql("update accounts set default_country = 'GB' where id = $1", id);
    const plan = async (known: Account | undefined) => {
      if (known?.defaultCountry === "FR") throw new Error("not of France");
      return {
        message: { id: randomUUID(), accountId: id, recipient: "+447400123456" } as PlannedMessage,
        response: {},
      };
    };
    // It has no channel: that it was asked for at all is what counts.
    await expect(store.acceptMessage(id, plan, undefined)).rejects.toMatchObject({ code: "23502" });
    await sql("update accounts set default_country = 'FR' where id = $1", id);
    await expect(store.acceptMessage(id, plan, undefined)).rejects.toThrow("not of France");
  });

  test("an account that is made, or goes, between the look and the write → is found out", async () => {
    const id = `acc_${randomUUID()}`;
    expect(await send(id)).toEqual({ result: "unknown_account" });
    let looks = 0;
    const plan = async (known: Account | undefined) => {
      looks += 1;
      if (looks === 1) await sql("insert into accounts (id, default_country) values ($1, 'GB')", id);
      const message = {
        id: randomUUID(),
        accountId: id,
        copy: 0,
        channel: "sms",
        queue: "sms",
        recipient: "+33612345678",
      };
      const content = { text: "Bonjour" };
      return { message: { ...message, sender: known?.defaultCountry, content } as PlannedMessage, response: {} };
    };
    expect(await store.acceptMessage(id, plan, undefined)).toMatchObject({ result: "accepted" });
    expect(await messagesOf(id)).toMatchObject([{ sender: "GB" }]);
    await sql("delete from messages where account_id = $1", id);
    await sql("delete from accounts where id = $1", id);
    expect(await send(id)).toEqual({ result: "unknown_account" });
  });
});

describe("hunts in one batch", () => {
  async function submit(hunt: Partial<NewHunt> & { accountId: string }, idempotency?: Idempotency, by = store) {
    const jobId = randomUUID();
    const whole = { id: `hunt_${randomUUID()}`, priority: undefined, expiresAt: undefined, ...hunt };
    const answer = await by.acceptHunt(whole, jobId, [[{ adId: "ad" }]], { jobId }, idempotency);
    return { jobId, answer };
  }
  const past = "2020-01-01T00:00:00Z";

  test("each is answered for itself, and what is refused leaves nothing", async () => {
    const [mine, theirs, suspended] = [await account(), await account(), await account({ status: "suspended" })];
    const [twice, fresh] = [`twice_${randomUUID()}`, `fresh_${randomUUID()}`];
    const [key, other] = [randomUUID(), randomUUID()];
    const windows = { days: [1], from: "09:00", to: "18:00" };
    const submissions = await Promise.all([
      submit({ accountId: mine, id: twice, priority: "high" }),
      submit({ accountId: mine, id: twice }),
      submit({ accountId: mine, id: twice, priority: "low" }),
      submit({ accountId: theirs, id: twice }),
      submit({ accountId: suspended }),
      submit({ accountId: "nobody" }),
      submit({ accountId: mine, expiresAt: past }),
      submit({ accountId: mine, expiresAt: "2040-01-01T00:00:00Z", lastSendAt: "2041-01-01T00:00:00Z" }),
      submit({ accountId: mine, id: fresh, windows, content: { variants: [] } }, keyOf(key)),
      submit({ accountId: mine, id: fresh }, keyOf(key)),
      submit({ accountId: mine }, keyOf(key, "two")),
      submit({ accountId: mine, expiresAt: past }, keyOf(other)),
    ]);
    expect(batches).toEqual([12]);
    expect(submissions.map(({ answer }) => answer.result)).toEqual(
      ["accepted accepted differs other_account suspended_account unknown_account ended sends_too_late"]
        .concat(["accepted replay conflict ended"])
        .flatMap((words) => words.split(" ")),
    );
    const [first, second, , , , , , , keyed, again] = submissions;
    expect(again?.answer).toEqual({ result: "replay", response: { jobId: keyed?.jobId } });
    // What was refused has not used its key up.
    submissions.push(await submit({ accountId: mine }, keyOf(other)));
    expect(submissions.at(-1)?.answer.result).toBe("accepted");
    const accepted = submissions.filter(({ answer }) => answer.result === "accepted").map(({ jobId }) => jobId);
    const kept = await sql(
      `select s.job_id, s.contacts, c.size, c.contacts as given from hunt_submissions s join hunt_chunks c using (job_id)
       join hunts h on h.id = s.hunt_id where h.account_id = any ($1)`,
      [mine, theirs, suspended],
    );
    expect(kept.map(({ job_id }) => job_id).toSorted()).toEqual(accepted.toSorted());
    expect(kept.every(({ contacts, size }) => contacts === 1 && size === 1)).toBe(true);
    expect(kept[0].given).toEqual([{ adId: "ad" }]);
    const hunts = await sql(
      "select id, priority, windows, expires_at > now() + interval '6 days' as week from hunts where account_id = $1",
      mine,
    );
    expect(hunts).toHaveLength(3);
    expect(hunts).toContainEqual({ id: twice, priority: "high", windows: null, week: true });
    expect(hunts).toContainEqual({ id: fresh, priority: "normal", windows, week: true });
    expect(
      await sql("select job_id from hunt_submissions where content is not null and job_id = $1", keyed?.jobId),
    ).toHaveLength(1);
    expect(first?.answer).not.toEqual(second?.answer);
  });

  test("one that the database refuses → fails alone", async () => {
    const accountId = await account();
    const broken = submit({ accountId, id: "x".repeat(201) }).catch((error: unknown) => error);
    const [first, error, last] = await Promise.all([submit({ accountId }), broken, submit({ accountId })]);
    expect(batches).toEqual([3]);
    expect([first, last]).toMatchObject([{ answer: { result: "accepted" } }, { answer: { result: "accepted" } }]);
    expect(error).toMatchObject({ name: "DatabaseError", code: "23514" });
    expect(await sql("select id from hunts where account_id = $1", accountId)).toHaveLength(2);
  });

  test("two processes with the same hunts and keys, in opposite orders → each is accepted once, none is turned away", async () => {
    await using other = { store: open(), [Symbol.asyncDispose]: () => other.store.close() };
    const accountId = await account();
    for (let round = 0; round < 10; round++) {
      const ids = Array.from({ length: 10 }, () => `hunt_${randomUUID()}`);
      const send = (by: Store) => (id: string) => submit({ accountId, id }, keyOf(`${id} key`), by);
      const answers = await Promise.all([...ids.map(send(store)), ...ids.toReversed().map(send(other.store))]);
      const results = answers.map(({ answer }) => answer.result).toSorted();
      expect(results).toEqual([...Array(10).fill("accepted"), ...Array(10).fill("replay")]);
    }
    expect(
      await sql("select 1 from hunt_submissions s join hunts h on h.id = s.hunt_id where account_id = $1", accountId),
    ).toHaveLength(100);
  });

  const call = async (...items: object[]): Promise<string[]> => {
    const [row] = await sql("select accept_hunts($1) as answers", JSON.stringify(items));
    return (row.answers as { result: string }[]).map(({ result }) => result);
  };
  const waiting = (count: number) =>
    until(
      () => sql("select 1 from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"),
      (found) => found.length === count,
    );

  test("two calls with the same keys, in opposite orders, for a hunt that is there → one waits for the other", async () => {
    const accountId = await account();
    const id = `hunt_${randomUUID()}`;
    await submit({ accountId, id });
    const template = randomUUID();
    const archived = "insert into templates (id, account_id, name, archived_at) values ($1, $2, 'one', now())";
    await sql(archived, template, accountId);
    const [a, b] = [keyOf(randomUUID()), keyOf(randomUUID())];
    const item = (idempotency: Idempotency, template_ids: string[] = []) => {
      const chunks = [{ no: 0, contacts: [{ adId: "ad" }] }];
      const hunt = { id, account_id: accountId, template_ids };
      return { hunt, job_id: randomUUID(), contacts: 1, chunks, idempotency, response: {} };
    };
    // Between its keys the first call waits for what is being changed, and is accepted then.
    const held = await database.sql.connect();
    await held.query("begin");
    await held.query("update templates set archived_at = null where id = $1", [template]);
    const first = call(item(a), item(b, [template]));
    await waiting(1);
    const second = call(item(b), item(a));
    await waiting(2);
    await held.query("commit");
    held.release();
    expect(await Promise.all([first, second])).toEqual([
      ["accepted", "accepted"],
      ["replay", "replay"],
    ]);
  });

  test("two calls with the same new hunts, of which one is refused for its times in the first → one waits for the other", async () => {
    const accountId = await account();
    const [early, late] = [`a_${randomUUID()}`, `b_${randomUUID()}`];
    const item = (id: string, times: object = {}) => {
      const chunks = [{ no: 0, contacts: [{ adId: "ad" }] }];
      const hunt = { id, account_id: accountId, template_ids: [], ...times };
      return { hunt, job_id: randomUUID(), contacts: 1, chunks, idempotency: null, response: {} };
    };
    // The first call has made one hunt, and not looked at the other yet.
    const held = await database.sql.connect();
    await held.query("begin");
    await held.query("lock table hunt_submissions in exclusive mode");
    const first = call(item(early, { expires_at: past }), item(late));
    await waiting(1);
    const second = call(item(early), item(late));
    await waiting(2);
    await held.query("commit");
    held.release();
    expect(await Promise.all([first, second])).toEqual([
      ["ended", "accepted"],
      ["accepted", "accepted"],
    ]);
  });
});
