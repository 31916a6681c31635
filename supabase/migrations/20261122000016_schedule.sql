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
alter table accounts add column limits jsonb check (jsonb_typeof(limits) = 'array');
create index accounts_limited on accounts (id) where limits is not null;

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

-- As before, with when and where; siblings: the contact's messages on all of its channels, of which it gets one.
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
      category text, caps jsonb, variant text, send_at timestamptz, zone text, siblings uuid[]
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, recipient_hash, category, caps, variant, send_at, zone, siblings, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
      -- Submitted again it may begin with another channel. Who was only skipped has not been reached.
      and not exists (select 1 from messages m where m.id = any (r.siblings) and m.status <> 'skipped')
  ),
  known as (
    select i.*, exists (select 1 from suppressions s where s.phone = i.recipient_hash) as erased,
      exists (select 1 from hunts h where h.id = i.hunt_id and h.cancelled_at is not null) as cancelled
    from input i
  ),
  judged as (
    select i.*, case
      when i.cancelled then 'cancelled'
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
      status, code, detail, next, credit, settled_at, recipient_hash, category, variant,
      send_at, zone
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue,
      case when f.erased then 'erased' else f.recipient end, f.sender,
      case when f.erased then '{}' else f.content end, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason = 'cancelled' then 'cancelled' when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else nullif(f.reason, 'cancelled') end,
      case
        when f.erased then null
        when f.reason = 'frequency_cap' then full_cap(f.account_id, f.recipient, f.id, f.caps)
        else f.detail
      end,
      case when not f.erased then f.next end,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end,
      case when not f.erased then f.recipient_hash end, f.category, f.variant,
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
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status in ('skipped', 'cancelled')
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
      last_seq = greatest(f.last_seq, excluded.last_seq),
      -- Those that were spread over the time left are spread anew, beginning now.
      spaced_at = '-infinity', next_at = '-infinity', due_at = least(f.due_at, excluded.due_at)
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
    'consentDeclared', a.consent_declared, 'contacts', c.contacts, 'content', s.content,
    'sendAt', s.send_at, 'windows', h.windows
  )
  from hunt_submissions s
  join hunts h on h.id = s.hunt_id
  join accounts a on a.id = h.account_id
  join hunt_chunks c on c.job_id = s.job_id and c.no = p_no
  where s.job_id = p_job_id
$$;

-- As before; with times, none of them after the hunt's end (sends_too_late), and windows, which are the first submission's.
-- p_hunt: {"id", "account_id", "priority", "expires_at", "content", "template_ids", "send_at"?, "last_send_at"?: of its contacts,
-- "windows"?}.
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
  -- Whoever said the same before has had their answer above: what was accepted goes on.
  if exists (
    select 1 from templates t
    where t.id in (select value::uuid from jsonb_array_elements_text(p_hunt -> 'template_ids')) and t.archived_at is not null
    for share
  ) then
    return jsonb_build_object('result', 'archived_template');
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  perform stage_chunks(p_job_id, p_chunks);
  -- What came with this very call is there.
  if jsonb_array_length(p_chunks -> 0 -> 'contacts') is distinct from p_contacts then
    -- Whoever discards it has done so, or finds it accepted.
    perform pg_advisory_xact_lock(hashtextextended(p_job_id::text, 6));
    if (select coalesce(sum(c.size), 0) from hunt_chunks c where c.job_id = p_job_id) <> p_contacts then
      raise exception 'submission % has lost some of what was staged', p_job_id;
    end if;
  end if;
  insert into hunt_submissions (job_id, hunt_id, contacts, content, send_at)
  values (p_job_id, p_hunt ->> 'id', p_contacts, nullif(p_hunt -> 'content', 'null'), (p_hunt ->> 'send_at')::timestamptz)
  on conflict do nothing;
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- Takes out what was staged for a submission that was not accepted.
create function discard_chunks(p_job_id uuid) returns void
language plpgsql
set search_path = public
as $$
begin
  -- See accept_hunt: an acceptance whose answer was lost may still be under way.
  perform pg_advisory_xact_lock(hashtextextended(p_job_id::text, 6));
  delete from hunt_chunks c
  where c.job_id = p_job_id and not exists (select 1 from hunt_submissions s where s.job_id = p_job_id);
