-- Flows, and how queues are fed from them. Messages of hunts wait in the ledger, and not in Redis: their queues are fed a little at a
-- time, in turns, so that a small hunt waits neither for a big one, nor behind many others of one account, nor behind what has been
-- given to a slow sender; and a backlog of any length costs Redis nothing. What is not due costs its flow one look when it is.

-- By how much more often a hunt of that priority has its turn.
create function priority_weight(p_priority text) returns double precision
language sql immutable parallel safe
return case p_priority when 'high' then 4 when 'low' then 0.25 else 1 end;

-- What of a hunt goes through one queue from one sender, '' for any, from one time on, to people of one zone.
create table flows (
  hunt_id text not null references hunts (id),
  queue text not null,
  sender text not null,
  weight double precision not null,
  -- Its virtual time, see feed.
  tag double precision not null,
  -- Its messages up to there have been given to the queue.
  fed_seq bigint not null,
  -- Up to there a job that has ended may stand in the way of a new one.
  again_seq bigint not null default 0,
  -- Its last message.
  last_seq bigint not null,
  -- It is not looked at before.
  due_at timestamptz not null default now(),
  -- Messages that may wait in the queue; under_way: as many as there were at looked_at, and were fed since; moved_at: when it was last
  -- seen that something moved.
  allowed integer not null default 0,
  under_way integer not null default 0,
  looked_at timestamptz not null default now(),
  moved_at timestamptz not null default now(),
  send_at timestamptz not null default '-infinity',
  zone text not null default '',
  -- Seconds between two of a hunt that is spread, and when that was found; next_at: its next turn.
  spacing double precision,
  spaced_at timestamptz not null default '-infinity',
  next_at timestamptz not null default '-infinity',
  -- In place of send_at, which stays what it was planned with: it is part of what the flow's messages are found by.
  starts_at timestamptz,
  primary key (hunt_id, queue, sender, send_at, zone)
) with (fillfactor = 50);
create index flows_due on flows (queue, due_at) where fed_seq < last_seq;
-- Those that have something in the queue, also when nothing more is to come.
create index flows_under_way on flows (queue) where under_way > 0;
-- Those that had their turn lately.
create index flows_done on flows (queue, moved_at) where fed_seq >= last_seq;

-- When what was planned for a time is to be sent. What has a later time of its own keeps it.
create function starts_at(p_hunt hunts, p_send_at timestamptz) returns timestamptz
language sql stable
set search_path = public
as $$
  select case
    when p_hunt.send_at is null then p_send_at
    when exists (
      select 1 from hunt_submissions s
      where s.hunt_id = p_hunt.id and s.send_at = p_send_at and s.accepted_at <= p_hunt.send_at_set
    ) then p_hunt.send_at
    else greatest(p_hunt.send_at, p_send_at)
  end
$$;

-- Whoever else says when a flow is due counts from its send_at.
create function place_flow() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if tg_op = 'INSERT' then
    select starts_at(h, new.send_at) into new.starts_at from hunts h where h.id = new.hunt_id and h.send_at is not null;
  end if;
  if new.starts_at is not null and (new.due_at = new.send_at or new.due_at < new.starts_at) then
    new.due_at := greatest(new.starts_at, now());
  end if;
  return new;
end
$$;

create trigger flows_new before insert on flows for each row execute function place_flow();
create trigger flows_placed before update on flows
  for each row when (new.starts_at is not null) execute function place_flow();

-- The virtual time of each queue: that of the flow that was fed last.
create table feed_clocks (
  queue text primary key,
  tag double precision not null default 0
);

-- What of a queue is sent from one number, or from the provider's own ('').
create table feed_senders (
  queue text not null,
  -- Whose, where each account has its own; else ''.
  account_id text not null,
  sender text not null,
  -- Messages that may wait for it; under_way: those that waited when it was looked at, and what it was given since.
  allowed integer not null,
  under_way integer not null default 0,
  -- Messages a second that have begun since, null where that is not what holds them up.
  pace double precision,
  looked_at timestamptz not null default clock_timestamp(),
  moved_at timestamptz not null default clock_timestamp(),
  -- When it has room again; its flows are not looked at before.
  look_at timestamptz not null default '-infinity',
  -- The virtual time of its flows while it has no room for all that they have, in place of the queue's, which goes on without it;
  -- else null.
  tag double precision,
  primary key (queue, account_id, sender)
) with (fillfactor = 50);

