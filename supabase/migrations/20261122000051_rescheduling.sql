-- A hunt that was accepted can be given other times, windows, another end or priority.

-- send_at: in place of what the submissions said that were accepted up to send_at_set; null: as they said. rescheduled_at: from
-- then on its messages end with the hunt, and not when they were planned to.
alter table hunts
  add column send_at timestamptz,
  add column send_at_set timestamptz,
  add column rescheduled_at timestamptz;
-- In place of send_at, which stays what it was planned with: it is part of what the flow's messages are found by.
alter table flows add column starts_at timestamptz;

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

-- As before, by when it is to be sent now.
create or replace function open_of(p_hunt hunts)
returns table (queue text, sender text, zone text, send_at timestamptz, n bigint)
language sql stable
set search_path = public
as $$
  select o.queue, o.sender, o.zone, starts_at(p_hunt, o.send_at), o.n
  from (
    select m.queue, coalesce(m.sender, '') as sender, m.zone, m.send_at, count(*) as n
    from messages m where m.hunt_id = p_hunt.id and m.settled_at is null
    group by 1, 2, 3, 4
  ) o
$$;

-- What p_changes says of {"priority", "expires_at", "windows", "send_at"}, the last two null to take them away; what waits of the
-- hunt keeps to it from now on. Answers "back": those that have to be taken out of their queue, since they wait there for other
-- hours.
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

-- As before; of a hunt that was re-scheduled nothing begins before its time (verdict 'paused'), outside its windows or after its
-- end, whatever the message's job says.
create or replace function begin_attempts(p_items jsonb, p_epoch bigint default 0)
returns table (
  id uuid, verdict text, status text, code text, recipient text, attempt_id uuid, attempts integer,
  started_at timestamptz, retry_in_ms integer
)
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_skipped uuid[];
  v_credits jsonb;
