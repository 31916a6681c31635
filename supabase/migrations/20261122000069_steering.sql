-- A hunt that was accepted is paused, goes on, is cancelled, or is given other times; and what the sweeper finds of it.

-- What of a hunt was fed and has not begun no longer counts for limits a day: it is fed again. Its flows are locked by whoever
-- calls, before the counters, as feed has it, so that neither waits for the other in a circle. p_limits: of accounts without
-- their own.
create function uncount_fed(p_hunt hunts, p_limits jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_back jsonb;
begin
  select jsonb_agg(to_jsonb(x)) into v_back from (
    select l.scope, (now() at time zone l.zone)::date as day, sum(a.n)::integer as n
    from (
      select f.queue, f.sender, count(*) as n
      from flows f
      join messages m on m.hunt_id = p_hunt.id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
        and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
      where f.hunt_id = p_hunt.id
      group by 1, 2
    ) a
    cross join lateral limits_of(
      coalesce((select c.limits from accounts c where c.id = p_hunt.account_id), p_limits), a.queue, a.sender
    ) l
    -- What another day has counted is sent today, and counts today.
    where (coalesce(p_hunt.paused_at, now()) at time zone l.zone)::date = (now() at time zone l.zone)::date
    group by 1, 2
  ) x;
  if v_back is null then
    return;
  end if;
  perform 1 from limit_counters c
  where c.account_id = p_hunt.account_id and c.scope in (select b.scope from jsonb_to_recordset(v_back) as b (scope text))
  order by c.account_id, c.scope
  for update;
  update limit_counters c set used = greatest(0, c.used - b.n)
  from jsonb_to_recordset(v_back) as b (scope text, day date, n integer)
  where c.account_id = p_hunt.account_id and c.scope = b.scope and c.day = b.day;
end
$$;

-- pause: nothing more of it begins. resume: what waits is fed again, in its old order; what is not due stays so, and what the pause has
-- sent back unsent counts for limits a day once only. cancel: what waits is never sent. p_limits: of accounts without their own.
-- Answers {"result": "done" | "missing" | "cancelled", "accountId", "pausedAt", "cancelledAt"}; each may be said again.
create function steer_hunt(p_hunt_id text, p_action text, p_limits jsonb default '[]') returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_hunt hunts;
begin
  select * into v_hunt from hunts where id = p_hunt_id for no key update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  if v_hunt.cancelled_at is not null and p_action <> 'cancel' then
    return jsonb_build_object('result', 'cancelled');
  end if;
  case p_action
    when 'pause' then
      update hunts set paused_at = coalesce(paused_at, now()) where id = p_hunt_id returning * into v_hunt;
    when 'cancel' then
      update hunts set cancelled_at = coalesce(cancelled_at, now()), cancelling = true, paused_at = null
      where id = p_hunt_id returning * into v_hunt;
    when 'resume' then
      if v_hunt.paused_at is not null then
        perform 1 from flows f where f.hunt_id = p_hunt_id for update;
        perform uncount_fed(v_hunt, p_limits);
        with again as (
          select f.queue, f.sender, f.send_at, f.zone, min(m.seq) as first
          from flows f
          join messages m on m.hunt_id = p_hunt_id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
            and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
          where f.hunt_id = p_hunt_id
          group by 1, 2, 3, 4
        )
        update flows f set
          again_seq = greatest(f.again_seq, f.fed_seq), due_at = greatest(f.send_at, now()),
          fed_seq = coalesce((
            select a.first - 1 from again a
            where a.queue = f.queue and a.sender = f.sender and a.send_at = f.send_at and a.zone = f.zone
          ), f.fed_seq)
        where f.hunt_id = p_hunt_id;
      end if;
      update hunts set paused_at = null where id = p_hunt_id returning * into v_hunt;
  end case;
  return jsonb_build_object(
    'result', 'done', 'accountId', v_hunt.account_id, 'pausedAt', v_hunt.paused_at, 'cancelledAt', v_hunt.cancelled_at
  );
end
$$;

-- Cancels at most p_limit waiting messages of cancelled hunts, in the order of the index; answers how many it were.
create function continue_cancelling(p_limit integer) returns integer
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_n integer;
  v_credits jsonb;
begin
  with picked as (
    select m.id, m.credit from hunts h
    cross join lateral (
      select m.id, m.credit from messages m
      where m.hunt_id = h.id and m.settled_at is null and m.status = 'queued'
      order by m.send_at, m.seq limit p_limit
      for update skip locked
    ) m
    where h.cancelling
    limit p_limit
  ),
  cancelled as (
    update messages m set
      status = 'cancelled', settled_at = now(), updated_at = now(), next = null,
      credit = case m.credit when 'reserved' then 'released' else m.credit end
    from picked p where m.id = p.id
    returning m.id, m.account_id, m.channel, p.credit
  ),
  events as (
    insert into message_events (message_id, kind) select c.id, 'cancelled' from cancelled c
  )
  select count(*), jsonb_agg(jsonb_build_object(
    'account_id', c.account_id, 'channel', c.channel, 'spent', 0, 'released', 1
  )) filter (where c.credit = 'reserved')
  into v_n, v_credits from cancelled c;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;
  if v_n < p_limit then
    with done as (
      update hunts h set cancelling = false
      -- What was being planned, or moving on, when it was cancelled may only now become visible.
      where h.cancelling and h.cancelled_at < now() - interval '5 minutes' and not exists (
        select 1 from messages m where m.hunt_id = h.id and m.settled_at is null and m.status in ('queued', 'sending')
      )
      returning h.id
    )
    delete from flows f using done d where f.hunt_id = d.id;
  end if;
  return v_n;
end
$$;

-- What p_changes says of {"priority", "expires_at", "windows", "send_at"}, the last two null to take them away; what waits of the
-- hunt keeps to it from now on. p_limits: of accounts without their own. Answers {"result": "missing" | "cancelled" | "sends_too_late" (a
-- time after the end) | "zoneless" (windows by the recipient's clock, which is not known of what is planned)}, or {"result": "done",
-- "accountId", "priority", "expiresAt", "sendAt", "windows", "back"}: those, [{"messageId", "queue"}], that have to be taken out of their
-- queue, since they wait there for other hours.
create function reschedule_hunt(p_hunt_id text, p_changes jsonb, p_limits jsonb default '[]') returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_old hunts;
  v_new hunts;
  v_moves boolean;
  v_back jsonb := '[]';
begin
  select * into v_old from hunts where id = p_hunt_id for no key update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  if v_old.cancelled_at is not null then
    return jsonb_build_object('result', 'cancelled');
  end if;
  v_new := v_old;
  v_new.priority := coalesce(p_changes ->> 'priority', v_old.priority);
  v_new.expires_at := coalesce((p_changes ->> 'expires_at')::timestamptz, v_old.expires_at);
  if p_changes ? 'send_at' then
    v_new.send_at := (p_changes ->> 'send_at')::timestamptz;
    v_new.send_at_set := now();
  end if;
  if p_changes ? 'windows' then
    v_new.windows := nullif(p_changes -> 'windows', 'null');
  end if;
  -- What is spread over the time until the end is so until the new one.
  if v_new.windows is not null and (p_changes ? 'expires_at' or v_old.windows ->> 'until' is not null) then
    v_new.windows := v_new.windows || jsonb_build_object('until', v_new.expires_at);
  end if;

  if exists (
    select 1 from (
      select v_new.send_at as starts_at
      union all
      select starts_at(v_new, f.send_at) from flows f where f.hunt_id = p_hunt_id and f.fed_seq < f.last_seq
      union all
      select starts_at(v_new, s.send_at) from hunt_submissions s where s.hunt_id = p_hunt_id and s.planned_at is null
    ) x
    where x.starts_at >= v_new.expires_at and x.starts_at > now()
  ) then
    return jsonb_build_object('result', 'sends_too_late');
  end if;
  -- Whose clock a recipient has is known of messages that were planned for windows by it.
  if v_new.windows is not null and v_new.windows ->> 'timeZone' is null and (p_changes ? 'windows')
    and (v_old.windows is null or v_old.windows ->> 'timeZone' is not null)
    and exists (select 1 from messages m where m.hunt_id = p_hunt_id and m.settled_at is null)
    and not exists (select 1 from messages m where m.hunt_id = p_hunt_id and m.settled_at is null and m.zone <> '')
  then
    return jsonb_build_object('result', 'zoneless');
  end if;

  v_moves := v_new.send_at is distinct from v_old.send_at or v_new.windows is distinct from v_old.windows;
  if v_moves or v_new.priority <> v_old.priority or v_new.expires_at <> v_old.expires_at then
    update hunts set
      priority = v_new.priority, expires_at = v_new.expires_at, windows = v_new.windows, send_at = v_new.send_at,
      send_at_set = v_new.send_at_set, rescheduled_at = now(), steady_since = now()
    where id = p_hunt_id;
    if v_moves then
      -- Messages before flows, each in one order, as whoever else locks both.
      with waits as (
        select m.id from messages m
        where m.hunt_id = p_hunt_id and m.settled_at is null and m.status = 'queued' and m.put_off_until > now()
        order by m.id for update
      ),
      back as (
        update messages m set put_off_until = null, detail = null from waits w where m.id = w.id
        returning m.id, m.queue
      )
      select coalesce(jsonb_agg(jsonb_build_object('messageId', b.id, 'queue', b.queue)), '[]') into v_back from back b;
    end if;
    perform 1 from flows f where f.hunt_id = p_hunt_id order by f.queue, f.sender, f.send_at, f.zone for update;
    update flows set weight = priority_weight(v_new.priority) where hunt_id = p_hunt_id;
  end if;
  if v_moves then
    -- What was fed and has not begun is fed again, as after a pause.
    perform uncount_fed(v_old, p_limits);
    update flows f set
      starts_at = case when v_new.send_at is not null then starts_at(v_new, f.send_at) end,
      again_seq = greatest(f.again_seq, f.fed_seq),
      fed_seq = coalesce((
        select min(m.seq) - 1 from messages m
        where m.hunt_id = p_hunt_id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
          and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
      ), f.fed_seq),
      spaced_at = '-infinity', next_at = '-infinity',
      -- Time for them to be taken out of their queue.
      due_at = greatest(starts_at(v_new, f.send_at), now()) + make_interval(secs => case when v_back = '[]' then 0 else 1 end)
    where f.hunt_id = p_hunt_id;
  end if;
  return jsonb_build_object(
    'result', 'done', 'accountId', v_new.account_id, 'priority', v_new.priority, 'expiresAt', v_new.expires_at,
    'sendAt', v_new.send_at, 'windows', v_new.windows - 'until', 'back', v_back
  );
end
$$;

-- Messages that may be waiting for something, a page after p_after in the order of planning; the sweeper compares. held:
-- it is to have no job now, because it is still to be fed, or its hunt is paused, or not due; of a hunt that was re-scheduled its flow
-- alone tells. windows: the hours that its job keeps to.
create function swept_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer, category text, held boolean, windows jsonb
)
language sql stable
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, case when not x.held then m.content end,
    m.priority, m.account_id, m.hunt_id, m.ad_id,
    greatest(0, ceil(extract(epoch from m.held_until - now()) * 1000))::integer, m.category, x.held,
    case when not x.held then (select h.windows from hunts h where h.id = m.hunt_id) end
  from (
    select * from messages m
    where m.settled_at is null and m.status in ('queued', 'sending') and m.seq > p_after
      and m.updated_at < now() - make_interval(secs => p_older_than_ms / 1000.0)
    order by m.seq
    limit p_limit
  ) m
  cross join lateral (
    select m.status = 'queued' and (
      (m.send_at > now() and not exists (select 1 from hunts h where h.id = m.hunt_id and h.send_at is not null))
      or exists (
        select 1 from hunts h
        where h.id = m.hunt_id and (h.paused_at is not null or h.send_at > now()) and h.expires_at > now()
      )
      or exists (
        select 1 from flows f
        where f.hunt_id = m.hunt_id and f.queue = m.queue and f.sender = coalesce(m.sender, '')
          and f.send_at = m.send_at and f.zone = m.zone
          and m.seq > f.fed_seq and m.seq <= f.last_seq
      )
    ) as held
  ) x
  order by m.seq
$$;

-- All of it is the service's alone.
revoke all on function uncount_fed, steer_hunt, continue_cancelling, reschedule_hunt, swept_messages
  from public, anon, authenticated;
grant execute on function uncount_fed, steer_hunt, continue_cancelling, reschedule_hunt, swept_messages to service_role;