-- A flow while feed looks at it. no: its place in line; start: where it stands in virtual time. waiting: its messages in the
-- queue, without those that are put off; room: for how many more; share: how many it gets. windows, limits: where it keeps to
-- any; scopes: its limits as limits_of tells them, with their day and its end. The first of what it is given is sent after
-- delay seconds, the others gap apart; due_at: when to look at it again, where that is not by its room. ids, top: its messages that
-- are given, and the seq of the last, where they are known already.
create type looked_flow as (
  no integer, hunt_id text, sender text, send_at timestamptz, zone text, fed_seq bigint, again_seq bigint, last_seq bigint,
  weight double precision, start double precision, allowed integer, under_way integer, looked_at timestamptz, moved_at timestamptz,
  waiting integer, room integer, share integer, account_id text, windows jsonb, limits jsonb, scopes jsonb,
  spacing double precision, spaced_at timestamptz, next_at timestamptz, delay double precision, gap double precision,
  due_at timestamptz, ids uuid[], top bigint
);

-- Up to what virtual time p_limit messages serve them.
create function fair_level(p_flows looked_flow[], p_limit bigint) returns double precision
language plpgsql stable
set search_path = public
as $$
declare
  v_room bigint;
  v_low double precision;
  v_high double precision;
  v_level double precision;
begin
  select sum(f.room), min(f.start), max(f.start + f.room / f.weight) into v_room, v_low, v_high from unnest(p_flows) f;
  if v_room <= p_limit then
    return v_high;
  end if;
  for i in 1 .. 40 loop
    v_level := (v_low + v_high) / 2;
    if (select sum(least(f.room, greatest(0, floor((v_level - f.start) * f.weight)))) from unnest(p_flows) f) <= p_limit then
      v_low := v_level;
    else
      v_high := v_level;
    end if;
  end loop;
  return v_low;
end
$$;

-- The same flows, with the share of each at that level. What whole numbers leave over goes to the first in line.
create function share_out(p_flows looked_flow[], p_limit bigint, p_level double precision) returns looked_flow[]
language plpgsql stable
set search_path = public
as $$
declare
  v_share record;
begin
  for v_share in
    select f.i, f.given + case when f.room > f.given and f.rest_no <= p_limit - f.sum then 1 else 0 end as n
    from (
      select g.*, sum(g.given) over () as sum, row_number() over (partition by g.room > g.given order by g.no) as rest_no
      from (
        select u.no, u.room, u.i, least(u.room, greatest(0, floor((p_level - u.start) * u.weight)))::integer as given
        from unnest(p_flows) with ordinality as u (
          no, hunt_id, sender, send_at, zone, fed_seq, again_seq, last_seq, weight, start, allowed, under_way, looked_at, moved_at,
          waiting, room, share, account_id, windows, limits, scopes, spacing, spaced_at, next_at, delay, gap, due_at, ids, top, i
        )
      ) g
    ) f
  loop
    p_flows[v_share.i].share := v_share.n;
  end loop;
  return p_flows;
end
$$;

-- Of each sender of these flows: which of them (no), for how many more it has room, and how many they would take ("asked"). It is
-- feed's: it counts on its lock.
create function look_at_senders(
  p_queue text, p_flows looked_flow[], p_clock double precision, p_least integer, p_own_senders boolean
)
returns table (account_id text, sender text, flows integer[], asked bigint, room integer)
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  -- Flows that are looked at besides; and seconds of a sender's work that may wait for it.
  c_others constant integer := 1000;
  c_horizon constant double precision := 1.5;
  v_one record;
  v_state feed_senders;
  v_had integer;
  v_settled integer;
  v_seconds double precision;