begin
  if p_epoch > (select value + 1 from epoch) then
    raise exception 'the ledger is older than epoch %', p_epoch using errcode = 'AP001';
  end if;

  perform 1 from messages m
  where m.id in (select r.id from jsonb_to_recordset(p_items) as r (id uuid))
  order by m.id for update;

  -- Whoever counts what a person has got lately counts alone, or two messages to them could each be the last that is
  -- allowed. In one order, so that two batches never wait for each other in a circle.
  perform pg_advisory_xact_lock(x.person) from (
    select distinct hashtextextended(coalesce(m.account_id, '') || ' ' || m.recipient, 4) as person
    from jsonb_to_recordset(p_items) as r (id uuid, opens_in_ms bigint, caps jsonb)
    cross join lateral (select m.* from messages m where m.id = r.id offset 0) m
    where m.status = 'queued' and jsonb_array_length(r.caps) > 0 and r.opens_in_ms is null
    order by 1 offset 0
  ) x;

  with waiting as (
    select m.id, m.account_id, m.recipient, m.seq, m.credit, m.detail, r.caps,
      r.opens_in_ms is null and jsonb_array_length(r.caps) > 0 as counts,
      case
        when h.cancelled_at is not null then 'cancelled'
        when case when h.rescheduled_at is null then m.expires_at else h.expires_at end <= now() then 'expired'
        when m.recipient = 'erased' or exists (
          select 1 from suppressions s
          where s.phone in (m.recipient, m.recipient_hash) and (s.account_id is null or s.account_id = m.account_id)
        ) then 'suppressed'
        when exists (select 1 from accounts a where a.id = m.account_id and a.status = 'suspended') then 'suspended_account'
      end as reason
    from jsonb_to_recordset(p_items) as r (id uuid, opens_in_ms bigint, caps jsonb)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.* from messages m where m.id = r.id offset 0) m
    left join hunts h on h.id = m.hunt_id
    where m.status = 'queued'
  ),
  counted as (
    select w.*, case when w.reason is null and w.counts then full_cap(
      w.account_id, w.recipient, w.id, w.caps,
      -- Those before it in this very call.
      (count(*) filter (where w.reason is null and w.counts) over (
        partition by w.account_id, w.recipient order by w.seq rows between unbounded preceding and 1 preceding
      ))::integer
    ) end as full_cap
    from waiting w
  ),
  barred as (
    select c.id, c.credit, coalesce(c.reason, 'frequency_cap') as reason, coalesce(c.full_cap, c.detail) as detail
    from counted c where c.reason is not null or c.full_cap is not null
  ),
  skipped as (
    update messages m set
      status = case b.reason when 'cancelled' then 'cancelled' else 'skipped' end,
      code = nullif(b.reason, 'cancelled'), detail = b.detail, settled_at = now(), updated_at = now(),
      credit = case m.credit when 'reserved' then 'released' else m.credit end
    from barred b where m.id = b.id
    returning m.id, m.account_id, m.channel, m.status, m.code, b.credit
  ),
  events as (
    insert into message_events (message_id, kind, code) select k.id, k.status, k.code from skipped k
  )
  select array_agg(k.id), jsonb_agg(jsonb_build_object(
    'account_id', k.account_id, 'channel', k.channel, 'spent', 0, 'released', 1
  )) filter (where k.credit = 'reserved')
  into v_skipped, v_credits
  from skipped k;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;

  return query
  with judged as (
    select w.id, w.attempt_id as mine, w.provider, w.hold_ms, m.status, m.code, m.recipient, m.attempt_id as theirs, m.attempts,
      m.attempt_started_at, m.held_until, x.opens_in_ms,
      case when x.closed_ms > coalesce(w.opens_in_ms, 0) then 'Waits for the hours of its hunt.' else w.why end as why,
      w.put_off or x.closed_ms > 0 as put_off,
      case when h.rescheduled_at is null then m.expires_at else h.expires_at end as expires_at,
      case
        when m.id is null then 'missing'
        when m.id = any (v_skipped) and m.status = 'cancelled' then 'settled'
        when m.id = any (v_skipped) then 'skipped'
        when m.status = 'queued' and (h.paused_at is not null or h.send_at > now()) then 'paused'
        when m.status = 'queued' and x.opens_in_ms > 0 then 'wait'
        when m.status = 'queued' then 'go'
        when m.status <> 'sending' then 'settled'
        when m.claim = w.attempt_id then 'reconcile'
        when m.attempt_id = w.attempt_id and m.claim is null then 'go'
        when m.held_until > now() then 'wait'
        else 'reconcile'
      end as verdict
    from jsonb_to_recordset(p_items) as w (
      id uuid, attempt_id uuid, provider text, hold_ms integer, opens_in_ms bigint, why text, put_off boolean
    )
    left join messages m on m.id = w.id
    left join hunts h on h.id = m.hunt_id
    cross join lateral (
      select c.closed_ms, greatest(w.opens_in_ms, c.closed_ms) as opens_in_ms
      from (
        select case when m.status = 'queued' and h.rescheduled_at is not null and h.windows is not null then coalesce((
          select ceil(extract(epoch from min(o.opens) - now()) * 1000)::bigint from windows_of(h.windows, m.zone, now()) o
        ), 0) end as closed_ms
      ) c
    ) x
  ),
  started as (
    update messages m set
      status = 'sending', attempts = m.attempts + case m.status when 'queued' then 1 else 0 end,
      attempt_id = j.mine, attempt_started_at = now(), claim = null, provider = j.provider, detail = null,
      held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'go'
  ),
  put_off as (
    update messages m set
      detail = j.why,
      put_off_until = case when j.put_off then now() + make_interval(secs => j.opens_in_ms / 1000.0) end
    from judged j
    where m.id = j.id and j.verdict = 'wait' and j.status = 'queued' and (j.put_off or m.detail is distinct from j.why)
  ),
  claimed as (
    update messages m set
      claim = j.mine, held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'reconcile'
  )
  select j.id, j.verdict, j.status, j.code, j.recipient,
    case j.verdict when 'go' then j.mine else j.theirs end,
    case when j.verdict = 'go' and j.status = 'queued' then j.attempts + 1 else j.attempts end,
    j.attempt_started_at,
    case j.verdict when 'wait' then least(2147483647, ceil(case j.status
      -- What is over before its hours begin ends then.
      when 'queued' then least(j.opens_in_ms, extract(epoch from j.expires_at - now()) * 1000)
      else extract(epoch from j.held_until - now()) * 1000
    end))::integer end
  from judged j;
end
$$;

-- As before; of a hunt that was re-scheduled its flow alone tells.
create or replace function swept_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in ('starts_at', 'place_flow', 'reschedule_hunt')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
