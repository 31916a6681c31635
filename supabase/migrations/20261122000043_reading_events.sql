-- Whoever begins to listen misses nothing from then on, and whoever reads a database that was restored is told so.

-- began: when its events began to be kept, without a gap since.
alter table event_readers add column began timestamptz not null default now();

-- Triggers look for listeners in the midst of a transaction, which may commit after somebody has begun to listen: then nobody is told
-- of it. So whoever begins waits for those that are under way. Called without a number it answers one, or null where there are
-- none; with that number the same, until all of them have ended.
create function begun_before(p_number text default null) returns text
language sql
set search_path = public
as $$
  select case when pg_snapshot_xmin(s) < x.number then x.number::text end
  from pg_current_snapshot() as s cross join lateral (select coalesce(p_number::xid8, pg_snapshot_xmax(s)) as number) x
$$;

-- As before, and "fresh": their events have been kept for so short a time that changes may be under way that do not know of it.
create or replace function listen_to_events(p_accounts jsonb, p_seconds integer) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_since jsonb;
  v_fresh boolean;
begin
  with kept as (
    insert into event_readers as r (account_id, until, since)
    select a.id, now() + make_interval(secs => p_seconds), h.pos
    from jsonb_array_elements_text(p_accounts) as a (id) cross join event_head h
    order by 1
    on conflict (account_id) do update set
      since = case when r.until < now() then excluded.since else r.since end,
      began = case when r.until < now() then excluded.began else r.began end,
      until = excluded.until
    returning r.account_id, r.since, r.began
  )
  select coalesce(jsonb_object_agg(k.account_id, k.since), '{}'), coalesce(bool_or(k.began > now() - interval '1 minute'), false)
  into v_since, v_fresh from kept k;
  return (
    select jsonb_build_object('head', h.pos, 'tidied', h.tidied, 'since', v_since, 'fresh', v_fresh) from event_head h
  );
end
$$;

-- Events of these accounts, or of one hunt of theirs, after a position, in order. head: what comes after it is not in the answer.
-- lost: what came after the position is not known, because the database was restored since or the events were forgotten: there is
-- no more to be had than to go on from head.
create or replace function read_events(p_after bigint, p_accounts jsonb, p_hunt_id text, p_limit integer) returns jsonb
language plpgsql
set search_path = public
as $$
begin
  perform pump_events(p_limit);
  if exists (select 1 from event_head h where p_after > h.pos or p_after < h.tidied) then
    return (select jsonb_build_object('events', '[]'::jsonb, 'head', h.pos, 'lost', true) from event_head h);
  end if;
  return (
    select jsonb_build_object(
      'events', coalesce(jsonb_agg(event_view(x) order by x.pos), '[]'),
      'head', case when count(*) = p_limit then max(x.pos) else greatest(p_after, (select h.pos from event_head h)) end,
      'lost', false
    )
    from (
      select e.* from events e
      where e.pos > p_after and e.account_id in (select jsonb_array_elements_text(p_accounts))
        and (p_hunt_id is null or e.hunt_id = p_hunt_id) and e.type <> 'webhook.test'
      order by e.pos limit p_limit
    ) x
  );
end
$$;

-- A database that was restored has given positions that it does not know of. From here on it gives others: farther than it can have
-- come, and whoever is at one of the old is told.
create function pass_over_positions() returns trigger
language plpgsql
set search_path = public
as $$
begin
  update event_head set pos = pos + 1000000000, tidied = pos + 1000000000;
  return null;
end
$$;

create trigger epoch_adopted after update on epoch
  for each row when (old.adopted_at is distinct from new.adopted_at) execute function pass_over_positions();

revoke all on function begun_before(text), pass_over_positions() from public, anon, authenticated;
grant execute on function begun_before(text), pass_over_positions() to service_role;