begin
  for v_one in
    with others as (
      select f.hunt_id, f.sender, f.send_at, f.zone, f.fed_seq, f.last_seq,
        case when p_own_senders then h.account_id else '' end as account_id
      from flows f join hunts h on h.id = f.hunt_id
      where f.queue = p_queue and f.under_way > 0 and h.cancelled_at is null
        and (h.paused_at is null or h.expires_at <= now())
        -- Not one of those above.
        and (
          f.fed_seq >= f.last_seq or f.due_at > now()
          or greatest(f.tag, p_clock) > (select max(l.start) from unnest(p_flows) l)
        )
      limit c_others
      for update of f skip locked
    ),
    counted as (
      select e.*, x.waiting from others e
      cross join lateral (
        select count(*)::integer as waiting from messages m
        where m.hunt_id = e.hunt_id and m.send_at = e.send_at and m.seq <= e.fed_seq and m.settled_at is null
          and m.status = 'queued' and coalesce(m.put_off_until <= now(), true)
          and m.queue = p_queue and coalesce(m.sender, '') = e.sender and m.zone = e.zone
      ) x
    ),
    over as (
      update flows f set under_way = c.waiting
      from counted c
      where f.hunt_id = c.hunt_id and f.queue = p_queue and f.sender = c.sender and f.send_at = c.send_at and f.zone = c.zone
        and c.fed_seq >= c.last_seq and f.under_way <> c.waiting
    )
    select u.account_id, u.sender, array_agg(u.no) as flows, sum(u.room) as asked,
      (sum(u.waiting) + coalesce((
        select sum(c.waiting) from counted c where c.account_id = u.account_id and c.sender = u.sender
      ), 0))::integer as waiting
    from (
      select l.no, l.room, l.waiting, l.sender, case when p_own_senders then l.account_id else '' end as account_id
      from unnest(p_flows) l
    ) u
    group by u.account_id, u.sender
  loop
    insert into feed_senders (queue, account_id, sender, allowed) values (p_queue, v_one.account_id, v_one.sender, p_least)
    on conflict do nothing;
    select * into v_state from feed_senders s
    where s.queue = p_queue and s.account_id = v_one.account_id and s.sender = v_one.sender;
    v_had := v_state.allowed;
    v_settled := greatest(0, v_state.under_way - v_one.waiting);
    v_seconds := extract(epoch from clock_timestamp() - v_state.looked_at);
    if v_settled > 0 then
      v_state.moved_at := clock_timestamp();
    end if;
    if v_settled * 2 >= v_had and v_seconds < 0.5 then
      v_state.allowed := least(v_had, 500000) * 2;
      v_state.pace := null;
    elsif v_seconds >= 1 and v_one.waiting = 0 then
      -- It has sent all that it was given: how fast it is, nobody knows.
      v_state.allowed := greatest(v_had, p_least);
      v_state.pace := null;
    elsif v_seconds >= 1 and v_settled > 0 then
      v_state.pace := v_settled / v_seconds;
      v_state.allowed := greatest(ceil(p_least / 5.0), least(v_had * 2.0, ceil(c_horizon * v_state.pace)));
    end if;
    if (v_settled * 2 >= v_had and v_seconds < 0.5) or (v_seconds >= 1 and (v_settled > 0 or v_one.waiting = 0)) then
      v_state.looked_at := clock_timestamp();
      v_state.under_way := v_one.waiting;
    end if;
    account_id := v_one.account_id;
    sender := v_one.sender;
    flows := v_one.flows;
    asked := v_one.asked;
    room := greatest(0, v_state.allowed - v_one.waiting);
    update feed_senders s set allowed = v_state.allowed, pace = v_state.pace, looked_at = v_state.looked_at,
      moved_at = v_state.moved_at, under_way = v_state.under_way, tag = case when asked > room then s.tag end,
      -- By then half of what may wait is left; while nothing moves, later and later. Never long: they may begin all at once.
      look_at = case when asked > room then now() + make_interval(secs => greatest(0.025, least(0.25, coalesce(
        (greatest(v_state.allowed, v_one.waiting) - v_state.allowed / 2.0) / v_state.pace,
        extract(epoch from clock_timestamp() - v_state.moved_at) / 2
      )))) else '-infinity' end
    where s.queue = p_queue and s.account_id = v_one.account_id and s.sender = v_one.sender;
    return next;
  end loop;
end
$$;

