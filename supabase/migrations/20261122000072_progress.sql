-- Hunts as a whole, as operators look at them: the list of them, with counts that are kept once a hunt is over, one with its reasons,
-- and one over time.

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

-- A hunt with its counts, in one pass over its messages: {"huntId", "jobId" (of its last submission), …, "counts": {status: n},
-- "reasons": [{"status", "reason", "count"}], the p_reasons most frequent first}. Contacts that wait to be planned are "pending". When a
-- hunt goes on, and when it ends, its status says, which is asked only while something of it is open. p_limits: of accounts without
-- their own.
create function hunt_progress(p_hunt hunts, p_reasons integer, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  with tallied as (
    select status, code, count(*) as n, min(coalesce(attempt_started_at, sent_at)) as started_at,
      max(settled_at) as settled_at, count(*) filter (where attempts > 0 and settled_at is not null) as attempted
    from messages where hunt_id = p_hunt.id
    group by status, code
  ),
  submitted as (
    select s.job_id from hunt_submissions s where s.hunt_id = p_hunt.id order by s.accepted_at desc, s.job_id limit 1
  ),
  expected as (
    select hunt_status(s.job_id, p_limits) as status from submitted s
    where exists (select 1 from messages m where m.hunt_id = p_hunt.id and m.settled_at is null)
      or exists (select 1 from hunt_submissions o where o.hunt_id = p_hunt.id and o.planned_at is null)
  )
  select jsonb_build_object(
    'huntId', p_hunt.id, 'accountId', p_hunt.account_id, 'priority', p_hunt.priority,
    'createdAt', p_hunt.created_at, 'expiresAt', p_hunt.expires_at, 'now', now(),
    'pausedAt', p_hunt.paused_at, 'cancelledAt', p_hunt.cancelled_at,
    'jobId', (select job_id from submitted),
    'scheduledAt', (select status -> 'scheduledAt' from expected), 'endsAt', (select status -> 'endsAt' from expected),
    'pending', (
      select coalesce(sum(c.size), 0) from hunt_submissions s
      join hunt_chunks c on c.job_id = s.job_id and c.planned_at is null
      where s.hunt_id = p_hunt.id and s.planned_at is null
    ),
    'startedAt', (select min(started_at) from tallied),
    'lastSettledAt', (select max(settled_at) from tallied),
    'attempted', (select coalesce(sum(attempted), 0) from tallied),
    'counts', (
      select coalesce(jsonb_object_agg(status, n), '{}') from (select status, sum(n) as n from tallied group by status) s
    ),
    'reasons', (
      select coalesce(jsonb_agg(jsonb_build_object('status', status, 'reason', code, 'count', n) order by n desc, code), '[]')
      from (select * from tallied where code is not null order by n desc, code limit p_reasons) r
    )
  )
$$;

-- The newest first, those that are older than p_before, a hunt's id; of one account, or (null) all. Hunts that are over by their kept
-- counts, where nothing has changed since. p_limits: of accounts without their own.
create function list_hunts(p_account_id text, p_before text, p_limit integer, p_limits jsonb) returns jsonb
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

-- One hunt, with its hundred most frequent reasons, and when it is sent: {"sendAt", "windows"} as they were given, or changed, last;
-- null: there is none.
create function read_hunt(p_hunt_id text, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select hunt_progress(h, 100, p_limits) || jsonb_build_object('sendAt', h.send_at, 'windows', h.windows - 'until')
  from hunts h where h.id = p_hunt_id
$$;

-- In which of p_points slices of [p_from, p_to], seconds since 1970, a moment lies: 0 and p_points + 1 are before and after.
-- Not immutable, as date_part is not: it could not be inlined, and would be called half a million times.
create function slice_of(p_at timestamptz, p_from double precision, p_to double precision, p_points integer) returns integer
language sql stable parallel safe
return width_bucket(date_part('epoch', p_at), p_from, p_to, p_points);

-- How many of a hunt's messages were in which state at the end of each slice of its life, which ends now, or with what last
-- happened: {"from", "to", "points": [{"at", "counts"}]}; null: there is no such hunt. The ledger has a time for each state but
-- sending, which counts as queued. Messages that took the same way in the same slices are one row after the first pass.
create function hunt_timeline(p_hunt_id text, p_points integer) returns jsonb
language plpgsql stable
set search_path = public
as $$
declare
  v_from timestamptz;
  v_to timestamptz;
  v_start double precision;
  v_end double precision;
  v_points jsonb;
begin
  select created_at into v_from from hunts where id = p_hunt_id;
  if not found then
    return null;
  end if;
  if exists (select 1 from messages where hunt_id = p_hunt_id and settled_at is null) then
    v_to := now();
  else
    select max(greatest(created_at, settled_at, delivered_at, read_at)) into v_to from messages where hunt_id = p_hunt_id;
  end if;
  v_to := greatest(v_to, v_from + interval '1 second');
  v_start := date_part('epoch', v_from);
  v_end := date_part('epoch', v_to);

  with sliced as materialized (
    select status, count(*) as n,
      slice_of(created_at, v_start, v_end, p_points) as planned,
      slice_of(sent_at, v_start, v_end, p_points) as sent,
      slice_of(coalesce(delivered_at, read_at), v_start, v_end, p_points) as delivered,
      slice_of(read_at, v_start, v_end, p_points) as read,
      -- A report that it was not delivered after all leaves the moment at which it was sent.
      case when status in ('failed', 'skipped', 'cancelled', 'unknown') then
        slice_of(case when sent_at is null then settled_at else updated_at end, v_start, v_end, p_points)
      end as ended
    from messages where hunt_id = p_hunt_id
    group by 1, 3, 4, 5, 6, 7
  ),
  ways as (
    select row_number() over () as way, n, status, array[planned, sent, delivered, read, ended] as steps from sliced
  ),
  -- Each step comes after the one before it, whatever a vendor's clock says.
  steps as (
    select w.way, w.n, s.no, case s.no
        when 1 then 'queued' when 2 then 'sent' when 3 then 'delivered' when 4 then 'read' else w.status
      end as state,
      max(least(p_points, greatest(1, s.slice))) over (partition by w.way order by s.no) as slice
    from ways w cross join lateral unnest(w.steps) with ordinality as s (slice, no)
    where s.slice is not null
  ),
  moves as (
    select state, slice, n from steps
    union all
    select state, lead(slice) over (partition by way order by no), -n from steps
  ),
  -- Looked at once a point.
  changes as materialized (
    select state, slice, sum(n) as n from moves where slice is not null group by state, slice
  )
  select jsonb_agg(jsonb_build_object('at', v_from + (v_to - v_from) * p.no / p_points, 'counts', p.counts) order by p.no)
  into v_points
  from (
    select i.no, coalesce((
      select jsonb_object_agg(c.state, c.n)
      from (select state, sum(n) as n from changes where slice <= i.no group by state) c
      where c.n > 0
    ), '{}') as counts
    from generate_series(1, p_points) as i (no)
  ) p;
  return jsonb_build_object('from', v_from, 'to', v_to, 'points', v_points);
end
$$;

-- All of it is the service's alone.
alter table hunt_tallies enable row level security;
alter table hunt_changes enable row level security;
revoke all on hunt_tallies, hunt_changes from public, anon, authenticated;
grant all on hunt_tallies, hunt_changes to service_role;
revoke all on function expect_tally, note_change, hunt_goes_on, tally_of, tally_hunts, hunt_progress, list_hunts, read_hunt, slice_of,
  hunt_timeline from public, anon, authenticated;
grant execute on function expect_tally, note_change, hunt_goes_on, tally_of, tally_hunts, hunt_progress, list_hunts, read_hunt, slice_of,
  hunt_timeline to service_role;
