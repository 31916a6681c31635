import { randomUUID } from "node:crypto";
import type { PoolClient } from "pg";
import { afterAll, beforeAll, describe, expect, inject, test } from "vitest";
import { openTestDatabase, type TestDatabase } from "../../dev/stack/databases.ts";
import { until } from "../helpers/ledger.ts";

const REFUSED = { code: "23503" };

let database: TestDatabase;
const query = (text: string, values: unknown[] = []) => database.sql.query(text, values);

beforeAll(async () => {
  database = await openTestDatabase(inject("stack"));
});
afterAll(() => database.drop());

/** An account with a hunt, of which it has nothing yet. */
async function owner(): Promise<{ account: string; hunt: string }> {
  const [account, hunt] = [`acc_${randomUUID()}`, `hunt_${randomUUID()}`];
  await query("insert into accounts (id) values ($1)", [account]);
  await query("insert into hunts (id, account_id) values ($1, $2)", [hunt, account]);
  return { account, hunt };
}

const WRITE = {
  messages: `insert into messages (id, account_id, hunt_id, ad_id, channel, queue, recipient, content)
    select gen_random_uuid(), o.account, o.hunt, 'ad_' || o.n, 'sms', 'sms', '+33612345678', '{"text": "Bonjour"}'
    from rows from (unnest($1::text[]), unnest($2::text[])) with ordinality as o (account, hunt, n)`,
  leads: `insert into leads (account_id, ad_id, hunt_id)
    select o.account, 'ad_' || o.n, o.hunt
    from rows from (unnest($1::text[]), unnest($2::text[])) with ordinality as o (account, hunt, n)`,
};

describe.each(["messages", "leads"] as const)("%s", (table) => {
  const write = (accounts: (string | null)[], hunts: (string | null)[], by: Pick<PoolClient, "query"> = database.sql) =>
    by.query(WRITE[table], [accounts, hunts]);

  test("of somebody who is not there, among others → nothing of the statement is written", async () => {
    const { account, hunt } = await owner();
    await expect(write([account, "acc_nobody"], [hunt, hunt])).rejects.toMatchObject(REFUSED);
    await expect(write([account, account], [hunt, "hunt_none"])).rejects.toMatchObject(REFUSED);
    expect((await query(`select from ${table} where account_id = $1`, [account])).rowCount).toBe(0);
    await write([account, account], [hunt, null]);
    expect((await query(`select from ${table} where account_id = $1`, [account])).rowCount).toBe(2);
  });

  test("given to somebody else → only to who is there", async () => {
    const [one, other] = [await owner(), await owner()];
    await write([one.account], [one.hunt]);
    const give = (column: string, to: string) =>
      query(`update ${table} set ${column} = $2 where account_id = $1`, [one.account, to]);
    await expect(give("hunt_id", "hunt_none")).rejects.toMatchObject(REFUSED);
    await expect(give("account_id", "acc_nobody")).rejects.toMatchObject(REFUSED);
    await give("hunt_id", other.hunt);
    await give("account_id", other.account);
  });

  test("whose owner is to go, or to have another id → the owner stays", async () => {
    const { account, hunt } = await owner();
    await write([account], [hunt]);
    await expect(query("delete from hunts where id = $1", [hunt])).rejects.toMatchObject(REFUSED);
    await expect(query("update hunts set id = id || '2' where id = $1", [hunt])).rejects.toMatchObject(REFUSED);
    const alone = `acc_${randomUUID()}`;
    await query("insert into accounts (id) values ($1)", [alone]);
    await write([alone], [null]);
    await expect(query("delete from accounts where id = $1", [alone])).rejects.toMatchObject(REFUSED);
    await expect(query("update accounts set id = id || '2' where id = $1", [alone])).rejects.toMatchObject(REFUSED);
    const idle = await owner();
    await query("delete from hunts where id = $1", [idle.hunt]);
    await query("delete from accounts where id = $1", [idle.account]);
  });

  test("written while its hunt is being deleted → one of both waits, and is refused", async () => {
    const [writer, deleter] = [await database.sql.connect(), await database.sql.connect()];
    try {
      const waiting = async (): Promise<void> => {
        const locks = () => query("select from pg_locks where not granted");
        await until(locks, ({ rowCount }) => (rowCount ?? 0) > 0);
      };
      const { account, hunt } = await owner();
      await writer.query("begin");
      await write([account], [hunt], writer);
      const deletion = deleter.query("delete from hunts where id = $1", [hunt]).catch((error: unknown) => error);
      await waiting();
      await writer.query("commit");
      expect(await deletion).toMatchObject(REFUSED);

      const going = await owner();
      await deleter.query("begin");
      await deleter.query("delete from hunts where id = $1", [going.hunt]);
      const writing = write([going.account], [going.hunt], writer).catch((error: unknown) => error);
      await waiting();
      await deleter.query("commit");
      expect(await writing).toMatchObject(REFUSED);
    } finally {
      writer.release();
      deleter.release();
    }
  });
});