-- The next messages for a queue, at most p_limit. Whoever is given them has to put them into the queue; what a crash keeps
-- from that, the sweeper finds. retry_in_ms: the delay of its job; again: a job of the same message may stand in the way; windows:
-- the hours that its job keeps to.
--
-- Of each flow no more than p_least wait in the queue at first; twice as many, up to p_most, each time that half of them have
-- begun; and again no more than ten seconds' worth when they begin slowly. So a slow sender has few of a big hunt's messages
-- before those of a small one, and a fast one as many as it takes. With those that are put off or being sent it is p_most.
--
-- And of all flows of one sender no more wait than a second and a half of what it sends, as far as that is known (feed_senders):
-- what is paced goes out in the order in which it came into the queue. p_senders: null where nothing paces them; 'own' where each
-- account has its own, also if it names none; else 'shared'.
--
-- Start-time fair queueing: a flow's tag grows by 1/weight a message, those with the smallest are next, and one that had
-- nothing to send begins at the queue's clock. An account's flows of one sender share the weight of its heaviest. So each
-- account gets its share of a sender, and within it each hunt its share by weight, however many hunts and messages there are.
--
-- A flow that a limit or its spreading slows down is given turns, evenly apart: those of the next two seconds, each with
-- its delay (retry_in_ms); then it is not looked at before the last second of them. Flows that share a limit share its turns
-- by weight. p_limits: of accounts without their own.
create function feed(
  p_queue text, p_limit integer, p_least integer, p_most integer, p_limits jsonb default '[]', p_senders text default null
)
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer, category text, again boolean, windows jsonb
)
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  -- Flows a call: with more, each has its turn in a later one.
  c_looks constant integer := 200;
  -- Seconds for which turns are given out.
  c_ahead constant double precision := 2;
  v_clock double precision;
  v_flows looked_flow[];
  v_flow looked_flow;
  v_kept boolean;
  -- Senders without room.
  v_full text[];
  v_part looked_flow[];
  -- Flows that their senders hold up, by no.
  v_held integer[] := '{}';
  v_level double precision;
  v_no integer;
  v_parts jsonb;
  v_next timestamptz;
  v_opens timestamptz;
  v_wanted integer;
  v_found integer;
  v_sender record;
