import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";

let database: TestDatabase;

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
  await database.sql.query("insert into accounts (id) values ('acc')");
});
afterAll(() => database.drop());

async function hunt(id: string, messages: number): Promise<void> {
  await database.sql.query("insert into hunts (id, account_id) values ($1, 'acc')", [id]);
  await database.sql.query(
    "insert into hunt_submissions (job_id, hunt_id, contacts, planned_at) values (gen_random_uuid(), $1, $2, now())",
    [id, Math.max(1, messages)],
  );
  await add(id, messages);
}

async function add(id: string, messages: number, settled = true): Promise<void> {
  await database.sql.query(
    `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, content, status, attempts, sent_at, settled_at)
     select gen_random_uuid(), 'acc', $1, gen_random_uuid(), 'sms', 'sms', '+33612345678', '{}',
       case when $3 then 'sent' else 'queued' end, 1, now(), case when $3 then now() end
     from generate_series(1, $2::integer)`,
    [id, messages, settled],
  );
}

/** As rounds of the sweeper do, as many as it takes. */
async function rounds(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await database.sql.query("select tally_hunts(100)");
}

async function isKept(id: string): Promise<boolean> {
  const { rows } = await database.sql.query("select tally is not null as kept from hunt_tallies where hunt_id = $1", [
    id,
  ]);
  return rows[0].kept;
}

/** Rounds until it is: a transaction of another database that is under way puts it off, too. */
async function becomesKept(id: string): Promise<void> {
  await expect.poll(async () => (await rounds(), isKept(id)), { interval: 10 }).toBe(true);
}

/** A hunt of the list; what is read of it alone is counted each time. */
async function listed(id: string): Promise<Record<string, unknown>> {
  const { rows } = await database.sql.query(
    `select x as hunt, read_hunt($1, '[]') - 'reasons' as counted
     from jsonb_array_elements(list_hunts(null, null, 100, '[]')) as x where x ->> 'huntId' = $1`,
    [id],
  );
  const { reasons: _none, ...own } = rows[0].hunt;
  const { sendAt: _when, windows: _hours, ...counted } = rows[0].counted;
  expect(own).toEqual(counted);
  return own.counts;
}

async function settle(id: string, status: string, only = ""): Promise<void> {
  await database.sql.query(
    `update messages set status = $2 where id = (select id from messages where hunt_id = $1 ${only} order by seq limit 1)`,
    [id, status],
  );
}

test("a hunt that is over → its counts are kept, and the list shows what is kept", async () => {
  await hunt("over", 3);
  await hunt("none", 0);
  await becomesKept("over");
  await becomesKept("none");
  expect([await listed("over"), await listed("none")]).toEqual([{ sent: 3 }, {}]);
  // What was kept is what is shown: nobody counts.
  await database.sql.query(
    `update hunt_tallies set tally = tally || '{"counts": {"sent": 99}}' where hunt_id = 'over'`,
  );
  await expect(listed("over")).rejects.toThrow("deeply equal");
});

test("what changes in a hunt that was over → shows at once, and is kept again later", async () => {
  await hunt("changing", 3);
  const changes: [() => Promise<unknown>, Record<string, number>][] = [
    [() => settle("changing", "delivered"), { delivered: 1, sent: 2 }],
    [() => settle("changing", "failed", "and status = 'sent'"), { delivered: 1, sent: 1, failed: 1 }],
    [() => add("changing", 1), { delivered: 1, sent: 2, failed: 1 }],
    [
      () => database.sql.query("delete from messages where hunt_id = 'changing' and status = 'failed'"),
      { delivered: 1, sent: 2 },
    ],
  ];
  for (const [change, counts] of changes) {
    await becomesKept("changing");
    await change();
    expect(await listed("changing")).toEqual(counts);
    await rounds();
    expect(await listed("changing")).toEqual(counts);
  }
});

test("a message that is sent again → its hunt is not over until it has settled", async () => {
  await hunt("again", 2);
  await database.sql.query("update messages set retryable = true where hunt_id = 'again'");
  await settle("again", "failed");
  await becomesKept("again");
  await database.sql.query(
    "update messages set status = 'queued', settled_at = null where hunt_id = 'again' and status = 'failed'",
  );
  expect(await listed("again")).toEqual({ queued: 1, sent: 1 });
  // Nobody has looked while it was open.
  await database.sql.query("update messages set status = 'sending' where hunt_id = 'again' and status = 'queued'");
  await database.sql.query(
    "update messages set status = 'sent', settled_at = now() where hunt_id = 'again' and status = 'sending'",
  );
  expect(await listed("again")).toEqual({ sent: 2 });
  await add("again", 1, false);
  await rounds();
  expect(await isKept("again")).toBe(false);
  expect(await listed("again")).toEqual({ queued: 1, sent: 2 });
});

test("a report that is being written while its hunt is being counted → is counted, or noted", async () => {
  await hunt("between", 2);
  const writer = await database.sql.connect();
  try {
    await writer.query("begin");
    // It sees a hunt of which nothing is kept, and has nothing to note.
    await writer.query("update messages set status = 'delivered' where hunt_id = 'between'");
    await rounds();
    expect(await isKept("between")).toBe(false);
    await writer.query("commit");
  } finally {
    writer.release();
  }
  expect(await listed("between")).toEqual({ delivered: 2 });
  await becomesKept("between");
  expect(await listed("between")).toEqual({ delivered: 2 });
});
