-- A submission's status, and when its hunt ends: told flow by flow, by what each has sent while it could, also where it shares a
-- sender with other accounts, or no more than a queue.

create function note_resumption() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  new.steady_since := now();
  return new;
end
$$;

create trigger hunts_resumed before update of paused_at on hunts
  for each row when (old.paused_at is not null and new.paused_at is null) execute function note_resumption();

-- A hunt's messages by what its status tells apart: [{"channel", "status", "queue", "sender", "zone", "send_at", "n", "open", "started_at",
-- "settled_at", "attempted", "last": of those that were attempted, "busy_since", "of_instant", "of_seconds", "of_minute": those of the last
-- three seconds, ten, and minute}]. Times that are the same for all are found once, by a select of their own.
create function groups_of(p_hunt_id text) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(to_jsonb(g)), '[]') from (
    select m.channel, m.status, m.queue, coalesce(m.sender, '') as sender, m.zone, m.send_at, count(*) as n,
      count(*) filter (where m.settled_at is null) as open,
      min(coalesce(m.attempt_started_at, m.sent_at)) as started_at, max(m.settled_at) as settled_at,
      count(*) filter (where m.attempts > 0 and m.settled_at is not null) as attempted,
      max(m.settled_at) filter (where m.attempts > 0) as last,
      min(greatest(m.created_at, m.send_at)) filter (where m.settled_at is null and m.send_at <= now()) as busy_since,
      count(*) filter (where m.attempts > 0 and m.settled_at > (select now() - interval '3 seconds')) as of_instant,
      count(*) filter (where m.attempts > 0 and m.settled_at > (select now() - interval '10 seconds')) as of_seconds,
      count(*) filter (where m.attempts > 0 and m.settled_at > (select now() - interval '1 minute')) as of_minute
    from messages m where m.hunt_id = p_hunt_id
    group by 1, 2, 3, 4, 5, 6
  ) g
$$;

-- How many messages a second a hunt sends through each queue from each sender of which something is open, and for how long that
-- was looked at. Null: nobody can tell yet. p_since: nothing of before counts; p_groups: those of groups_of.
--
-- Time in which there was nothing to send does not count: it is looked at no earlier than the oldest of what is open was
-- there, and begins with the first attempt. Of the last three seconds where very many went in them, or ten where many did, else of the
-- last minute, or ten.
create function paces_of(p_hunt_id text, p_since timestamptz, p_groups jsonb)
returns table (queue text, sender text, pace double precision, seconds double precision)
language sql stable
set search_path = public
as $$
  with counted as (
    select g.queue, g.sender, max(g.last) as last, min(g.busy_since) as busy_since,
      sum(g.of_instant) as of_instant, sum(g.of_seconds) as of_seconds, sum(g.of_minute) as of_minute
    from jsonb_to_recordset(p_groups) as g (
      queue text, sender text, open bigint, last timestamptz, busy_since timestamptz,
      of_instant bigint, of_seconds bigint, of_minute bigint
    )
    group by 1, 2
    having sum(g.open) > 0
  ),
  looked as (
    select c.queue, c.sender, greatest(p_since, case
      -- What is open came while the flow had a rest, or comes one by one.
      when c.last < c.busy_since then now() - interval '1 minute'
      else greatest(c.busy_since, now() - case
        when c.of_instant >= 150 then interval '3 seconds'
        when c.of_seconds >= 30 then interval '10 seconds'
        when c.of_minute >= 10 then interval '1 minute'
        else interval '10 minutes'
      end)
    end) as since
    from counted c where c.last is not null
  ),
  attempted as (
    select l.queue, l.sender, l.since, m.attempt_started_at as began, m.settled_at as ended
    from looked l
    join messages m on m.hunt_id = p_hunt_id and m.queue = l.queue and coalesce(m.sender, '') = l.sender
    where m.attempts > 0 and m.attempt_started_at is not null and (m.settled_at > l.since or m.status = 'sending')
  ),
  summed as (
    select a.queue, a.sender, greatest(a.since, min(a.began)) as since,
      avg(extract(epoch from a.ended - a.began)) as took, count(*) filter (where a.began >= a.since) as begun,
      extract(epoch from max(a.began) - min(a.began) filter (where a.began >= a.since)) as between_them
    from attempted a
    group by a.queue, a.sender, a.since
    having count(a.ended) > 0 and count(*) > 1
  )
  select s.queue, s.sender,
    -- What was done in that time, also of what is half done. Who sends one now and then has done the first at once.
    least(sum(case
      when a.ended is null then least(1, extract(epoch from now() - a.began) / nullif(s.took, 0))
      when a.began >= s.since or a.ended <= a.began then 1
      else extract(epoch from a.ended - s.since) / extract(epoch from a.ended - a.began)
    end) / nullif(x.seconds, 0), (s.begun - 1) / nullif(s.between_them, 0)), x.seconds
  from summed s
  join attempted a on a.queue = s.queue and a.sender = s.sender
  cross join lateral (select extract(epoch from now() - s.since)::double precision as seconds) x
  group by s.queue, s.sender, s.begun, s.between_them, x.seconds