begin
  if not exists (select 1 from flows f where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now()) then
    return;
  end if;
  insert into feed_clocks (queue) values (p_queue) on conflict do nothing;
  -- One feeder of a queue at a time: the clock is its lock.
  select tag into v_clock from feed_clocks where queue = p_queue for update;
  v_full := array(
    select s.account_id || ' ' || s.sender from feed_senders s
    where p_senders is not null and s.queue = p_queue and s.look_at > clock_timestamp()
  );

  -- What there is, and how much room each has.
  select array_agg((
    z.no, z.hunt_id, z.sender, z.send_at, z.zone, z.fed_seq, z.again_seq, z.last_seq, z.weight, z.start, z.allowed,
    case when z.looks_again then z.waiting else z.under_way end,
    case when z.looks_again then clock_timestamp() else z.looked_at end,
    case when z.settled > 0 then clock_timestamp() else z.moved_at end,
    z.waiting, greatest(0, least(z.allowed - z.waiting, p_most - z.held, z.last_seq - z.fed_seq)), 0,
    z.account_id, z.windows, z.limits, null, z.spacing, z.spaced_at, z.next_at, null, null, null, null, null
  )::looked_flow order by z.no), bool_or(z.windows is not null or z.limits is not null)
  into v_flows, v_kept
  from (
    select y.*,
      (row_number() over (order by y.start, y.due_at, y.hunt_id, y.sender, y.send_at, y.zone))::integer as no,
      least(p_most, case
        when y.settled * 2 >= y.had then y.had * 2
        when y.seconds >= 1 and y.settled > 0 then greatest(p_least, least(y.had, ceil(10 * y.settled / y.seconds)::integer))
        else y.had
      end) as allowed,
      y.settled * 2 >= y.had or y.seconds >= 1 as looks_again
    from (
      select e.hunt_id, e.sender, e.send_at, e.zone, e.fed_seq, e.again_seq, e.last_seq, e.due_at, e.under_way,
        e.weight * max(e.weight) over own / sum(e.weight) over own as weight,
        e.looked_at, e.moved_at, e.spacing, e.spaced_at, e.next_at, e.account_id, e.windows, e.limits,
        greatest(e.tag, coalesce((
          select s.tag from feed_senders s
          where p_senders is not null and s.queue = p_queue and s.sender = e.sender
            and s.account_id = case when p_senders = 'own' then e.account_id else '' end
        ), v_clock)) as start, o.waiting, o.held, greatest(p_least, e.allowed) as had,
        greatest(0, e.under_way - o.waiting) as settled, extract(epoch from clock_timestamp() - e.looked_at) as seconds
      from (
        select f.*, h.account_id,
          -- What has expired only ends: it waits for nothing.
          case when h.expires_at > now() then h.windows end as windows,
          -- Where nobody has limits, nobody's are looked up.
          case when h.expires_at > now()
            and (p_limits <> '[]' or (select exists (select 1 from accounts a where a.limits is not null)))
          then
            nullif(coalesce((select a.limits from accounts a where a.id = h.account_id), p_limits), '[]')
          end as limits
        from flows f join hunts h on h.id = f.hunt_id
        where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now() and h.cancelled_at is null
          and (h.paused_at is null or h.expires_at <= now())
          and (case when p_senders = 'own' then h.account_id else '' end || ' ' || f.sender) <> all (v_full)
        order by greatest(f.tag, v_clock), f.due_at, f.hunt_id, f.sender, f.send_at, f.zone
        limit c_looks
        for update of f skip locked
      ) e
      cross join lateral (
        select count(*) filter (where x.is_waiting)::integer as waiting, count(*)::integer as held from (
          select m.status = 'queued' and coalesce(m.put_off_until <= now(), true) as is_waiting from messages m
          where m.hunt_id = e.hunt_id and m.send_at = e.send_at and m.seq <= e.fed_seq and m.settled_at is null
            and m.queue = p_queue and coalesce(m.sender, '') = e.sender and m.zone = e.zone
          limit p_most
        ) x
      ) o
      window own as (partition by e.account_id, e.sender)
    ) y
  ) z;
  if v_flows is null then
    return;
  end if;

  if v_kept then
    insert into limit_counters (account_id, scope)
    select distinct f.account_id, l.scope
    from unnest(v_flows) f cross join lateral limits_of(f.limits, p_queue, f.sender) l
    where f.room > 0 and f.limits is not null
    order by 1, 2
    on conflict do nothing;
    -- In one order, so that two queues' feeders never wait for each other in a circle.
    perform 1 from limit_counters c
    where (c.account_id, c.scope) in (
      select f.account_id, l.scope
      from unnest(v_flows) f cross join lateral limits_of(f.limits, p_queue, f.sender) l
      where f.room > 0 and f.limits is not null
    )
    order by c.account_id, c.scope
    for update;
    for i in 1 .. cardinality(v_flows) loop
      v_flow := v_flows[i];
      continue when v_flow.room = 0 or (v_flow.windows is null and v_flow.limits is null);
      v_next := now();
      v_flow.gap := 0;
      v_wanted := v_flow.room;
      if v_flow.windows is not null then
        select min(w.opens) into v_opens from windows_of(v_flow.windows, v_flow.zone, now()) w;
        if v_opens > now() then
          v_wanted := 0;
          v_flow.due_at := v_opens;
        elsif (v_flow.windows ->> 'spread')::boolean then
          if v_flow.spaced_at < now() - interval '1 minute' then
            v_flow.spaced_at := now();
            v_flow.spacing := open_left(v_flow.windows, v_flow.zone, now()) / greatest(1, (
              select count(*) from messages m
              where m.hunt_id = v_flow.hunt_id and m.send_at = v_flow.send_at and m.seq > v_flow.fed_seq
                and m.seq <= v_flow.last_seq and m.settled_at is null and m.status = 'queued'
                and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender and m.zone = v_flow.zone
            ));
          end if;
          v_flow.gap := coalesce(v_flow.spacing, 0);
          v_next := greatest(v_next, v_flow.next_at);
        end if;
      end if;
      v_flow.next_at := v_next;
      if v_flow.limits is not null then
        select jsonb_agg(to_jsonb(x)), greatest(v_next, max(x.next_at)), greatest(v_flow.gap, max(x.spacing)),
          least(v_wanted, min(x.left)), coalesce(v_flow.due_at, max(x.ends) filter (where x.left = 0))
        into v_flow.scopes, v_next, v_flow.gap, v_wanted, v_flow.due_at
        from (
          select l.scope, l.spacing, l.per_day, d.day, (d.day + 1)::timestamp at time zone l.zone as ends, c.next_at,
            case when l.per_day is not null then greatest(0, l.per_day - case when c.day = d.day then c.used else 0 end) end as left
          from limits_of(v_flow.limits, p_queue, v_flow.sender) l
          join limit_counters c on c.account_id = v_flow.account_id and c.scope = l.scope
          cross join lateral (select (now() at time zone l.zone)::date as day) d
        ) x;
      end if;
      if v_next >= now() + make_interval(secs => c_ahead) then
        v_wanted := 0;
        v_flow.due_at := coalesce(v_flow.due_at, v_next - make_interval(secs => c_ahead / 2));
      elsif v_flow.gap > 0 then
        v_wanted := least(v_wanted, ceil(extract(epoch from now() + make_interval(secs => c_ahead) - v_next) / v_flow.gap));
      end if;
      v_flow.room := v_wanted;
      v_flows[i] := v_flow;
    end loop;
  end if;

  -- How much room the senders have, by what waits for them in all of their flows.
  if p_senders is not null then
    for v_sender in select * from look_at_senders(p_queue, v_flows, v_clock, p_least, p_senders = 'own') loop
      continue when v_sender.asked <= v_sender.room;
      v_held := v_held || v_sender.flows;
      v_part := array(select f from unnest(v_flows) f where f.no = any (v_sender.flows));
      v_part := share_out(v_part, v_sender.room, fair_level(v_part, v_sender.room));
      -- Of those that would have had more, the one that is furthest behind.
      update feed_senders s set tag = (
        select min(f.start + f.share / f.weight) from unnest(v_part) f where f.share < f.room
      )
      where s.queue = p_queue and s.account_id = v_sender.account_id and s.sender = v_sender.sender;
      for v_flow in select * from unnest(v_part) loop
        v_flows[v_flow.no].room := v_flow.share;
      end loop;
    end loop;
  end if;

  v_level := fair_level(v_flows, p_limit);
  v_flows := share_out(v_flows, p_limit, v_level);

  -- Turns: whoever wants least has them first, so that what it leaves is the others'. Of a limit that several share each has
  -- its part by weight.
  if v_kept then
    for v_no, v_parts in
      select x.no, jsonb_agg(to_jsonb(x)) filter (where x.scope is not null)
      from (
        select f.no, f.share / f.weight as wish, l.*,
          f.weight / sum(f.weight) over (
            partition by f.account_id, l.scope order by f.share / f.weight, f.no rows between current row and unbounded following
          ) as part
        from unnest(v_flows) f
        left join lateral jsonb_to_recordset(f.scopes) as l (
          scope text, spacing double precision, per_day integer, day date, ends timestamptz
        ) on true
        where f.share > 0 and (f.windows is not null or f.limits is not null)
      ) x
      group by x.no, x.wish
      order by x.wish, x.no
    loop
      v_flow := v_flows[v_no];
      select greatest(v_flow.next_at, max(c.next_at)),
        least(
          v_flow.share,
          min(ceil(l.part * greatest(0, c_ahead - greatest(0, extract(epoch from c.next_at - now()))) / nullif(l.spacing, 0))),
          min(case when l.per_day is not null then
            ceil(l.part * greatest(0, l.per_day - case when c.day = l.day then c.used else 0 end))
          end)
        ),
        max(l.ends) filter (where c.day = l.day and c.used >= l.per_day)
      into v_next, v_wanted, v_flow.due_at
      from jsonb_to_recordset(coalesce(v_parts, '[]')) as l (
        scope text, spacing double precision, per_day integer, day date, ends timestamptz, part double precision
      )
      join limit_counters c on c.account_id = v_flow.account_id and c.scope = l.scope;
      if v_flow.gap > 0 then
        v_wanted := greatest(0, least(v_wanted, ceil(extract(epoch from now() + make_interval(secs => c_ahead) - v_next) / v_flow.gap)));
      end if;

      select coalesce(array_agg(x.id order by x.seq), '{}'), count(*), max(x.seq) into v_flow.ids, v_found, v_flow.top from (
        select m.id, m.seq from messages m
        where m.hunt_id = v_flow.hunt_id and m.send_at = v_flow.send_at and m.seq > v_flow.fed_seq and m.seq <= v_flow.last_seq
          and m.settled_at is null and m.status = 'queued'
          and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender and m.zone = v_flow.zone
        order by m.seq limit v_wanted
      ) x;
      update limit_counters c set
        next_at = greatest(c.next_at, now()) + make_interval(secs => v_found * l.spacing),
        used = v_found + case when c.day = l.day then c.used else 0 end,
        day = l.day
      from jsonb_to_recordset(v_parts) as l (scope text, spacing double precision, day date)
      where c.account_id = v_flow.account_id and c.scope = l.scope and v_found > 0;
      v_flow.share := v_wanted;
      v_flow.delay := extract(epoch from v_next - now());
      v_flow.next_at := v_next + make_interval(secs => v_found * v_flow.gap);
      if v_flow.gap > 0 then
        v_flow.due_at := greatest(v_flow.due_at, v_flow.next_at - make_interval(secs => c_ahead / 2));
      end if;
      v_flows[v_no] := v_flow;
    end loop;
  end if;

  -- More flows than were looked at stand no earlier than the last of these.
  update feed_clocks set tag = greatest(v_clock, case
    when cardinality(v_flows) < c_looks then least(v_level, x.finish)
    else least(v_level, x.start)
  end)
  from (
    select max(f.start + f.share / f.weight) as finish, max(f.start) as start, sum(f.share) as shares
    from unnest(v_flows) f where f.no <> all (v_held)
  ) x
  where queue = p_queue and x.shares > 0;

  return query
  with given as (
    select f.*, coalesce(f.ids, x.ids) as its, coalesce(cardinality(f.ids), cardinality(x.ids), 0) as found,
      coalesce(f.top, x.top) as highest
    from unnest(v_flows) f
    left join lateral (
      select array_agg(y.id order by y.seq) as ids, max(y.seq) as top from (
        select m.id, m.seq from messages m
        where m.hunt_id = f.hunt_id and m.send_at = f.send_at and m.seq > f.fed_seq and m.seq <= f.last_seq
          and m.settled_at is null and m.status = 'queued'
          and m.queue = p_queue and coalesce(m.sender, '') = f.sender and m.zone = f.zone
        order by m.seq limit f.share
      ) y
    ) x on f.share > 0 and f.ids is null
  ),
  fed as (
    update flows f set
      fed_seq = case when g.share = 0 then f.fed_seq when g.found < g.share then f.last_seq else g.highest end,
      tag = case when g.share = 0 then f.tag else g.start + g.found / f.weight end,
      allowed = g.allowed, under_way = g.under_way + g.found, looked_at = g.looked_at,
      moved_at = case when g.found > 0 then clock_timestamp() else g.moved_at end,
      spacing = g.spacing, spaced_at = g.spaced_at, next_at = g.next_at,
      -- Soon at first, since most settle at once; later and later while nothing moves.
      due_at = coalesce(g.due_at, case
        when g.room > 0 or g.no = any (v_held) then f.due_at
        else now() + make_interval(secs => least(2, greatest(0.025, extract(epoch from clock_timestamp() - g.moved_at) / 2)))
      end)
    from given g
    where f.hunt_id = g.hunt_id and f.queue = p_queue and f.sender = g.sender and f.send_at = g.send_at and f.zone = g.zone
  ),
  waiting as (
    update feed_senders s set under_way = s.under_way + x.found
    from (
      select case when p_senders = 'own' then g.account_id else '' end as account_id, g.sender, sum(g.found) as found
      from given g group by 1, 2
    ) x
    where p_senders is not null and s.queue = p_queue and s.account_id = x.account_id and s.sender = x.sender and x.found > 0
  )
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, m.content, m.priority, m.account_id,
    m.hunt_id, m.ad_id, greatest(
      0, round(1000 * (g.delay + (u.n - 1) * g.gap)), ceil(extract(epoch from m.held_until - now()) * 1000)
    )::integer, m.category, g.again_seq > g.fed_seq, g.windows
  from given g
  cross join lateral unnest(g.its) with ordinality as u (id, n)
  cross join lateral (select m.* from messages m where m.id = u.id offset 0) m
  order by u.n / g.weight, g.start, g.hunt_id, g.sender, g.send_at, g.zone;
end
$$;

-- All of it is the service's alone.
alter table flows enable row level security;
alter table feed_clocks enable row level security;
alter table feed_senders enable row level security;
revoke all on flows, feed_clocks, feed_senders from public, anon, authenticated;
grant all on flows, feed_clocks, feed_senders to service_role;
revoke all on function priority_weight, starts_at, place_flow, fair_level, share_out, look_at_senders,
  feed from public, anon, authenticated;
grant execute on function priority_weight, starts_at, place_flow, fair_level, share_out, look_at_senders, feed to service_role;
