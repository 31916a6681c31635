-- Events on their way to endpoints. Endpoints that hang hold up nobody else: how much an endpoint may have under way follows from how it
-- does, and no account, nor all that are silent together, has more than a share of a process.

-- An account has so many endpoints at the most: each event becomes a delivery for each of them.
-- After the insert, so that an address that is there already is told as such; one at a time for an account.
create function cap_endpoints() returns trigger
language plpgsql
set search_path = public
as $$
declare
  c_most constant integer := 20;
begin
  perform pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || new.account_id, 20261122));
  if (select count(*) from webhook_endpoints w where w.account_id = new.account_id) > c_most then
    raise exception 'the account has % endpoints already', c_most using errcode = 'AP002';
  end if;
  return null;
end
$$;

create trigger webhook_endpoints_cap after insert on webhook_endpoints
  for each row execute function cap_endpoints();

-- A new secret; those so far sign as well for so long, or (0) no more. Several, because an answer that is lost is asked for again:
-- what receivers know must not become void by that. Answers the endpoint, or null where there is none.
create function rotate_endpoint_secret(p_id uuid, p_secret text, p_overlap_seconds integer) returns jsonb
language sql
set search_path = public
as $$
  update webhook_endpoints w set
    secret = p_secret,
    old_secrets = case when p_overlap_seconds = 0 then '[]' else coalesce((
      select jsonb_agg(x.o order by x.no) from (
        select o, no from jsonb_array_elements(
          jsonb_build_array(jsonb_build_object('secret', w.secret, 'until', now() + make_interval(secs => p_overlap_seconds)))
          || w.old_secrets
        ) with ordinality as e (o, no)
        where (o ->> 'until')::timestamptz > now() order by no limit 5
      ) x
    ), '[]') end,
    old_secret_until = case
      when p_overlap_seconds > 0 then greatest(w.old_secret_until, now() + make_interval(secs => p_overlap_seconds))
    end
  where w.id = p_id
  returning to_jsonb(w) - 'secret' - 'old_secrets'
$$;

-- Puts an endpoint's secret, sealed anew, in place of what it was, unless it has been rotated meanwhile. In the body of a call,
-- because addresses are logged.
create function reseal_endpoint_secret(p_id uuid, p_from text, p_to text) returns boolean
language sql
set search_path = public
as $$
  with resealed as (
    update webhook_endpoints w set secret = p_to where w.id = p_id and w.secret = p_from returning 1
  )
  select exists (select from resealed)
$$;

-- An event's way to an endpoint. next_at 'infinity': it waits for the one before it about the same subject.
create table webhook_deliveries (
  id bigint generated always as identity primary key,
  endpoint_id uuid not null references webhook_endpoints (id) on delete cascade,
  event_id bigint not null references events (id) on delete cascade,
  type text not null,
  subject text,
  pos bigint not null,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0,
  -- Somebody asked for it once more.
  replayed boolean not null default false,
  next_at timestamptz not null default now(),
  -- It is in the queue, or (claim) with a worker, who has until then.
  held_until timestamptz,
  claim uuid,
  -- The last attempts, [{"at", "status", "durationMs", "error", "answer"}].
  log jsonb not null default '[]',
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  unique (event_id, endpoint_id)
) with (fillfactor = 60);
create index webhook_deliveries_endpoint on webhook_deliveries (endpoint_id, id);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_at) where state = 'pending';
create index webhook_deliveries_held on webhook_deliveries (endpoint_id, held_until)
  where state = 'pending' and held_until is not null;
create index webhook_deliveries_subject on webhook_deliveries (endpoint_id, subject, pos)
  where state = 'pending' and subject is not null;
create index webhook_deliveries_progress on webhook_deliveries (event_id)
  where state = 'pending' and type = 'hunt.progress';

