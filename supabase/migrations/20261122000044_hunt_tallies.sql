-- The counts of hunts that are over, kept: a list of hunts does not count their messages again each time. What is kept counts
-- only while nothing of the hunt can have changed since; whatever is in doubt is counted.
--
--   new ──▶ armed ──▶ awaited ──▶ counted
--    ▲ a settled message of it changes │
--    └──────────────────────────────────┘
--
-- From armed on, every change of a settled message is noted in hunt_changes, which never makes anybody wait. Who did not see
-- that it was armed had begun before; awaited: once all that had begun by then have ended, it can be counted.

create table hunt_tallies (
  hunt_id text primary key references hunts (id) on delete cascade,
  looked_at timestamptz not null default '-infinity',
  armed boolean not null default false,
  -- Transactions before it may have missed that it is armed.
  awaited xid8,
  -- {"counts", "startedAt", "lastSettledAt", "attempted"}; null: not counted.
  tally jsonb,
  -- Its last message then.
  last_seq bigint
) with (fillfactor = 50);
create index hunt_tallies_open on hunt_tallies (looked_at) where tally is null;
create table hunt_changes (hunt_id text not null);
create index hunt_changes_hunt on hunt_changes (hunt_id);

insert into hunt_tallies (hunt_id) select id from hunts;

create function expect_tally() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  insert into public.hunt_tallies (hunt_id) values (new.id) on conflict do nothing;
  return null;
end
$$;
create trigger hunts_tally after insert on hunts for each row execute function expect_tally();

create function note_change() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if exists (select 1 from public.hunt_tallies t where t.hunt_id = old.hunt_id and t.armed)
    and not exists (select 1 from public.hunt_changes c where c.hunt_id = old.hunt_id) then
    insert into public.hunt_changes (hunt_id) values (old.hunt_id);
  end if;
  return null;
end
$$;
-- Not of what is being sent: an attempt and its outcome find an open message, and with one a hunt is not over.
create trigger messages_tally after update of status, settled_at on messages
for each row when (
  old.settled_at is not null and old.hunt_id is not null
  and (old.status <> new.status or new.settled_at is null)
) execute function note_change();
create trigger messages_tally_gone after delete on messages
for each row when (old.hunt_id is not null) execute function note_change();

-- Messages that are open, or contacts that are to be planned.
create function hunt_goes_on(p_hunt_id text) returns boolean
language sql stable
set search_path = public
as $$
  select exists (select 1 from messages m where m.hunt_id = p_hunt_id and m.settled_at is null)
    or exists (select 1 from hunt_submissions s where s.hunt_id = p_hunt_id and s.planned_at is null)
$$;

-- {"counts", "startedAt", "lastSettledAt", "attempted"}, in one pass over its messages.
create function tally_of(p_hunt_id text) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'counts', coalesce(jsonb_object_agg(status, n), '{}'), 'startedAt', min(started_at), 'lastSettledAt', max(settled_at),
    'attempted', coalesce(sum(attempted), 0)
  )
  from (
    select status, count(*) as n, min(coalesce(attempt_started_at, sent_at)) as started_at, max(settled_at) as settled_at,
      count(*) filter (where attempts > 0 and settled_at is not null) as attempted
    from messages where hunt_id = p_hunt_id
    group by status
  ) t
$$;

-- Keeps the counts of hunts that are over; each step of a hunt is one call's, so that its transaction has ended before the next.
-- Answers how many were counted.
create function tally_hunts(p_limit integer) returns integer
language plpgsql
set search_path = public
set jit = off
as $$
declare
  -- A call that counts for longer leaves the rest to the next.
  c_long constant interval := '500 milliseconds';
  v_id text;
  v_done integer := 0;
begin
  if not pg_try_advisory_xact_lock(20261122, 44) then
    return 0;
  end if;
  with changed as (
    delete from hunt_changes returning hunt_id
  )
  update hunt_tallies t set armed = false, awaited = null, tally = null, last_seq = null, looked_at = now()
  where t.hunt_id in (select hunt_id from changed);

  for v_id in
    select t.hunt_id from hunt_tallies t
    where t.tally is null and t.awaited <= pg_snapshot_xmin(pg_current_snapshot())
    order by t.looked_at limit p_limit
  loop
    -- One statement, and so of one moment.
    update hunt_tallies t set
      armed = x.ended, awaited = null, tally = case when x.ended then tally_of(v_id) end, looked_at = now(),
      last_seq = (select max(m.seq) from messages m where m.hunt_id = v_id)
    from (select not hunt_goes_on(v_id) as ended) x
    where t.hunt_id = v_id;
    v_done := v_done + 1;
    exit when clock_timestamp() - now() > c_long;
  end loop;

  update hunt_tallies t set awaited = pg_snapshot_xmax(pg_current_snapshot())
  where t.tally is null and t.armed and t.awaited is null and t.looked_at < now();

  update hunt_tallies t set armed = not hunt_goes_on(t.hunt_id), looked_at = now()
  where t.hunt_id in (
    select o.hunt_id from hunt_tallies o
    where o.tally is null and not o.armed and o.looked_at < now() order by o.looked_at limit p_limit
  );
  return v_done;
end
$$;

-- As before; hunts that are over by their kept counts, where nothing has changed since.
create or replace function list_hunts(p_account_id text, p_before text, p_limit integer, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
-- Whose planner expects to count everything, and would compile for fifty times as long as it then runs.
set jit = off
as $$
  select coalesce(jsonb_agg(x.progress order by x.no), '[]') from (
    select row_number() over (order by h.created_at desc, h.id desc) as no,
      case when k.tally is null then hunt_progress(h, 0, p_limits) else k.tally || jsonb_build_object(
        'huntId', h.id, 'accountId', h.account_id, 'priority', h.priority, 'createdAt', h.created_at,
        'expiresAt', h.expires_at, 'now', now(), 'pausedAt', h.paused_at, 'cancelledAt', h.cancelled_at,
        'jobId', (
          select s.job_id from hunt_submissions s where s.hunt_id = h.id order by s.accepted_at desc, s.job_id limit 1
        ),
        'scheduledAt', null, 'endsAt', null, 'pending', 0, 'reasons', '[]'::jsonb
      ) end as progress
    from (
      select * from hunts h
      where (p_account_id is null or h.account_id = p_account_id)
        and (p_before is null or (h.created_at, h.id) < (select b.created_at, b.id from hunts b where b.id = p_before))
      order by h.created_at desc, h.id desc
      limit p_limit
    ) h
    left join lateral (
      select t.tally from hunt_tallies t
      where t.hunt_id = h.id and t.tally is not null and not hunt_goes_on(h.id)
        and not exists (select 1 from hunt_changes c where c.hunt_id = h.id)
        and t.last_seq is not distinct from (select max(m.seq) from messages m where m.hunt_id = h.id)
    ) k on true
  ) x
$$;

do $$
declare
  t text;
  f regprocedure;
begin
  foreach t in array array['hunt_tallies', 'hunt_changes'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from public, anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('expect_tally', 'note_change', 'hunt_goes_on', 'tally_of', 'tally_hunts')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
