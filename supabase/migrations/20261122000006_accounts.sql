-- Credits are added through the API; a chunk is planned once.

-- Adds to what an account can still reserve on a channel, which is metered from then on. Answers {"result": "added" | "replay" |
-- "conflict" | "unknown_account" | "too_many", "response": {"channel", "balance", "reserved", "spent"}}.
create function add_credits(p_account_id text, p_channel text, p_amount bigint, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb;
  v_response jsonb;
begin
  -- One at a time for an account: a second caller with the same key finds what the first has answered.
  perform 1 from accounts where id = p_account_id for no key update;
  if not found then
    return jsonb_build_object('result', 'unknown_account');
  end if;
  v_answer := idempotency_seen(p_idempotency);
  if v_answer is not null then
    return v_answer;
  end if;
  insert into credits as c (account_id, channel, balance) values (p_account_id, p_channel, p_amount)
  -- More than JSON's numbers tell exactly would come back as another.
  on conflict (account_id, channel) do update set balance = c.balance + excluded.balance
    where c.balance + excluded.balance <= 9007199254740991
  returning jsonb_build_object('channel', c.channel, 'balance', c.balance, 'reserved', c.reserved, 'spent', c.spent)
  into v_response;
  if v_response is null then
    return jsonb_build_object('result', 'too_many');
  end if;
  perform idempotency_take(p_idempotency, v_response);
  return jsonb_build_object('result', 'added', 'response', v_response);
end
$$;

revoke all on function add_credits(text, text, bigint, jsonb) from public, anon, authenticated;
grant execute on function add_credits(text, text, bigint, jsonb) to service_role;

-- Writes a chunk's messages and answers the ids that are to be queued. Chunks of one hunt go one after another, so
-- that a number given in two of them is seen. A job that comes again writes nothing more: an account that has declared
-- consent in between, or a provider that is back, would have it choose another channel for somebody who has one already.
create or replace function plan_chunk(p_job_id uuid, p_no integer, p_hunt_id text, p_rows jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_suspect boolean;
begin
  perform pg_advisory_xact_lock(hashtextextended(p_hunt_id, 0));
  -- Until the end of this transaction: adopt_epoch, which doubts everything, waits for it and sees its rows.
  select suspect into v_suspect from hunt_submissions where job_id = p_job_id for share;
  if not exists (select 1 from hunt_chunks where job_id = p_job_id and no = p_no and planned_at is not null) then
    perform insert_messages(p_rows);
    if v_suspect then
      perform doubt(r.id) from jsonb_to_recordset(p_rows) as r (id uuid);
    end if;
    update hunt_chunks set planned_at = now() where job_id = p_job_id and no = p_no;
  end if;
  return query
    select m.id from jsonb_to_recordset(p_rows) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.id, m.status from messages m where m.id = r.id offset 0) m
    where m.status in ('queued', 'sending');
end
$$;
