-- When the messages of hunts are sent: not before a time, within windows of the day, no faster than a limit. Whatever is not
-- due costs its flow one look when it is.

-- Not before it; -infinity: at once. zone: the recipient's, where that decides. Written once, so no attempt touches the index.
alter table messages
  add column send_at timestamptz not null default '-infinity',
  add column zone text not null default '';
drop index messages_hunt_open;
create index messages_flow on messages (hunt_id, send_at, seq) where settled_at is null and hunt_id is not null;

-- windows: {"days": [1 to 7], "from": "09:00", "to": "18:00", "timeZone"?: the recipient's, "spread"?: true, "until"?: of the
-- spreading; the end of the window}.
alter table hunts add column windows jsonb;
-- Of contacts without a time of their own.
alter table hunt_submissions add column send_at timestamptz;
-- [{"channel"?, "sender"?, "perSecond"?, "perMinute"?, "perDay"?, "timeZone"?}], see limits_of; null: the service's.
alter table accounts add column limits jsonb;

-- A flow is now what of a hunt goes through one queue from one sender, from one time on, to people of one zone.
-- spacing, spaced_at: seconds between two of a hunt that is spread, and when that was found; next_at: its next turn.
alter table flows
  add column send_at timestamptz not null default '-infinity',
  add column zone text not null default '',
  add column spacing double precision,
  add column spaced_at timestamptz not null default '-infinity',
  add column next_at timestamptz not null default '-infinity',
  drop constraint flows_pkey,
  add primary key (hunt_id, queue, sender, send_at, zone);
drop index flows_hungry;
create index flows_due on flows (queue, due_at) where fed_seq < last_seq;

-- What limits have let through: one row an account and scope, see limits_of. next_at: the next turn; used: on that day.
create table limit_counters (
  account_id text not null,
  scope text not null,
  next_at timestamptz not null default now(),
  day date not null default '-infinity',
  used integer not null default 0,
  primary key (account_id, scope)
) with (fillfactor = 50);
alter table limit_counters enable row level security;
revoke all on limit_counters from public, anon, authenticated;
grant all on limit_counters to service_role;

