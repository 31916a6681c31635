-- What keeps the ledger tidy, and what operators look at.

-- Merges receipts that raced with the recording of their message, and drops what nobody needs any more: receipts of nothing that is
-- known, keys, staged contacts, files, what WhatsApp was given, flows, counters of limits, senders.
-- In the order of all others (the erasures' lock, messages, what is pending about them), and past what somebody has in hand, which is
-- tidied the next time: so nobody waits for it in a circle.
create function tidy() returns void
language plpgsql
set search_path = public
as $$
declare
  v_ids uuid[];
  v_receipts jsonb;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  select array_agg(x.id) into v_ids from (
    select m.id from messages m
    where m.id in (
      select o.id from pending_receipts p
      join messages o on o.provider = p.provider and o.provider_message_id = p.provider_message_id
      where o.status not in ('queued', 'sending')
    )
    order by m.id for update skip locked
  ) x;
  if v_ids is not null then
    with matched as (
      delete from pending_receipts p using messages m
      where m.id = any (v_ids) and m.provider = p.provider and m.provider_message_id = p.provider_message_id
        and m.status not in ('queued', 'sending')
      returning p.*
    )
    select jsonb_agg(to_jsonb(x)) into v_receipts from matched x;
  end if;
  if v_receipts is not null then
    perform record_receipts(v_receipts);
  end if;
  delete from pending_receipts r where (r.provider, r.provider_message_id, r.status) in (
    select p.provider, p.provider_message_id, p.status from pending_receipts p
    where p.received_at < now() - interval '7 days' for update skip locked
  );
  delete from idempotency_keys where created_at < now() - interval '24 hours';
  -- Staged by a request that never came to its end.
  delete from hunt_chunks c
  where c.created_at < now() - interval '1 hour'
    and not exists (select 1 from hunt_submissions s where s.job_id = c.job_id)
    and not exists (select 1 from recurrences r where r.id = c.job_id);
  delete from media where created_at < now() - interval '8 days';
  -- A phone that was off for so long does not ask again for what it could not decrypt.
  delete from whatsapp_sent where created_at < now() - interval '30 days';
  -- Flows that have nothing left to give: what comes later makes a new one.
  delete from flows f
  where (f.hunt_id, f.queue, f.sender, f.send_at, f.zone) in (
    select l.hunt_id, l.queue, l.sender, l.send_at, l.zone from flows l
    where l.fed_seq >= l.last_seq
      and not exists (select 1 from messages m where m.hunt_id = l.hunt_id and m.settled_at is null)
    for update skip locked
  );
  delete from limit_counters c
  where (c.account_id, c.scope) in (
    select l.account_id, l.scope from limit_counters l where l.next_at < now() - interval '3 days' for update skip locked
  );
  delete from feed_senders s
  where (s.queue, s.account_id, s.sender) in (
    select l.queue, l.account_id, l.sender from feed_senders l
    where l.looked_at < now() - interval '3 days' for update skip locked
  );
end
$$;

-- What operators look at and are told of, in one call: it is asked for with each look at the metrics. {"unknown": n, "flows": {queue: n},
-- "sessions": {state: n}, "troubled": [sessions], "low": [credits below p_credits_below]}.
create function figures(p_credits_below bigint default 0) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'unknown', (select count(*) from messages m where m.needs_attention and m.status = 'unknown'),
    -- Flows and not their messages: counting those takes as long as they are many.
    'flows', (
      select coalesce(jsonb_object_agg(f.queue, f.n), '{}')
      from (select queue, count(*) as n from flows where fed_seq < last_seq group by queue) f
    ),
    'sessions', (
      select coalesce(jsonb_object_agg(s.state, s.n), '{}')
      from (select state, count(*) as n from whatsapp_sessions where wanted = 'on' group by state) s
    ),
    -- Those that do not send: since when, and until when WhatsApp keeps them from writing first.
    'troubled', (
      select coalesce(jsonb_agg(t), '[]')
      from (
        select id, account_id as "accountId", state,
          extract(epoch from now() - since)::bigint as "forSeconds",
          coalesce(cold_paused_until > now(), false) as held
        from whatsapp_sessions
        where wanted = 'on' and paired_at is not null and (state <> 'open' or cold_paused_until > now())
        order by since
        limit 100
      ) t
    ),
    'low', (
      select coalesce(jsonb_agg(l), '[]')
      from (
        select account_id as "accountId", channel, balance
        from credits
        where balance < p_credits_below
        order by balance, account_id, channel
        limit 100
      ) l
    )
  )
$$;

-- What has been applied to this database, and its clock; versions null: nobody has kept a record.
create function schema_state() returns jsonb
language plpgsql stable security definer
set search_path = ''
as $$
declare
  v_versions jsonb;
begin
  if to_regclass('supabase_migrations.schema_migrations') is not null then
    execute 'select coalesce(jsonb_agg(version order by version), ''[]'') from supabase_migrations.schema_migrations'
    into v_versions;
  end if;
  return jsonb_build_object(
    'versions', v_versions,
    'now', extract(epoch from clock_timestamp()) * 1000,
    'server', current_setting('server_version')
  );
end
$$;

create function ping() returns text language sql stable set search_path = '' as $$ select 'pong' $$;

-- All of it is the service's alone.
revoke all on function tidy, figures, schema_state, ping from public, anon, authenticated;
grant execute on function tidy, figures, schema_state, ping to service_role;