$$;

-- What shares something with a hunt's flows through these queues, its own among it: about how many messages each has waiting, with
-- what weight, from when to when (null: still), and how many a second its account's limits and its spreading let through (null:
-- as many as can be). shares: the sender that holds all of its flows up, as feed has found; '': no more than the queue.
create type rival as (
  hunt_id text, account_id text, queue text, sender text, weight double precision, waiting double precision,
  since timestamptz, until timestamptz, most double precision, shares text
);

-- Of several hundred, those that are its account's, or have been due for longest. Who was done lately has part in what went at that
-- time. p_limits: of accounts without their own.
create function rivals_of(p_hunt hunts, p_queues text[], p_limits jsonb) returns setof rival
language sql stable
set search_path = public
as $$
  with waiting as (
    select f.*, h.account_id, h.steady_since, count(*) over () as flows
    from flows f join hunts h on h.id = f.hunt_id
    where f.queue = any (p_queues) and f.fed_seq < f.last_seq
      -- One that waits for its hours, or its time, is in nobody's way.
      and f.due_at < now() + interval '5 seconds'
      and h.paused_at is null and h.cancelled_at is null and h.expires_at > now()
    order by h.account_id = p_hunt.account_id desc, f.due_at
    limit 300
  ),
  done as (
    select f.*, h.account_id, greatest(h.created_at, h.steady_since) as since
    from flows f join hunts h on h.id = f.hunt_id
    where f.queue = any (p_queues) and f.fed_seq >= f.last_seq
      -- No pace is of longer ago.
      and f.moved_at > now() - interval '10 minutes'
    order by f.moved_at desc
    limit 100
  ),
  chosen as (
    select w.hunt_id, w.account_id, w.queue, w.sender, w.weight, w.spacing, x.waiting,
      greatest(w.steady_since, x.since) as since, null as until
    from waiting w
    cross join lateral (
      -- What lies between a flow's numbers is partly that of others: as thick as the next ones lie.
      select case when count(*) < max(y.most) then count(*)
          else count(*) * (w.last_seq - w.fed_seq)::double precision / (max(y.seq) - w.fed_seq) end as waiting,
        min(y.created_at) as since
      from (
        select m.seq, m.created_at, z.most
        from (select greatest(20, least(2000, 5000 / w.flows)) as most) z
        cross join lateral (
          select m.seq, m.created_at from messages m
          where m.hunt_id = w.hunt_id and m.send_at = w.send_at and m.seq > w.fed_seq and m.seq <= w.last_seq
            and m.settled_at is null and m.queue = w.queue and coalesce(m.sender, '') = w.sender and m.zone = w.zone
          order by m.seq limit z.most
        ) m
      ) y
    ) x
    where x.waiting > 0
    union all
    -- What it was given last takes about a second.
    select d.hunt_id, d.account_id, d.queue, d.sender, d.weight, d.spacing, 0, d.since,
      least(now(), d.moved_at + interval '1 second')
    from done d
  )
  select c.hunt_id, c.account_id, c.queue, c.sender, c.weight, c.waiting, c.since, c.until,
    least(1 / nullif(c.spacing, 0), (
      select 1 / nullif(max(l.spacing), 0)
      from limits_of(coalesce((select a.limits from accounts a where a.id = c.account_id), p_limits), c.queue, c.sender) l
    )),
    coalesce((
      select s.account_id || '/' || s.sender from feed_senders s
      where s.queue = c.queue and s.sender = c.sender and s.account_id in ('', c.account_id) and s.tag is not null
      limit 1
    ), '')
  from chosen c
$$;