end
$$;

drop function swept_messages(bigint, integer, integer);

-- As before, with the hours that its job keeps to.
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
      m.send_at > now()
      or exists (select 1 from hunts h where h.id = m.hunt_id and h.paused_at is not null and h.expires_at > now())
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

-- As before, in the order of the index.
create or replace function continue_cancelling(p_limit integer) returns integer
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
      and m.status not in ('queued', 'sending')
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

-- The zone, or UTC where this database does not know it: one hunt's must not keep all others waiting.
create function known_zone(p_zone text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  perform now() at time zone p_zone;
  return p_zone;
exception when invalid_parameter_value then
  return 'UTC';
end
$$;

-- The windows that end after p_at, the next nine days' at least, by a zone's own calendar.
create function windows_of(p_windows jsonb, p_zone text, p_at timestamptz, p_days integer default 16)
returns table (opens timestamptz, closes timestamptz)
language sql stable
set search_path = public
as $$
  select greatest(x.opens, p_at), x.closes
  from (select known_zone(coalesce(p_windows ->> 'timeZone', nullif(p_zone, ''), 'UTC')) as zone) z
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
language sql stable
set search_path = public
as $$
  select case when r.channel is null then '' else p_queue end || '/' || case when r.sender is null then '*' else '=' || p_sender end,
    -- No slower than what an interval can hold, whatever was written here.
    max(greatest(
      1 / case when r."perSecond" is not null then greatest(r."perSecond", 1e-4) end,
      60 / case when r."perMinute" is not null then greatest(r."perMinute", 1e-3) end,
      0
    )), min(r."perDay"), min(known_zone(coalesce(r."timeZone", 'UTC')))
  from jsonb_to_recordset(p_limits) as r (
    channel text, sender text, "perSecond" double precision, "perMinute" double precision, "perDay" integer, "timeZone" text
  )
  where (r.channel is null or r.channel in ('*', p_queue)) and (r.sender is null or r.sender in ('*', p_sender))
  group by 1
$$;

-- Other limits count for what waits as well, also for what was not to be looked at before tomorrow.
create function limits_changed() returns trigger
language plpgsql
set search_path = public
as $$
begin
  update flows f set due_at = greatest(f.send_at, now())
  from hunts h
  where h.id = f.hunt_id and h.account_id = new.id and f.fed_seq < f.last_seq and f.due_at > now();
  return null;
end
$$;
create trigger accounts_limits after update of limits on accounts
  for each row when (new.limits is distinct from old.limits) execute function limits_changed();

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

-- A flow while feed looks at it. no: its place in line; start: where it stands in virtual time. waiting: its messages in the
-- queue, without those that are put off; room: for how many more; share: how many it gets. windows, limits: where it keeps to
-- any; scopes: its limits as limits_of tells them, with their day and its end. The first of what it is given is sent after
-- delay seconds, the others gap apart; due_at: when to look at it again, where that is not by its room.
drop function feed(text, integer, integer, integer);
drop type looked_flow;
create type looked_flow as (
  no integer, hunt_id text, sender text, send_at timestamptz, zone text, fed_seq bigint, again_seq bigint, last_seq bigint,
  weight double precision, start double precision, allowed integer, under_way integer, looked_at timestamptz, moved_at timestamptz,
  waiting integer, room integer, share integer, account_id text, windows jsonb, limits jsonb, scopes jsonb,
  spacing double precision, spaced_at timestamptz, next_at timestamptz, delay double precision, gap double precision,
  due_at timestamptz, ids uuid[], top bigint
);

-- The next messages for a queue, at most p_limit. Whoever is given them has to put them into the queue; what a crash keeps
-- from that, the sweeper finds.
--
-- Of each flow no more than p_least wait in the queue at first; twice as many, up to p_most, each time that half of them have
-- begun; and again no more than ten seconds' worth when they begin slowly. So a slow sender has few of a big hunt's messages
-- before those of a small one, and a fast one as many as it takes. With those that are put off or being sent it is p_most.
--
-- Start-time fair queueing: a flow's tag grows by 1/weight a message, those with the smallest are next, and one that had
-- nothing to send begins at the queue's clock. So each gets its share by weight, however many messages the others have.
-- again: a job of the same message may stand in the way.
--
-- A flow that a limit or its spreading slows down is given turns, evenly apart: those of the next two seconds, each with
-- its delay (retry_in_ms); then it is not looked at before the last second of them. Flows that share a limit share its turns
-- by weight. p_limits: of accounts without their own.
create function feed(p_queue text, p_limit integer, p_least integer, p_most integer, p_limits jsonb default '[]')
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
  v_room bigint;
  v_low double precision;
  v_high double precision;
  v_level double precision;
  v_no integer;
  v_parts jsonb;
  v_next timestamptz;
  v_opens timestamptz;
  v_wanted integer;
  v_found integer;
begin
  if not exists (select 1 from flows f where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now()) then
    return;
  end if;
  insert into feed_clocks (queue) values (p_queue) on conflict do nothing;
  -- One feeder of a queue at a time: the clock is its lock.
  select tag into v_clock from feed_clocks where queue = p_queue for update;

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
      select e.hunt_id, e.sender, e.send_at, e.zone, e.fed_seq, e.again_seq, e.last_seq, e.weight, e.due_at, e.under_way,
        e.looked_at, e.moved_at, e.spacing, e.spaced_at, e.next_at, e.account_id, e.windows, e.limits,
        greatest(e.tag, v_clock) as start, o.waiting, o.held, greatest(p_least, e.allowed) as had,
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

  -- Up to what virtual time all of them can be served.
  select sum(f.room), min(f.start), max(f.start + f.room / f.weight) into v_room, v_low, v_high from unnest(v_flows) f;
  if v_room <= p_limit then
    v_level := v_high;
  else
    for i in 1 .. 40 loop
      v_level := (v_low + v_high) / 2;
      if (select sum(least(f.room, greatest(0, floor((v_level - f.start) * f.weight)))) from unnest(v_flows) f) <= p_limit then
        v_low := v_level;
      else
        v_high := v_level;
      end if;
    end loop;
    v_level := v_low;
  end if;
  select array_agg((
    f.no, f.hunt_id, f.sender, f.send_at, f.zone, f.fed_seq, f.again_seq, f.last_seq, f.weight, f.start, f.allowed, f.under_way,
    f.looked_at, f.moved_at, f.waiting, f.room,
    -- What whole numbers leave over goes to the first in line.
    f.given + case when f.room > f.given and f.rest_no <= p_limit - f.sum then 1 else 0 end,
    f.account_id, f.windows, f.limits, f.scopes, f.spacing, f.spaced_at, f.next_at, f.delay, f.gap, f.due_at, f.ids, f.top
  )::looked_flow order by f.no)
  into v_flows
  from (
    select g.*, sum(g.given) over () as sum, row_number() over (partition by g.room > g.given order by g.no) as rest_no
    from (
      select u.*, least(u.room, greatest(0, floor((v_level - u.start) * u.weight)))::integer as given from unnest(v_flows) u
    ) g
  ) f;

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
    when cardinality(v_flows) < c_looks then least(v_level, (select max(f.start + f.share / f.weight) from unnest(v_flows) f))
    else least(v_level, (select max(f.start) from unnest(v_flows) f))
  end)
  where queue = p_queue and (select sum(f.share) from unnest(v_flows) f) > 0;

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
        when g.room > 0 then f.due_at
        else now() + make_interval(secs => least(2, greatest(0.025, extract(epoch from clock_timestamp() - g.moved_at) / 2)))
      end)
    from given g
    where f.hunt_id = g.hunt_id and f.queue = p_queue and f.sender = g.sender and f.send_at = g.send_at and f.zone = g.zone
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
  select coalesce(jsonb_object_agg(channel, counts), '{}') into v_channels
  from (
    select channel, jsonb_object_agg(status, n) as counts
    from (select channel, status, count(*) as n from messages where hunt_id = v_hunt.id group by 1, 2) g
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
    'pending', v_pending, 'channels', v_channels, 'variants', v_variants
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
      and p.proname in (
        'known_zone', 'windows_of', 'open_left', 'after_open', 'limits_of', 'limits_changed', 'discard_chunks', 'swept_messages', 'feed', 'hunt_status'
      )
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