-- As before, with when and where.
create or replace function insert_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- An erasure waits until what is being written is there to be erased.
  perform pg_advisory_xact_lock_shared(20261122, 4);

  -- One planner at a time for each metered (account, channel), in one order, so that balances stay exact.
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select r.account_id, r.channel from jsonb_to_recordset(p_rows) as r (account_id text, channel text)
  )
  order by c.account_id, c.channel
  for update;

  with input as (
    -- n is the place in the input: who comes first is sent to, and funded, first.
    select r.*
    from rows from (jsonb_to_recordset(p_rows) as (
      id uuid, account_id text, hunt_id text, ad_id text, copy integer, channel text, queue text, recipient text,
      sender text, content jsonb, priority integer, expires_at timestamptz, skip text, detail text, next jsonb, recipient_hash text,
      category text, caps jsonb, send_at timestamptz, zone text
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, recipient_hash, category, caps, send_at, zone, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
  ),
  known as (
    select i.*, exists (select 1 from suppressions s where s.phone = i.recipient_hash) as erased from input i
  ),
  judged as (
    select i.*, case
      when i.erased then 'suppressed'
      when i.skip is not null then i.skip
      when exists (
        select 1 from suppressions s
        where s.phone = i.recipient and (s.account_id is null or s.account_id = i.account_id)
      ) then 'suppressed'
      when i.hunt_id is not null and (
        row_number() over (
          partition by i.hunt_id, i.channel, i.recipient, i.skip is null,
            case when i.hunt_id is null then i.id end
          order by i.n
        ) > 1
        or exists (
          select 1 from messages m
          where m.hunt_id = i.hunt_id and m.channel = i.channel and m.recipient = i.recipient and m.status <> 'skipped'
        )
      ) then 'duplicate'
      when jsonb_array_length(i.caps) > 0 and full_cap(i.account_id, i.recipient, i.id, i.caps) is not null
        then 'frequency_cap'
    end as reason
    from known i
  ),
  funded as (
    select j.*, c.balance is not null as metered,
      j.reason is null and c.balance is not null
        and count(*) filter (where j.reason is null) over (
          partition by j.account_id, j.channel order by j.n
        ) > c.balance as unfunded
    from judged j
    left join credits c on c.account_id = j.account_id and c.channel = j.channel
  ),
  inserted as (
    insert into messages (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient, sender, content, priority, expires_at,
      status, code, detail, next, credit, settled_at, recipient_hash, category,
      send_at, zone
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue,
      case when f.erased then 'erased' else f.recipient end, f.sender,
      case when f.erased then '{}' else f.content end, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else f.reason end,
      case
        when f.erased then null
        when f.reason = 'frequency_cap' then full_cap(f.account_id, f.recipient, f.id, f.caps)
        else f.detail
      end,
      case when not f.erased then f.next end,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end,
      case when not f.erased then f.recipient_hash end, f.category,
      case when f.send_at > now() then f.send_at else '-infinity' end, coalesce(f.zone, '')
    from funded f
    order by f.n
    on conflict do nothing
    returning id, seq, account_id, hunt_id, ad_id, channel, queue, recipient, sender, status, code, credit, send_at, zone
  ),
  reserved as (
    update credits c set balance = c.balance - x.n, reserved = c.reserved + x.n
    from (
      select account_id, channel, count(*) as n from inserted where credit = 'reserved' group by account_id, channel
    ) x
    where c.account_id = x.account_id and c.channel = x.channel
  ),
  erased as (
    -- Whoever brought it may put a job with all of it into a queue.
    insert into erasures (message_id, queue) select id, queue from inserted where recipient = 'erased'
  ),
  skipped as (
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status = 'skipped'
  ),
  flowing as (
    -- In one order, so that two writers never wait for each other in a circle.
    insert into flows as f (hunt_id, queue, sender, send_at, zone, weight, tag, fed_seq, last_seq, due_at)
    select i.hunt_id, i.queue, coalesce(i.sender, ''), i.send_at, i.zone, priority_weight(h.priority), 0, min(i.seq) - 1,
      max(i.seq), greatest(i.send_at, now())
    from inserted i join hunts h on h.id = i.hunt_id
    where i.status = 'queued'
    group by i.hunt_id, i.queue, coalesce(i.sender, ''), i.send_at, i.zone, h.priority
    order by 1, 2, 3, 4, 5
    on conflict (hunt_id, queue, sender, send_at, zone) do update set
      last_seq = greatest(f.last_seq, excluded.last_seq), spaced_at = '-infinity'
  ),
  late as (
    update hunts h set cancelling = true
    where h.id in (select i.hunt_id from inserted i where i.status = 'queued') and h.cancelled_at is not null and not h.cancelling
  )
  insert into leads (account_id, ad_id, phone, hunt_id)
  select account_id, ad_id, nullif(recipient, 'erased'), hunt_id from inserted where account_id is not null and ad_id is not null
  on conflict (account_id, ad_id) do nothing;
end
$$;

-- As before, with the time and the windows.
create or replace function read_chunk(p_job_id uuid, p_no integer) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'huntId', h.id, 'accountId', h.account_id, 'priority', h.priority, 'expiresAt', h.expires_at,
    'defaultCountry', a.default_country, 'policy', a.policy,
    'consentDeclared', a.consent_declared, 'contacts', c.contacts, 'sendAt', s.send_at, 'windows', h.windows
  )
  from hunt_submissions s
  join hunts h on h.id = s.hunt_id
  join accounts a on a.id = h.account_id
  join hunt_chunks c on c.job_id = s.job_id and c.no = p_no
  where s.job_id = p_job_id
$$;

-- As before; with times, none of them after the hunt's end (sends_too_late), and windows, which are the first submission's.
-- p_hunt: {"id", "account_id", "priority", "expires_at", "send_at"?, "last_send_at"?: of its contacts, "windows"?}.
create or replace function accept_hunt(
  p_hunt jsonb, p_job_id uuid, p_contacts integer, p_chunks jsonb, p_idempotency jsonb, p_response jsonb
) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_refusal text;
  v_hunt hunts;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_refusal := account_refusal(p_hunt ->> 'account_id');
  if v_refusal is not null then
    return jsonb_build_object('result', v_refusal);
  end if;
  insert into hunts (id, account_id, priority, expires_at, windows)
  values (
    p_hunt ->> 'id', p_hunt ->> 'account_id', coalesce(p_hunt ->> 'priority', 'normal'),
    coalesce((p_hunt ->> 'expires_at')::timestamptz, now() + interval '7 days'),
    nullif(p_hunt -> 'windows', 'null')
  )
  on conflict (id) do nothing;
  select * into v_hunt from hunts where id = p_hunt ->> 'id';
  if v_hunt.account_id <> p_hunt ->> 'account_id' then
    return jsonb_build_object('result', 'other_account');
  end if;
  if v_hunt.cancelled_at is not null then
    return jsonb_build_object('result', 'cancelled_hunt');
  end if;
  if greatest((p_hunt ->> 'send_at')::timestamptz, (p_hunt ->> 'last_send_at')::timestamptz) >= v_hunt.expires_at then
    return jsonb_build_object('result', 'sends_too_late');
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  perform stage_chunks(p_job_id, p_chunks);
  if (select coalesce(sum(c.size), 0) from hunt_chunks c where c.job_id = p_job_id) <> p_contacts then
    raise exception 'submission % has lost some of what was staged', p_job_id;
  end if;
  insert into hunt_submissions (job_id, hunt_id, contacts, send_at)
  values (p_job_id, p_hunt ->> 'id', p_contacts, (p_hunt ->> 'send_at')::timestamptz)
  on conflict do nothing;
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- Takes out what was staged for a submission that was not accepted.
create function discard_chunks(p_job_id uuid) returns void
language sql
set search_path = public
as $$
  delete from hunt_chunks c
  where c.job_id = p_job_id and not exists (select 1 from hunt_submissions s where s.job_id = p_job_id)
$$;

-- As before.
create or replace function open_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer, category text, held boolean
)
language sql stable
set search_path = public
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, case when not x.held then m.content end,
    m.priority, m.account_id, m.hunt_id, m.ad_id,
    greatest(0, ceil(extract(epoch from m.held_until - now()) * 1000))::integer, m.category, x.held
  from (
    select * from messages m
    where m.settled_at is null and m.status in ('queued', 'sending') and m.seq > p_after
      and m.updated_at < now() - make_interval(secs => p_older_than_ms / 1000.0)
    order by m.seq
    limit p_limit
  ) m
  cross join lateral (
    select m.status = 'queued' and (
      exists (select 1 from hunts h where h.id = m.hunt_id and h.paused_at is not null and h.expires_at > now())
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

-- As before; what is not due stays so.
create or replace function steer_hunt(p_hunt_id text, p_action text) returns jsonb
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
        update flows f set
          again_seq = greatest(f.again_seq, f.fed_seq), due_at = greatest(f.send_at, now()),
          fed_seq = coalesce((
            select min(m.seq) - 1 from messages m
            where m.hunt_id = p_hunt_id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
              and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
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

-- As before.
create or replace function continue_cancelling(p_limit integer) returns integer
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_hunt text;
  v_n integer;
  v_credits jsonb;
  v_left integer := p_limit;
begin
  for v_hunt in select id from hunts where cancelling order by id limit 100 loop
    with picked as (
      select m.id, m.credit from messages m
      where m.hunt_id = v_hunt and m.settled_at is null and m.status = 'queued'
      limit v_left
      for update skip locked
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
    v_left := v_left - v_n;
    exit when v_left <= 0;
    update hunts h set cancelling = false
    where h.id = v_hunt
      and not exists (
        select 1 from messages m where m.hunt_id = v_hunt and m.settled_at is null and m.status in ('queued', 'sending')
      )
      and not exists (select 1 from hunt_submissions s where s.hunt_id = v_hunt and s.planned_at is null);
  end loop;
  return p_limit - v_left;
end
$$;

-- As before, and counters of limits.
create or replace function tidy() returns void
language plpgsql
set search_path = public
as $$
declare
  v_receipts jsonb;
begin
  with matched as (
    delete from pending_receipts p using messages m
    where m.provider = p.provider and m.provider_message_id = p.provider_message_id
    returning p.*
  )
  select jsonb_agg(to_jsonb(x)) into v_receipts from matched x;
  if v_receipts is not null then
    perform record_receipts(v_receipts);
  end if;
  delete from pending_receipts where received_at < now() - interval '7 days';
  delete from idempotency_keys where created_at < now() - interval '24 hours';
  -- Staged by a request that never came to its end.
  delete from hunt_chunks c
  where c.created_at < now() - interval '1 hour'
    and not exists (select 1 from hunt_submissions s where s.job_id = c.job_id);
  delete from media where created_at < now() - interval '8 days';
  -- A phone that was off for so long does not ask again for what it could not decrypt.
  delete from whatsapp_sent where created_at < now() - interval '30 days';
  -- Flows that have nothing left to give: what comes later makes a new one.
  delete from flows f
  where f.fed_seq >= f.last_seq
    and not exists (select 1 from messages m where m.hunt_id = f.hunt_id and m.settled_at is null);
  delete from limit_counters where next_at < now() - interval '3 days';
end
$$;

-- The windows that end after p_at, the next nine days' at least, by a zone's own calendar.
create function windows_of(p_windows jsonb, p_zone text, p_at timestamptz, p_days integer default 9)
returns table (opens timestamptz, closes timestamptz)
language sql stable
set search_path = public
as $$
  select greatest(x.opens, p_at), x.closes
  from (select coalesce(p_windows ->> 'timeZone', nullif(p_zone, ''), 'UTC') as zone) z
  cross join generate_series(0, p_days) as d (n)
  cross join lateral (select (p_at at time zone z.zone)::date + d.n as day) t
  cross join lateral (
    select (t.day + (p_windows ->> 'from')::time) at time zone z.zone as opens,
      (t.day + (p_windows ->> 'to')::time) at time zone z.zone as closes
  ) x
  where p_windows -> 'days' @> to_jsonb(extract(isodow from t.day)::integer) and x.closes > p_at and x.opens < x.closes
  order by 1
$$;

-- When the time has come after so many seconds of open windows; null: not within two months.
create function after_open(p_windows jsonb, p_zone text, p_from timestamptz, p_seconds double precision)
returns timestamptz
language sql stable
set search_path = public
as $$
  select case when p_windows is null then p_from + make_interval(secs => p_seconds) else (
    select w.opens + make_interval(secs => p_seconds - w.before)
    from (
      select opens, extract(epoch from closes - opens) as open,
        coalesce(sum(extract(epoch from closes - opens)) over (
          order by opens rows between unbounded preceding and 1 preceding
        ), 0) as before
      from windows_of(p_windows, p_zone, p_from, 62)
    ) w
    where w.before + w.open >= p_seconds
    order by w.opens limit 1
  ) end
$$;

-- The limits that hold for what an account sends through a queue from a sender: of each scope that they count together,
-- how many seconds are between two, how many are allowed a day, and whose day that is. A limit without a channel counts
-- all of them together, with '*' each by itself; and so its sender.
create function limits_of(p_limits jsonb, p_queue text, p_sender text)
returns table (scope text, spacing double precision, per_day integer, zone text)
language sql immutable
set search_path = public
as $$
  select case when r.channel is null then '' else p_queue end || '/' || case when r.sender is null then '*' else '=' || p_sender end,
    max(greatest(1 / r."perSecond", 60 / r."perMinute", 0)), min(r."perDay"), min(coalesce(r."timeZone", 'UTC'))
  from jsonb_to_recordset(p_limits) as r (
    channel text, sender text, "perSecond" double precision, "perMinute" double precision, "perDay" integer, "timeZone" text
  )
  where (r.channel is null or r.channel in ('*', p_queue)) and (r.sender is null or r.sender in ('*', p_sender))
  group by 1
$$;

-- Over how much open time from then on a hunt is spread, seconds: until its end, or to the end of the window.
create function open_left(p_windows jsonb, p_zone text, p_from timestamptz) returns double precision
language sql stable
set search_path = public
as $$
  select case when p_windows ->> 'until' is null
    then (
      select extract(epoch from w.closes - w.opens) from windows_of(p_windows, p_zone, p_from) w order by w.opens limit 1
    )
    else (
      select coalesce(sum(extract(epoch from least(w.closes, u.until) - w.opens)), 0)
      from (select (p_windows ->> 'until')::timestamptz as until) u
      cross join lateral windows_of(
        p_windows, p_zone, p_from, greatest(1, least(400, ceil(extract(epoch from u.until - p_from) / 86400)::integer + 1))
      ) w
      where w.opens < u.until
    )
  end
$$;

drop function feed(text, integer, integer);

-- The next messages for a queue, at most p_limit, of each flow no more than p_window under way. Whoever is given them has
-- to put them into the queue; what a crash keeps from that, the sweeper finds.
--
-- Start-time fair queueing: a flow's tag grows by 1/weight a message, the flow with the smallest is next, and one that had
-- nothing to send begins at the queue's clock. So each gets its share by weight, however many messages the others have.
-- again: a job of the same message may stand in the way.
--
-- A flow that a limit or its spreading slows down is given turns, evenly apart: those of the next two seconds, each with
-- its delay (retry_in_ms); then it is not looked at before the last second of them. p_limits: of accounts without their own.
create function feed(p_queue text, p_limit integer, p_window integer, p_limits jsonb default '[]')
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer, category text, again boolean
)
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_clock double precision;
  v_share double precision;
  v_left integer := p_limit;
  v_flow record;
  v_wanted integer;
  v_found integer;
  v_ids uuid[];
  v_seq bigint;
  v_all uuid[] := '{}';
  v_again uuid[] := '{}';
  v_delays integer[] := '{}';
  v_due timestamptz;
  v_next timestamptz;
  v_spacing double precision;
  v_limits jsonb;
begin
  insert into feed_clocks (queue) values (p_queue) on conflict do nothing;
  -- One feeder of a queue at a time: the clock is its lock.
  select tag into v_clock from feed_clocks where queue = p_queue for update;
  select p_limit / greatest(sum(f.weight), 0.25) into v_share from flows f
  where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now();

  while v_left > 0 loop
    select f.*, h.account_id, h.windows, h.expires_at <= now() as expired,
      coalesce((select a.limits from accounts a where a.id = h.account_id), p_limits) as limits
    into v_flow
    from flows f join hunts h on h.id = f.hunt_id
    where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now() and h.cancelled_at is null
      and (h.paused_at is null or h.expires_at <= now())
    order by greatest(f.tag, v_clock), f.hunt_id, f.sender, f.send_at, f.zone
    limit 1
    for update of f skip locked;
    exit when not found;
    v_clock := greatest(v_clock, v_flow.tag);
    v_due := now();
    v_next := now();
    v_spacing := 0;
    v_limits := '[]';

    select p_window - count(*) into v_wanted from (
      select 1 from messages m
      where m.hunt_id = v_flow.hunt_id and m.send_at = v_flow.send_at and m.seq <= v_flow.fed_seq and m.settled_at is null
        and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender and m.zone = v_flow.zone
      limit p_window
    ) x;
    v_wanted := least(v_wanted, v_left, ceil(v_share * v_flow.weight));
    if v_wanted <= 0 then
      v_due := now() + interval '500 milliseconds';
    end if;

    -- What has expired only ends: it waits for nothing.
    if v_wanted > 0 and not v_flow.expired then
      if v_flow.windows is not null then
        select greatest(v_due, min(w.opens)) into v_due from windows_of(v_flow.windows, v_flow.zone, now()) w;
        if v_due > now() then
          v_wanted := 0;
        elsif (v_flow.windows ->> 'spread')::boolean then
          if v_flow.spaced_at < now() - interval '1 minute' then
            v_flow.spacing := open_left(v_flow.windows, v_flow.zone, now()) / (
              select count(*) from messages m
              where m.hunt_id = v_flow.hunt_id and m.send_at = v_flow.send_at and m.seq > v_flow.fed_seq
                and m.seq <= v_flow.last_seq and m.settled_at is null and m.status = 'queued'
                and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender and m.zone = v_flow.zone
            );
            update flows f set spacing = v_flow.spacing, spaced_at = now()
            where f.hunt_id = v_flow.hunt_id and f.queue = p_queue and f.sender = v_flow.sender
              and f.send_at = v_flow.send_at and f.zone = v_flow.zone;
          end if;
          v_spacing := coalesce(v_flow.spacing, 0);
          v_next := greatest(v_next, v_flow.next_at);
        end if;
      end if;
      if v_wanted > 0 and jsonb_array_length(v_flow.limits) > 0 then
        insert into limit_counters (account_id, scope)
        select v_flow.account_id, l.scope from limits_of(v_flow.limits, p_queue, v_flow.sender) l order by l.scope
        on conflict do nothing;
        -- In one order, so that two queues' feeders never wait for each other in a circle.
        perform 1 from limit_counters c
        where c.account_id = v_flow.account_id
          and c.scope in (select l.scope from limits_of(v_flow.limits, p_queue, v_flow.sender) l)
        order by c.scope for update;
        select jsonb_agg(jsonb_build_object('scope', l.scope, 'spacing', l.spacing, 'day', d.day)),
          greatest(v_next, max(c.next_at)), greatest(v_spacing, max(l.spacing)),
          least(v_wanted, min(case when l.per_day > d.used then l.per_day - d.used when l.per_day <= d.used then 0 end)),
          max(case when d.used >= l.per_day then (d.day + 1)::timestamp at time zone l.zone end)
        into v_limits, v_next, v_spacing, v_wanted, v_due
        from limits_of(v_flow.limits, p_queue, v_flow.sender) l
        join limit_counters c on c.account_id = v_flow.account_id and c.scope = l.scope
        cross join lateral (
          select (now() at time zone l.zone)::date as day, case when c.day = (now() at time zone l.zone)::date then c.used else 0 end as used
        ) d;
        v_limits := coalesce(v_limits, '[]');
        v_due := coalesce(v_due, now());
      end if;
      if v_wanted > 0 and v_next >= now() + interval '2 seconds' then
        v_wanted := 0;
        v_due := v_next - interval '1 second';
      elsif v_wanted > 0 and v_spacing > 0 then
        v_wanted := least(v_wanted, ceil(extract(epoch from now() + interval '2 seconds' - v_next) / v_spacing));
      end if;
    end if;
    if v_wanted <= 0 then
      update flows f set due_at = greatest(v_due, now() + interval '1 millisecond')
      where f.hunt_id = v_flow.hunt_id and f.queue = p_queue and f.sender = v_flow.sender
        and f.send_at = v_flow.send_at and f.zone = v_flow.zone;
      continue;
    end if;

    select array_agg(x.id), max(x.seq), count(*) into v_ids, v_seq, v_found from (
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
    from jsonb_to_recordset(v_limits) as l (scope text, spacing double precision, day date)
    where c.account_id = v_flow.account_id and c.scope = l.scope;
    update flows f set
      fed_seq = case when v_found < v_wanted then f.last_seq else v_seq end,
      tag = v_clock + v_found / f.weight,
      next_at = v_next + make_interval(secs => v_found * v_spacing),
      due_at = case when v_spacing = 0 then f.due_at
        else greatest(f.due_at, v_next + make_interval(secs => v_found * v_spacing) - interval '1 second') end
    where f.hunt_id = v_flow.hunt_id and f.queue = p_queue and f.sender = v_flow.sender
      and f.send_at = v_flow.send_at and f.zone = v_flow.zone;
    v_left := v_left - v_found;
    v_all := v_all || v_ids;
    v_delays := v_delays || array(
      select round(1000 * (extract(epoch from v_next - now()) + n * v_spacing))::integer
      from generate_series(0, v_found - 1) as n
    );
    if v_flow.again_seq > v_flow.fed_seq then
      v_again := v_again || v_ids;
    end if;
  end loop;
  if v_left < p_limit then
    update feed_clocks set tag = v_clock where queue = p_queue;
  end if;

  return query
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, m.content, m.priority, m.account_id,
    m.hunt_id, m.ad_id, greatest(0, u.delay, ceil(extract(epoch from m.held_until - now()) * 1000))::integer, m.category,
    m.id = any (v_again)
  from unnest(v_all, v_delays) with ordinality as u (id, delay, n)
  cross join lateral (select m.* from messages m where m.id = u.id offset 0) m
  order by u.n;
end
$$;

drop function hunt_status(uuid);

-- As before; with when it goes on, where nothing of it may be sent now, and when it ends: by what slows it down, else at
-- the pace of its last minute. p_limits: of accounts without their own.
create function hunt_status(p_job_id uuid, p_limits jsonb default '[]') returns jsonb
language plpgsql stable
set search_path = public
as $$
declare
  v_hunt hunts;
  v_pending jsonb;
  v_channels jsonb;
  v_times jsonb;
  v_left bigint;
  v_zone text;
  v_from timestamptz;
  v_last timestamptz;
  v_end timestamptz;
  v_limits jsonb;
  v_pace double precision;
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
  select coalesce(jsonb_object_agg(channel, counts), '{}') into v_channels
  from (
    select channel, jsonb_object_agg(status, n) as counts
    from (select channel, status, count(*) as n from messages where hunt_id = v_hunt.id group by 1, 2) g
    group by channel
  ) g;
  select jsonb_build_object(
    'startedAt', min(coalesce(attempt_started_at, sent_at)),
    'lastSettledAt', max(settled_at),
    'attempted', count(*) filter (where attempts > 0 and settled_at is not null)
  ), count(*) filter (where attempts > 0 and settled_at > now() - interval '1 minute') / nullif(least(60, extract(
    epoch from now() - min(coalesce(attempt_started_at, sent_at))
  )), 0) into v_times, v_pace from messages where hunt_id = v_hunt.id;

  select min(x.send_at), max(x.send_at), min(x.zone), v_left + coalesce(sum(x.n), 0) into v_from, v_last, v_zone, v_left
  from (
    select m.send_at, min(m.zone) as zone, count(*) as n from messages m
    where m.hunt_id = v_hunt.id and m.settled_at is null group by 1
    union all
    select coalesce(s.send_at, '-infinity'), null, 0 from hunt_submissions s
    where s.hunt_id = v_hunt.id and s.planned_at is null
  ) x;
  v_from := greatest(v_from, now());
  if v_hunt.windows is not null and v_hunt.expires_at > now() then
    select least(min(w.opens), v_hunt.expires_at) into v_from from windows_of(v_hunt.windows, v_zone, v_from) w;
  end if;

  select coalesce(a.limits, p_limits) into v_limits from accounts a where a.id = v_hunt.account_id;
  select max(case when b.per_day is null or b.n <= d.allowed
    then after_open(v_hunt.windows, v_zone, v_from, b.n * b.spacing)
    else after_open(
      v_hunt.windows, v_zone,
      (d.day + 1)::timestamp at time zone b.zone + make_interval(days => ((b.n - d.allowed - 1) / b.per_day)::integer),
      ((b.n - d.allowed - 1) % b.per_day + 1) * b.spacing
    ) end) into v_end
  from (
    select l.scope, sum(g.n)::bigint as n, max(l.spacing) as spacing, min(l.per_day) as per_day, min(l.zone) as zone
    from (
      select m.queue, coalesce(m.sender, '') as sender, count(*) as n from messages m
      where m.hunt_id = v_hunt.id and m.settled_at is null group by 1, 2
    ) g
    cross join lateral limits_of(v_limits, g.queue, g.sender) l
    group by l.scope
  ) b
  cross join lateral (select (v_from at time zone b.zone)::date as day) t
  cross join lateral (
    select t.day, greatest(0, b.per_day - coalesce((
      select c.used from limit_counters c
      where c.account_id = v_hunt.account_id and c.scope = b.scope and c.day = t.day
    ), 0)) as allowed
  ) d;
  if (v_hunt.windows ->> 'spread')::boolean and v_left > 0 then
    v_end := greatest(v_end, after_open(v_hunt.windows, v_zone, v_from, open_left(v_hunt.windows, v_zone, v_from)));
  end if;
  -- Of what stood still for a night only the last minute tells a pace.
  if v_end is null and v_hunt.windows is null and coalesce(v_pace, 0) = 0 then
    v_pace := (v_times ->> 'attempted')::bigint
      / greatest(0.001, extract(epoch from now() - (v_times ->> 'startedAt')::timestamptz));
  end if;
  if v_pace > 0 then
    v_end := greatest(v_end, after_open(v_hunt.windows, v_zone, v_from, v_left / v_pace));
  end if;
  if v_last > now() then
    v_end := greatest(v_end, v_last);
  end if;

  return v_times || jsonb_build_object(
    'huntId', v_hunt.id, 'accountId', v_hunt.account_id, 'createdAt', v_hunt.created_at, 'now', now(),
    'pausedAt', v_hunt.paused_at, 'cancelledAt', v_hunt.cancelled_at,
    'scheduledAt', case when v_left > 0 and v_from > now() then v_from end,
    'endsAt', case when v_left > 0 then v_end end,
    'pending', v_pending, 'channels', v_channels
  );
end
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('windows_of', 'open_left', 'after_open', 'limits_of', 'discard_chunks', 'feed', 'hunt_status')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