-- In how many seconds p_left messages of a flow are sent that has sent p_pace a second for p_seconds; null: nobody can tell.
--
-- As feed serves them: what shares one thing (a sender, or the queue) is divided between accounts and their senders, by the
-- weight of the heaviest flow of each; and within one by weight. Each has its part as long as it has something. The pace was its
-- part of what all went at; who was not there for all of that time counts by how much of it.
create function ends_in(
  p_hunt hunts, p_queue text, p_sender text, p_left double precision, p_pace double precision, p_seconds double precision,
  p_rivals rival[]
)
returns double precision
language sql stable
set search_path = public
as $$
  with own as (
    select coalesce(sum(r.weight), w.weight) as weight, w.weight as heaviest, coalesce(min(r.shares), '') as shares
    from (select priority_weight(p_hunt.priority) as weight) w
    left join unnest(p_rivals) r on r.hunt_id = p_hunt.id and r.queue = p_queue and r.sender = p_sender and r.until is null
    group by w.weight
  ),
  rivals as (
    select r.*, r.account_id = p_hunt.account_id and r.sender = p_sender as beside,
      least(1, greatest(0, extract(epoch from
        coalesce(r.until, now()) - greatest(r.since, now() - make_interval(secs => p_seconds))
      ) / nullif(p_seconds, 0))) as there
    from unnest(p_rivals) r cross join own o
    where r.queue = p_queue and r.shares = o.shares and not (r.hunt_id = p_hunt.id and r.sender = p_sender)
  ),
  -- Flows of its account and sender: what all go at while it goes at its pace, and have sent when it has.
  within as (
    select p_pace + coalesce(sum(x.pace * r.there), 0) as pace,
      p_left + coalesce(sum(least(r.waiting, x.pace * p_left / nullif(p_pace, 0))), 0) as left,
      greatest(o.heaviest, max(r.weight) filter (where r.waiting > 0)) as weight
    from own o
    left join rivals r on r.beside
    cross join lateral (select least(r.most, p_pace * r.weight / o.weight) as pace) x
    group by o.weight, o.heaviest
  )
  select (w.left + coalesce(sum(least(u.waiting, x.pace * w.left / nullif(w.pace, 0))), 0))
    / nullif(w.pace + coalesce(sum(x.pace * u.there), 0), 0)
  from within w
  left join (
    select coalesce(max(r.weight) filter (where r.waiting > 0), max(r.weight)) as weight, sum(r.waiting) as waiting,
      max(r.there) as there, case when bool_and(r.most is not null) then sum(r.most) end as most
    from rivals r where not r.beside
    group by r.account_id, r.sender
  ) u on true
  cross join lateral (select least(u.most, w.pace * u.weight / w.weight) as pace) x
  group by w.pace, w.left
$$;

