-- Hunts as a whole: the list of them, one with its reasons, one over time.

create index hunts_newest on hunts (created_at desc, id desc);
create index hunts_newest_of on hunts (account_id, created_at desc, id desc);

-- A hunt with its counts, in one pass over its messages: {"huntId", "jobId" (of its last submission), …, "counts": {status: n},
-- "reasons": [{"status", "reason", "count"}], the most frequent first}. Contacts that wait to be planned are "pending". When a
-- hunt goes on, and when it ends, its status says, which is asked only while something of it is open.
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

-- The newest first, those that are older than p_before, a hunt's id. p_limits: of accounts without their own.
create function list_hunts(p_account_id text, p_before text, p_limit integer, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(x.progress order by x.no), '[]') from (
    select hunt_progress(h, 0, p_limits) as progress, row_number() over (order by h.created_at desc, h.id desc) as no
    from (
      select * from hunts h
      where (p_account_id is null or h.account_id = p_account_id)
        and (p_before is null or (h.created_at, h.id) < (select b.created_at, b.id from hunts b where b.id = p_before))
      order by h.created_at desc, h.id desc
      limit p_limit
    ) h
  ) x
$$;

-- One hunt; null: there is none.
create function read_hunt(p_hunt_id text, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
as $$ select hunt_progress(h, 100, p_limits) from hunts h where h.id = p_hunt_id $$;

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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('hunt_progress', 'list_hunts', 'read_hunt', 'slice_of', 'hunt_timeline')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
