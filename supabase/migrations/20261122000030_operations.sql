-- What operators look at and are told of, in one call: it is asked for with each look at the metrics.
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

revoke all on function figures(bigint) from public, anon, authenticated;
grant execute on function figures(bigint) to service_role;
revoke all on function schema_state() from public, anon, authenticated;
grant execute on function schema_state() to service_role;