-- A submission's hunt with its counts: null when there is no such submission. Contacts that wait to be planned are "pending", by their
-- channels, so the counts and they sum to total from the first moment on. {"huntId", "accountId", "createdAt", "now", "pausedAt",
-- "cancelledAt", "startedAt", "lastSettledAt", "attempted", "scheduledAt": when it goes on, where nothing of it may be sent now,
-- "endsAt", "pending": {channel: n}, "channels": {channel: {status: n}}, "variants": {variant: {status: n, "replied": n}}}. In one pass
-- over its messages; one more, for the pace, while something is open, and one for variants where there are any.
--
-- When it ends is the latest of its flows' ends. Where a limit or spreading slows a flow down, by that alone; else by its own pace.
-- What other hunts of the account, other accounts and other senders have waiting for the same takes its part of it. Null as long as one
-- flow's end cannot be told. p_limits: of accounts without their own.
create function hunt_status(p_job_id uuid, p_limits jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = public
-- Whose planner expects much more than there is, and would compile for longer than it then runs.
set jit = off
as $$
declare
  v_hunt hunts;
  v_pending jsonb;
  v_groups jsonb;
  v_channels jsonb;
  v_times jsonb;
  v_open jsonb;
  v_waits bigint;
  v_left bigint;
  v_zone text;
  v_from timestamptz;
  v_last timestamptz;
  v_end timestamptz;
  v_limited timestamptz;
  v_limits jsonb;
  v_weight double precision;
  v_rivals rival[];
  v_told boolean;
  v_variants jsonb := '{}';
begin
  select h.* into v_hunt from hunt_submissions s join hunts h on h.id = s.hunt_id where s.job_id = p_job_id;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_object_agg(channel, n), '{}'), coalesce(sum(n), 0) into v_pending, v_left
  from (
    select x.contact ->> 'channel' as channel, count(*) as n
    from hunt_submissions s
    join hunt_chunks c on c.job_id = s.job_id and c.planned_at is null
    cross join jsonb_array_elements(c.contacts) as x (contact)
    where s.hunt_id = v_hunt.id
    group by 1
  ) p;
  v_groups := groups_of(v_hunt.id);
  select coalesce(jsonb_object_agg(channel, counts), '{}') into v_channels
  from (
    select channel, jsonb_object_agg(status, n) as counts
    from (
      select g.channel, g.status, sum(g.n) as n
      from jsonb_to_recordset(v_groups) as g (channel text, status text, n bigint) group by 1, 2
    ) g
    group by channel
  ) g;
  if exists (
    select 1 from hunt_submissions s where s.hunt_id = v_hunt.id and jsonb_path_exists(s.content, '$.variants[*].name')
  ) then
    select coalesce(jsonb_object_agg(variant, counts || jsonb_build_object('replied', replied)), '{}') into v_variants
    from (
      select variant, jsonb_object_agg(status, n) as counts, sum(replied) as replied
      from (
        select m.variant, m.status, count(*) as n,
          count(*) filter (where exists (select 1 from replies r where r.message_id = m.id)) as replied
        from messages m where m.hunt_id = v_hunt.id and m.variant is not null group by 1, 2
      ) g
      group by variant
    ) g;
  end if;
  select jsonb_build_object(
    'startedAt', min(g.started_at), 'lastSettledAt', max(g.settled_at), 'attempted', coalesce(sum(g.attempted), 0)
  ) into v_times
  from jsonb_to_recordset(v_groups) as g (started_at timestamptz, settled_at timestamptz, attempted bigint);

  -- What is open: of one queue, sender and zone, from the time on at which it is to be sent now.
  select coalesce(jsonb_agg(to_jsonb(o)), '[]'), coalesce(sum(o.n), 0) into v_open, v_waits
  from (
    select g.queue, g.sender, g.zone, starts_at(v_hunt, g.send_at) as send_at, sum(g.open) as n
    from jsonb_to_recordset(v_groups) as g (queue text, sender text, zone text, send_at timestamptz, open bigint)
    where g.open > 0
    group by 1, 2, 3, g.send_at
  ) o;
  v_left := v_left + v_waits;
  select min(x.send_at), max(x.send_at), min(x.zone) into v_from, v_last, v_zone
  from (
    select o.send_at, o.zone from jsonb_to_recordset(v_open) as o (send_at timestamptz, zone text)
    union all
    select coalesce(s.send_at, '-infinity'), null from hunt_submissions s
    where s.hunt_id = v_hunt.id and s.planned_at is null
  ) x;
  v_from := greatest(v_from, now());
  if v_hunt.windows is not null and v_hunt.expires_at > now() then
    select least(min(w.opens), v_hunt.expires_at) into v_from from windows_of(v_hunt.windows, v_zone, v_from) w;
  end if;

  if v_left > 0 then
    v_weight := priority_weight(v_hunt.priority);
    select coalesce(a.limits, p_limits) into v_limits from accounts a where a.id = v_hunt.account_id;
    v_rivals := array(
      select r from rivals_of(v_hunt, array(select distinct o ->> 'queue' from jsonb_array_elements(v_open) o), p_limits) r
    );
    with flow as materialized (
      -- Contacts that wait to be planned are taken to go the ways of the others.
      select o.queue, o.sender, sum(o.n) * v_left::double precision / v_waits as n, min(o.send_at) as begins, max(o.send_at) as last
      from jsonb_to_recordset(v_open) as o (queue text, sender text, send_at timestamptz, n bigint)
      group by 1, 2
    ),
    paced as materialized (
      select p.* from paces_of(v_hunt.id, greatest(v_hunt.steady_since, (
        -- What was sent before a night says nothing of the morning.
        select max(w.opens) filter (where w.opens < now())
        from windows_of(v_hunt.windows, v_zone, now() - interval '10 minutes', 1) w
      ), '-infinity'), v_groups) p
    ),
    scope as materialized (
      select b.scope, case
        when b.per_day is null or b.n <= d.allowed then
          case when b.spacing > 0 then after_open(v_hunt.windows, v_zone, v_from, (b.n + b.others) * b.spacing) end
        else after_open(
          v_hunt.windows, v_zone,
          (d.day + 1)::timestamp at time zone b.zone + make_interval(days => floor((b.n - d.allowed - 1) / b.per_day)::integer),
          ((b.n - d.allowed - 1)::bigint % b.per_day + 1) * b.spacing
        )
      end as ends,
      -- Nothing else has been seen to be slower; that takes a while.
      (b.per_day is not null and b.n > d.allowed) or b.pace is null or b.seconds < 5
        or b.pace * b.spacing * (b.n + b.others) / b.n >= 0.8 as binds
      from (
        select g.*, coalesce((
          select sum(least(r.waiting, g.n * r.weight / (v_weight * g.flows)))
          from unnest(v_rivals) r cross join lateral limits_of(v_limits, r.queue, r.sender) o
          where r.account_id = v_hunt.account_id and r.hunt_id <> v_hunt.id and o.scope = g.scope
        ), 0) as others
        from (
          select l.scope, sum(f.n) as n, count(*) as flows, max(l.spacing) as spacing, min(l.per_day) as per_day,
            min(l.zone) as zone, sum(p.pace) as pace, min(p.seconds) as seconds
          from flow f
          cross join lateral limits_of(v_limits, f.queue, f.sender) l
          left join paced p on p.queue = f.queue and p.sender = f.sender
          group by l.scope
        ) g
      ) b
      cross join lateral (select (v_from at time zone b.zone)::date as day) t
      cross join lateral (
        select t.day, greatest(0, b.per_day - coalesce((
          select c.used from limit_counters c
          where c.account_id = v_hunt.account_id and c.scope = b.scope and c.day = t.day
        ), 0)) as allowed
      ) d
    ),
    ended as (
      select coalesce(
        l.ends,
        -- A limit may be what holds it up once the others are done.
        greatest(l.would_end, (
          select max(after_open(v_hunt.windows, v_zone, greatest(v_from, o.send_at), o.n * x.seconds_each))
          from (
            -- What comes later waits for what is there before.
            select y.send_at, sum(y.n) over (order by y.send_at desc) * v_left / v_waits as n
            from (
              select o.send_at, sum(o.n) as n
              from jsonb_to_recordset(v_open) as o (queue text, sender text, send_at timestamptz, n bigint)
              where o.queue = f.queue and o.sender = f.sender
              group by 1
            ) y
          ) o
        )),
        -- What is to begin later is over soon after, as far as is known.
        case when f.begins > now() then f.last end
      ) as ends, l.ends as limited
      from flow f
      left join paced p on p.queue = f.queue and p.sender = f.sender
      cross join lateral (
        select max(c.ends) filter (where c.binds) as ends, max(c.ends) as would_end
        from limits_of(v_limits, f.queue, f.sender) o join scope c on c.scope = o.scope
      ) l
      cross join lateral (
        select ends_in(v_hunt, f.queue, f.sender, f.n, p.pace, p.seconds, v_rivals) / f.n as seconds_each
      ) x
    )
    select max(e.ends), max(e.limited), bool_and(e.ends is not null) into v_end, v_limited, v_told from ended e;
    if (v_hunt.windows ->> 'spread')::boolean then
      v_end := greatest(v_limited, after_open(v_hunt.windows, v_zone, v_from, open_left(v_hunt.windows, v_zone, v_from)));
      v_told := true;
    end if;
    if not coalesce(v_told, v_from > now() and v_last > now()) then
      v_end := null;
    elsif v_last > now() then
      v_end := greatest(v_end, v_last);
    end if;
  end if;

  return v_times || jsonb_build_object(
    'huntId', v_hunt.id, 'accountId', v_hunt.account_id, 'createdAt', v_hunt.created_at, 'now', now(),
    'pausedAt', v_hunt.paused_at, 'cancelledAt', v_hunt.cancelled_at,
    'scheduledAt', case when v_left > 0 and v_from > now() then v_from end,
    'endsAt', v_end,
    'pending', v_pending, 'channels', v_channels, 'variants', v_variants
  );
end
$$;

-- All of it is the service's alone.
revoke all on function note_resumption, groups_of, paces_of, rivals_of, ends_in, hunt_status from public, anon, authenticated;
grant execute on function note_resumption, groups_of, paces_of, rivals_of, ends_in, hunt_status to service_role;