-- Gives what has committed its positions, one caller at a time, and makes a delivery of each event for each endpoint that wants
-- it. Whoever sees a position sees every smaller one. Answers how many events it were.
create function pump_events(p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_head bigint;
  v_n integer;
begin
  if not exists (select 1 from events where pos is null) then
    return 0;
  end if;
  select pos into v_head from event_head for update skip locked;
  if not found then
    return 0;
  end if;
  with picked as (
    select x.id, row_number() over (order by x.id) as no
    from (select e.id from events e where e.pos is null order by e.id limit p_limit) x
  )
  update events e set pos = v_head + p.no from picked p where e.id = p.id;
  get diagnostics v_n = row_count;
  update event_head set pos = v_head + v_n;

  -- Before looking what is pending: record_deliveries locks them as well, so that what ends meanwhile is seen.
  perform 1 from webhook_endpoints w
  where w.enabled and w.account_id in (select e.account_id from events e where e.pos > v_head)
  order by w.id for share;
  -- Of a hunt's progress only the last is worth telling, to an endpoint that is given the later one below.
  delete from webhook_deliveries d using events o
  where d.state = 'pending' and d.type = 'hunt.progress' and not d.replayed and coalesce(d.held_until <= now(), true)
    and o.id = d.event_id
    and exists (
      select 1 from events e
      join webhook_endpoints w on w.id = d.endpoint_id and w.account_id = e.account_id and w.enabled
        and (w.events is null or e.type = any (w.events) or split_part(e.type, '.', 1) || '.*' = any (w.events))
      where e.pos > v_head and e.hunt_id = o.hunt_id and e.type in ('hunt.progress', 'hunt.completed')
    );
  insert into webhook_deliveries (endpoint_id, event_id, type, subject, pos, next_at)
  select x.endpoint_id, x.id, x.type, x.subject, x.pos,
    case
      when x.subject is not null and (x.place > 1 or exists (
        select 1 from webhook_deliveries p
        where p.endpoint_id = x.endpoint_id and p.subject = x.subject and p.state = 'pending'
      )) then 'infinity'::timestamptz
      else now()
    end
  from (
    select w.id as endpoint_id, e.id, e.type, e.subject, e.pos,
      row_number() over (partition by w.id, e.subject order by e.pos) as place
    from events e
    join webhook_endpoints w on w.account_id = e.account_id and w.enabled
      and (w.events is null or e.type = any (w.events) or split_part(e.type, '.', 1) || '.*' = any (w.events))
    where e.pos > v_head and e.type <> 'webhook.test'
  ) x
  order by x.pos
  on conflict do nothing;

  insert into hunt_reports (hunt_id, account_id, since)
  select e.hunt_id, e.account_id, min(e.at) from events e
  where e.pos > v_head and e.hunt_id is not null and e.type not in ('hunt.started', 'hunt.progress', 'hunt.completed')
  group by 1, 2 order by 1
  on conflict (hunt_id) do update set dirty = true where not hunt_reports.dirty;
  return v_n;
end
$$;

-- What the services do all the time: tells hunts' progress, gives positions, and hands out deliveries that are due for
-- p_hold_ms. An endpoint has at_once under way, and not more than p_most. Of the p_slots that one process has, an account has a
-- quarter and all that are silent have half, over all processes, so that the others find room whoever hangs; what is due longest
-- goes first, each endpoint's first before another's second. Answers {"moved", "due": [ids], "listened"}.
create function run_events(p_limit integer, p_most integer, p_hold_ms integer, p_slots integer default 100) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_of_account constant integer := greatest(1, p_slots / 4);
  v_of_silent constant integer := greatest(1, p_slots / 2);
  v_moved integer;
  v_due jsonb;
begin
  if not somebody_listens() then
    return jsonb_build_object('moved', 0, 'due', '[]'::jsonb, 'listened', false);
  end if;
  perform report_hunts(5);
  v_moved := pump_events(p_limit);
  with endpoint as materialized (
    select w.id, w.account_id, w.silent, w.enabled, least(w.at_once, p_most) as may, busy.n as busy
    from webhook_endpoints w
    cross join lateral (
      select count(*) as n from webhook_deliveries h
      where h.endpoint_id = w.id and h.state = 'pending' and h.held_until > now()
    ) busy
  ),
  candidate as (
    select d.id, d.next_at, e.account_id, e.silent, e.busy + d.turn as turn
    from endpoint e
    cross join lateral (
      select x.id, x.next_at, row_number() over (order by x.next_at, x.pos) as turn
      from (
        select d.id, d.next_at, d.pos from webhook_deliveries d
        where d.endpoint_id = e.id and d.state = 'pending' and d.next_at <= now() and coalesce(d.held_until <= now(), true)
        order by d.next_at, d.pos
        limit greatest(0, e.may - e.busy)
      ) x
    ) d
    where e.enabled
  ),
  in_account as (
    select c.*, row_number() over (partition by c.account_id order by c.turn, c.next_at, c.id) + (
      select sum(e.busy) from endpoint e where e.account_id = c.account_id
    ) as of_account
    from candidate c
  ),
  in_kind as (
    select a.*, row_number() over (partition by a.silent order by a.of_account, a.next_at, a.id) + (
      select sum(e.busy) from endpoint e where e.silent = a.silent
    ) as of_kind
    from in_account a where a.of_account <= v_of_account
  ),
  -- Whoever looks at the same time sees the same ones first, and leaves them to this one.
  due as materialized (
    select d.id from webhook_deliveries d
    where d.id = any (array(
      select k.id from in_kind k where not k.silent or k.of_kind <= v_of_silent
      order by k.of_account, k.next_at, k.id limit p_limit
    )) and d.state = 'pending' and d.next_at <= now() and coalesce(d.held_until <= now(), true)
    for update skip locked
  ),
  held as (
    update webhook_deliveries d set held_until = now() + make_interval(secs => p_hold_ms / 1000.0), claim = null
    from due where d.id = due.id
    returning d.id, d.next_at, d.pos
  )
  select coalesce(jsonb_agg(held.id order by held.next_at, held.pos), '[]') into v_due from held;
  return jsonb_build_object('moved', v_moved, 'due', v_due, 'listened', true);
end
$$;

-- A worker takes deliveries, [{"id", "claim"}], for p_hold_ms. Answers what is to be sent where; not those that are not due, or
-- are somebody else's: one whose time is over is handed out again, which ends its claim (see run_events).
create function begin_deliveries(p_items jsonb, p_hold_ms integer) returns jsonb
language sql
set search_path = public
as $$
  with begun as (
    update webhook_deliveries d set claim = i.claim, held_until = now() + make_interval(secs => p_hold_ms / 1000.0)
    from jsonb_to_recordset(p_items) as i (id bigint, claim uuid), webhook_endpoints w
    where d.id = i.id and d.state = 'pending' and d.next_at <= now() and d.claim is null
      and w.id = d.endpoint_id and w.enabled
    returning d.id, d.claim, d.event_id, d.attempts, w.id as endpoint_id, w.url, (
      select jsonb_build_array(w.secret) || coalesce(jsonb_agg(o ->> 'secret'), '[]')
      from jsonb_array_elements(w.old_secrets) as o where (o ->> 'until')::timestamptz > now()
    ) as secrets
  )
  select coalesce(jsonb_agg(to_jsonb(b) || jsonb_build_object('event', event_view(e))), '[]')
  from begun b join events e on e.id = b.event_id
$$;

-- Lets those go that waited for the end of another one, [{"endpoint_id", "subject"}].
create function release_deliveries(p_ended jsonb) returns void
language sql
set search_path = public
as $$
  update webhook_deliveries d set next_at = now()
  from (
    select distinct i.endpoint_id, i.subject from jsonb_to_recordset(p_ended) as i (endpoint_id uuid, subject text)
    where i.subject is not null
  ) i
  cross join lateral (
    select p.id from webhook_deliveries p
    where p.endpoint_id = i.endpoint_id and p.subject = i.subject and p.state = 'pending' order by p.pos limit 1
  ) first
  where d.id = first.id and d.next_at = 'infinity'
$$;

-- What attempts came to, [{"id", "claim", "delivered", "gone", "ours", "retry_in_ms", "entry"}]: retry_in_ms null: there is no further
-- one. gone: the endpoint wants nothing any more; ours: it is our fault, and says nothing of the endpoint. From what they came to follows
-- how many it may have at once (see run_events); what has failed for days without one success is turned off. Answers the endpoints that
-- it has turned off and why, {id: "gone" | "failing"}.
create function record_deliveries(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  -- Attempts that are kept.
  c_log constant integer := 20;
  -- An endpoint that takes longer for what it takes, milliseconds, does not get more at once.
  c_quick_ms constant integer := 2000;
  -- One that takes so long, whatever it says then, holds its slots like one that says nothing.
  c_slow_ms constant integer := 5000;
  c_most constant integer := 20;
  c_patience constant interval := '5 days';
  v_off jsonb;
  v_ended jsonb;
begin
  perform 1 from webhook_endpoints w
  where w.id in (
    select d.endpoint_id from jsonb_to_recordset(p_items) as i (id bigint) join webhook_deliveries d on d.id = i.id
  )
  order by w.id for no key update;
  with recorded as (
    update webhook_deliveries d set
      -- What we could not even sign says nothing of the endpoint, and costs none of its attempts.
      attempts = d.attempts + case when i.ours then 0 else 1 end, claim = null, held_until = null,
      log = case when jsonb_array_length(d.log) >= c_log then d.log - 0 else d.log end || i.entry,
      state = case when i.delivered then 'delivered' when i.retry_in_ms is null then 'failed' else 'pending' end,
      ended_at = case when i.delivered or i.retry_in_ms is null then now() end,
      next_at = case
        when i.delivered or i.retry_in_ms is null then d.next_at
        else now() + make_interval(secs => i.retry_in_ms / 1000.0)
      end
    from jsonb_to_recordset(p_items) as i (
      id bigint, claim uuid, delivered boolean, gone boolean, ours boolean, retry_in_ms bigint, entry jsonb
    )
    where d.id = i.id and d.claim = i.claim and d.state = 'pending'
    returning d.id, d.endpoint_id, d.subject, d.state, i.delivered, i.gone, coalesce(i.ours, false) as ours,
      i.delivered and (i.entry ->> 'durationMs')::integer <= c_quick_ms as quick, i.entry ->> 'status' is null or (i.entry ->> 'durationMs')::integer > c_slow_ms as silent
  ),
  sums as (
    select r.endpoint_id, bool_or(r.delivered) as any_delivered, count(*) filter (where not r.delivered and not r.ours) as failed,
      bool_or(r.gone) as gone, count(*) filter (where r.quick) as quick, bool_or(r.silent and not r.ours) as silent
    from recorded r group by 1 having not bool_and(r.ours)
  ),
  judged as (
    select s.*, w.enabled as was_on, not s.any_delivered and coalesce(w.failing_since < now() - c_patience, false) as failing
    from sums s join webhook_endpoints w on w.id = s.endpoint_id
  ),
  endpoints as (
    update webhook_endpoints w set
      failures = case when s.any_delivered then 0 else w.failures + s.failed end,
      last_delivered_at = case when s.any_delivered then now() else w.last_delivered_at end,
      silent = s.silent,
      at_once = case
        when s.silent then 1
        when s.failed > 0 then greatest(2, w.at_once / 2)
        else least(c_most, w.at_once + s.quick)
      end,
      failing_since = case when not s.any_delivered then coalesce(w.failing_since, now()) end,
      enabled = w.enabled and not s.gone and not s.failing,
      disabled_because = case
        when w.enabled and s.gone then 'gone'
        when w.enabled and s.failing then 'failing'
        else w.disabled_because
      end
    from judged s where w.id = s.endpoint_id
  )
  select
    (
      select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', r.endpoint_id, 'subject', r.subject)), '[]')
      from recorded r where r.state <> 'pending'
    ),
    (
      select coalesce(jsonb_object_agg(j.endpoint_id, case when j.gone then 'gone' else 'failing' end), '{}')
      from judged j where j.was_on and (j.gone or j.failing)
    )
  into v_ended, v_off;
  perform release_deliveries(v_ended);
  return v_off;
end
$$;

-- Makes a delivery that only tries an endpoint out; answers its id, or null where there is no such endpoint or it is off.
create function test_endpoint(p_id uuid) returns bigint
language plpgsql
set search_path = public
as $$
declare
  v_event bigint;
  v_delivery bigint;
begin
  insert into events (account_id, type, data)
  select w.account_id, 'webhook.test', jsonb_build_object('accountId', w.account_id, 'endpointId', w.id)
  from webhook_endpoints w where w.id = p_id and w.enabled
  returning id into v_event;
  if v_event is not null then
    insert into webhook_deliveries (endpoint_id, event_id, type, pos) values (p_id, v_event, 'webhook.test', 0)
    returning id into v_delivery;
  end if;
  return v_delivery;
end
$$;

-- As test_endpoint, once for each key: {"result": "accepted" | "off" | "conflict" | "replay", "response": {"deliveryId"}}.
create function try_endpoint(p_id uuid, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_delivery bigint;
  v_response jsonb;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_delivery := test_endpoint(p_id);
  if v_delivery is null then
    return jsonb_build_object('result', 'off');
  end if;
  v_response := jsonb_build_object('deliveryId', v_delivery::text);
  if idempotency_take(p_idempotency, v_response) is not null then
    -- The same request won the race: undo the delivery.
    raise exception 'idempotency key taken meanwhile' using errcode = 'serialization_failure';
  end if;
  return jsonb_build_object('result', 'accepted', 'response', v_response);
end
$$;

-- Once more, whatever became of it. Answers 'missing', 'pending' (it is on its way) or 'again'. It stands in no order any more, so
-- that nothing newer waits for it.
create function replay_delivery(p_endpoint_id uuid, p_id bigint) returns text
language plpgsql
set search_path = public
as $$
begin
  update webhook_deliveries set
    state = 'pending', subject = null, replayed = true, attempts = 0, next_at = now(), held_until = null, claim = null, ended_at = null
  where id = p_id and endpoint_id = p_endpoint_id and state <> 'pending';
  if found then
    return 'again';
  end if;
  return case
    when exists (select 1 from webhook_deliveries where id = p_id and endpoint_id = p_endpoint_id) then 'pending'
    else 'missing'
  end;
end
$$;

-- As replay_delivery, once for each key: {"result": "accepted" | "missing" | "pending" | "conflict" | "replay", "response"}.
create function repeat_delivery(p_endpoint_id uuid, p_id bigint, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb;
  v_response jsonb := jsonb_build_object('deliveryId', p_id::text);
  v_result text;
begin
  -- First, as the same request may hold the row until it has taken its key.
  perform 1 from webhook_deliveries where id = p_id and endpoint_id = p_endpoint_id for update;
  v_answer := idempotency_seen(p_idempotency);
  if v_answer is not null then
    return v_answer;
  end if;
  v_result := replay_delivery(p_endpoint_id, p_id);
  if v_result <> 'again' then
    return jsonb_build_object('result', v_result);
  end if;
  -- Nobody else can take it: it counts for this row alone.
  perform idempotency_take(p_idempotency, v_response);
  return jsonb_build_object('result', 'accepted', 'response', v_response);
end
$$;

-- Forgets events that are so old, with their deliveries. Answers how many: as many as p_limit, there may be more.
create function tidy_events(p_keep_seconds integer, p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_ids bigint[];
  v_last bigint;
  v_ended jsonb;
begin
  select array_agg(x.id), max(x.pos) into v_ids, v_last
  from (select e.id, e.pos, e.at from events e order by e.id limit p_limit) x
  where x.at < now() - make_interval(secs => p_keep_seconds);
  if v_ids is not null then
    update event_head set tidied = greatest(tidied, v_last) where v_last is not null;
    with gone as (
      delete from webhook_deliveries d where d.event_id = any (v_ids)
      returning d.endpoint_id, d.subject, d.state
    )
    select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', g.endpoint_id, 'subject', g.subject)), '[]') into v_ended
    from gone g where g.state = 'pending';
    delete from events where id = any (v_ids);
    perform release_deliveries(v_ended);
  end if;
  delete from event_readers where until < now() - interval '1 day';
  delete from hunt_reports where not dirty and due_at < now() - interval '30 days';
  return coalesce(cardinality(v_ids), 0);
end
$$;

-- All of it is the service's alone.
alter table webhook_deliveries enable row level security;
revoke all on webhook_deliveries from public, anon, authenticated;
grant all on webhook_deliveries to service_role;
revoke all on sequence webhook_deliveries_id_seq from public, anon, authenticated;
revoke all on function cap_endpoints, rotate_endpoint_secret, reseal_endpoint_secret, pump_events, run_events, begin_deliveries,
  release_deliveries, record_deliveries, test_endpoint, try_endpoint, replay_delivery, repeat_delivery,
  tidy_events from public, anon, authenticated;
grant execute on function cap_endpoints, rotate_endpoint_secret, reseal_endpoint_secret, pump_events, run_events, begin_deliveries,
  release_deliveries, record_deliveries, test_endpoint, try_endpoint, replay_delivery, repeat_delivery, tidy_events to service_role;
