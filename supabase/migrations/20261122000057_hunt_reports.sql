-- What a hunt's reports tell of contacts that come after the end, and end before it is looked at again; and endpoints that are
-- tried out, deliveries that are repeated once for each Idempotency-Key.

-- Tells how far hunts are of which something has changed: at most once a second for each, and later where counting takes long.
-- hunt.completed comes only after a hunt.started. Whoever begins to listen in the middle is told of a start when something ends.
create or replace function report_hunts(p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_report hunt_reports;
  v_counts jsonb;
  v_open bigint;
  v_all bigint;
  v_last timestamptz;
  v_planning boolean;
  v_started timestamptz;
  v_types text[];
  v_told integer := 0;
begin
  for v_report in
    select * from hunt_reports where dirty and due_at <= now() order by due_at limit p_limit for update skip locked
  loop
    v_started := clock_timestamp();
    select jsonb_object_agg(g.status, g.n), coalesce(sum(g.n) filter (where g.status in ('queued', 'sending')), 0),
      sum(g.n), max(g.last)
    into v_counts, v_open, v_all, v_last
    from (
      select m.status, count(*) as n, max(m.settled_at) as last
      from messages m where m.hunt_id = v_report.hunt_id group by 1
    ) g;
    v_planning := exists (
      select 1 from hunt_submissions s where s.hunt_id = v_report.hunt_id and s.planned_at is null
    );
    v_types := '{}';
    -- One that was looked at and is 'new' yet was open then.
    if v_report.state = 'new' and (v_last >= v_report.since or v_report.counts is not null and v_open = 0 and not v_planning)
      or v_report.state = 'completed' and (
        v_planning or v_open > 0
        or v_all > (select coalesce(sum(c.n::bigint), 0) from jsonb_each_text(v_report.counts) as c (status, n))
      )
    then
      v_types := v_types || 'hunt.started'::text;
      v_report.state := 'running';
    end if;
    if v_report.state <> 'completed' and v_open = 0 and not v_planning then
      -- Of one that had ended before it was listened to there is nothing to tell.
      if v_report.state = 'running' then
        v_types := v_types || 'hunt.completed'::text;
      end if;
      v_report.state := 'completed';
    elsif v_counts is distinct from v_report.counts then
      v_types := v_types || 'hunt.progress'::text;
    end if;
    if is_listened_to(v_report.account_id) then
      insert into events (account_id, hunt_id, subject, type, data)
      select v_report.account_id, v_report.hunt_id, case t.type when 'hunt.progress' then null else v_report.hunt_id end, t.type,
        jsonb_build_object(
          'accountId', v_report.account_id, 'huntId', v_report.hunt_id, 'counts', coalesce(v_counts, '{}'),
          'planning', v_planning, 'pausedAt', h.paused_at, 'cancelledAt', h.cancelled_at
        )
      from unnest(v_types) with ordinality as t (type, no) join hunts h on h.id = v_report.hunt_id
      order by t.no;
    end if;
    update hunt_reports set
      state = v_report.state, counts = v_counts, dirty = v_planning,
      due_at = clock_timestamp() + greatest(interval '1 second', 20 * (clock_timestamp() - v_started))
    where hunt_id = v_report.hunt_id;
    v_told := v_told + cardinality(v_types);
  end loop;
  return v_told;
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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in ('try_endpoint', 'repeat_delivery')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
