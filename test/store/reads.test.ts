import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { createSupabaseStore } from "../../src/store/supabase.ts";
import { finished, phone, settles, submit } from "../helpers/hunts.ts";
import { until } from "../helpers/ledger.ts";
import { contact, openWorld } from "../helpers/service.ts";

/** Rows of each table that have nothing to do with the work. */
const OTHERS = 10_000;

test("ten thousand rows of others, by plans that were made before there were any → nothing that is done for a message reads all of a table", async () => {
  await using world = await openWorld();
  const { sql, database } = world;
  const store = createSupabaseStore({
    url: database.supabaseUrl,
    serviceKey: database.supabaseServiceKey,
    timeoutMs: 10_000,
  });
  await sql.query(NO_STATISTICS);
  const service = await world.start({ SWEEP_MS: "200" });
  const accountId = await world.account();
  await sql.query(`update accounts set policy = '{"base": "none", "perDay": 9}' where id = $1`, [accountId]);
  let last = 0;
  const next = (): string => phone((last += 1));
  async function work(): Promise<void> {
    const numbers = Array.from({ length: 5 }, next);
    const contacts = numbers.map((recipientPhone) => contact({ recipientPhone }));
    const { jobId, huntId } = await submit(service, { accountId, contacts });
    const single = { accountId, recipientPhone: next(), message: "Bonjour" };
    const { messageId } = (await service.post("/api/phone/sms", single, { "idempotency-key": randomUUID() })).body;
    await settles(service, messageId, "delivered");
    await finished(service, jobId);
    for (const path of [
      `/api/hunt/${huntId}/messages`,
      "/api/messages?status=failed",
      `/api/hunts?accountId=${accountId}`,
    ])
      expect((await service.get(path)).status).toBe(200);
    const reply = {
      provider: "sandbox",
      replyId: randomUUID(),
      accountId,
      from: numbers[0]!,
      text: "STOP",
      stop: true,
    };
    await store.takeReply({ ...reply, at: Date.now() });
  }
  for (let round = 0; round < 4; round++) await work();
  await sql.query(OTHER_ROWS);
  for (let round = 0; round < 2; round++) await work();

  await service.stop();
  await store.close();
  // What a connection has counted is told at its end.
  const ended = await sql.query<{ pid: number }>(
    "select pid, pg_terminate_backend(pid) from pg_stat_activity where usename = 'authenticator' and datname = current_database()",
  );
  await until(
    () => sql.query("select 1 from pg_stat_activity where pid = any ($1)", [ended.rows.map(({ pid }) => pid)]),
    ({ rowCount }) => rowCount === 0,
  );
  expect((await sql.query(ROWS_READ)).rows).toEqual([]);
});

/** Whoever counts what is in a table has all plans for it made anew. */
const NO_STATISTICS = `do $$ declare t regclass; begin
  for t in select relid from pg_stat_user_tables loop
    execute format('alter table %s set (autovacuum_enabled = off)', t);
  end loop;
end $$`;

// No temporary table: the schema that is made for it has all plans made anew as well.
const others = (columns: string) => `
  select ${columns}
  from generate_series(1, ${OTHERS}) i, lateral (select md5(i::text)::uuid as id, '+3367' || 1000000 + i as phone) x`;
const OTHER_ROWS = `
  begin;
  set local session_replication_role = replica;
  insert into accounts (id) values ('others');
  insert into hunts (id, account_id) ${others("'others_' || i, 'others'")};
  insert into hunt_submissions (job_id, hunt_id, contacts, planned_at) ${others("id, 'others_' || i, 1, now()")};
  insert into messages
    (id, account_id, hunt_id, ad_id, channel, queue, recipient, content, status, settled_at, provider, provider_message_id)
    ${others("id, 'others', 'others_' || i, 'ad_' || i, 'sms', 'sms', phone, '{}', 'delivered', now(), 'sandbox', 'other_' || i")};
  insert into message_events (message_id, kind) ${others("id, 'delivered'")};
  insert into leads (account_id, ad_id, phone, hunt_id) ${others("'others', 'ad_' || i, phone, 'others_' || i")};
  insert into suppressions (account_id, phone) ${others("'others', phone")};
  insert into replies (message_id, account_id, phone, provider, text, at)
    ${others("id, 'others', phone, 'sandbox', 'Oui', now()")};
  insert into idempotency_keys (scope, key, body_hash, response) ${others("'POST /others', id::text, '', '{}'")};
  commit;
`;

/** Of which tables more was read than anybody's work needs: by themselves, or by their indexes. */
const ROWS_READ = `
  select t.relname as table, t.seq_tup_read as by_itself, jsonb_object_agg(i.indexrelname, i.idx_tup_read) as by_index
  from pg_stat_user_tables t left join pg_stat_user_indexes i using (relid)
  group by t.relname, t.seq_tup_read
  having t.seq_tup_read + coalesce(sum(i.idx_tup_read), 0) >= ${OTHERS}
`;
