-- Endpoints that hang hold up nobody else: how much an endpoint may have under way follows from how it does, and no account, nor all
-- that are silent together, has more than a share of a process.

alter table webhook_endpoints
  -- Deliveries that it may have under way. One more with each that it takes quickly, half with one that it refuses, and a single one
  -- while it is silent.
  add column at_once integer not null default 2 check (at_once > 0),
  -- It gave no answer the last time.
  add column silent boolean not null default false;

-- It answers something now and takes one argument more.
drop function run_events(integer, integer, integer);

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

-- What attempts came to, [{"id", "claim", "delivered", "gone", "retry_in_ms", "entry"}]: retry_in_ms null: there is no further one.
-- gone: the endpoint wants nothing any more. From what they came to follows how many it may have at once (see run_events).
create or replace function record_deliveries(p_items jsonb) returns void
language plpgsql
set search_path = public
as $$
declare
  -- Attempts that are kept.
  c_log constant integer := 20;
  -- An endpoint that takes longer for what it takes, milliseconds, does not get more at once.
  c_quick_ms constant integer := 2000;
  c_most constant integer := 20;
  v_ended jsonb;
begin
  perform 1 from webhook_endpoints w
  where w.id in (
    select d.endpoint_id from jsonb_to_recordset(p_items) as i (id bigint) join webhook_deliveries d on d.id = i.id
  )
  order by w.id for no key update;
  with recorded as (
    update webhook_deliveries d set
      attempts = d.attempts + 1, claim = null, held_until = null,
      log = case when jsonb_array_length(d.log) >= c_log then d.log - 0 else d.log end || i.entry,
      state = case when i.delivered then 'delivered' when i.retry_in_ms is null then 'failed' else 'pending' end,
      ended_at = case when i.delivered or i.retry_in_ms is null then now() end,
      next_at = case
        when i.delivered or i.retry_in_ms is null then d.next_at
        else now() + make_interval(secs => i.retry_in_ms / 1000.0)
      end
    from jsonb_to_recordset(p_items) as i (
      id bigint, claim uuid, delivered boolean, gone boolean, retry_in_ms bigint, entry jsonb
    )
    where d.id = i.id and d.claim = i.claim and d.state = 'pending'
    returning d.id, d.endpoint_id, d.subject, d.state, i.delivered, i.gone,
      i.delivered and (i.entry ->> 'durationMs')::integer <= c_quick_ms as quick, i.entry ->> 'status' is null as silent
  ),
  sums as (
    select r.endpoint_id, bool_or(r.delivered) as any_delivered, count(*) filter (where not r.delivered) as failed,
      bool_or(r.gone) as gone, count(*) filter (where r.quick) as quick, bool_or(r.silent) as silent
    from recorded r group by 1
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
      enabled = w.enabled and not s.gone,
      disabled_because = case when w.enabled and s.gone then 'gone' else w.disabled_because end
    from sums s where w.id = s.endpoint_id
  )
  select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', r.endpoint_id, 'subject', r.subject)), '[]') into v_ended
  from recorded r where r.state <> 'pending';
  perform release_deliveries(v_ended);
end
$$;

revoke all on function run_events(integer, integer, integer, integer) from public, anon, authenticated;
grant execute on function run_events(integer, integer, integer, integer) to service_role;
