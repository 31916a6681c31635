-- Messages of hunts wait here, and not in Redis: their queues are fed a little at a time, in turns, so that a small hunt
-- does not wait for a big one, and a backlog of any length costs Redis nothing.

alter table hunts
  add column paused_at timestamptz,
  add column cancelled_at timestamptz,
  -- Of a cancelled hunt some messages may still say queued.
  add column cancelling boolean not null default false;
create index hunts_cancelling on hunts (id) where cancelling;

-- What of a hunt goes through one queue from one sender, '' for any. fed_seq: its messages up to there have been given to
-- the queue; last_seq: its last one. tag: its virtual time, see feed. due_at: it is not looked at before. allowed: messages
-- that may be under way at once; under_way: as many as there were at looked_at, and were fed since.
create table flows (
  hunt_id text not null references hunts (id),
  queue text not null,
  sender text not null,
  weight double precision not null,
  tag double precision not null,
  fed_seq bigint not null,
  -- Up to there a job that has ended may stand in the way of a new one.
  again_seq bigint not null default 0,
  last_seq bigint not null,
  due_at timestamptz not null default now(),
  allowed integer not null default 0,
  under_way integer not null default 0,
  looked_at timestamptz not null default now(),
  primary key (hunt_id, queue, sender)
) with (fillfactor = 50);
create index flows_hungry on flows (queue) where fed_seq < last_seq;

-- The virtual time of each queue: that of the flow that was fed last.
create table feed_clocks (
  queue text primary key,
  tag double precision not null default 0
);

-- Counting what a flow has under way, and finding what comes next in it.
create index messages_hunt_open on messages (hunt_id, seq) where settled_at is null and hunt_id is not null;

do $$
declare
  t text;
begin
  foreach t in array array['flows', 'feed_clocks'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
end
$$;

create function priority_weight(p_priority text) returns double precision
language sql immutable parallel safe
return case p_priority when 'high' then 4 when 'low' then 0.25 else 1 end;

-- As before; and what is queued flows.
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
      category text, caps jsonb
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, recipient_hash, category, caps, n
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
      status, code, detail, next, credit, settled_at, recipient_hash, category
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
      case when not f.erased then f.recipient_hash end, f.category
    from funded f
    order by f.n
    on conflict do nothing
    returning id, seq, account_id, hunt_id, ad_id, channel, queue, recipient, sender, status, code, credit
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
    insert into flows as f (hunt_id, queue, sender, weight, tag, fed_seq, last_seq)
    select i.hunt_id, i.queue, coalesce(i.sender, ''), priority_weight(h.priority), 0, min(i.seq) - 1, max(i.seq)
    from inserted i join hunts h on h.id = i.hunt_id
    where i.status = 'queued'
    group by i.hunt_id, i.queue, coalesce(i.sender, ''), h.priority
    order by 1, 2, 3
    on conflict (hunt_id, queue, sender) do update set last_seq = greatest(f.last_seq, excluded.last_seq)
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

-- As before; of a hunt that is paused nothing begins (verdict 'paused'), of one that was cancelled nothing ever does.
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
        when m.expires_at <= now() then 'expired'
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
      m.attempt_started_at, m.held_until, m.expires_at, w.opens_in_ms, w.why,
      case
        when m.id is null then 'missing'
        when m.id = any (v_skipped) and m.status = 'cancelled' then 'settled'
        when m.id = any (v_skipped) then 'skipped'
        when m.status = 'queued' and h.paused_at is not null then 'paused'
        when m.status = 'queued' and w.opens_in_ms > 0 then 'wait'
        when m.status = 'queued' then 'go'
        when m.status <> 'sending' then 'settled'
        when m.claim = w.attempt_id then 'reconcile'
        when m.attempt_id = w.attempt_id and m.claim is null then 'go'
        when m.held_until > now() then 'wait'
        else 'reconcile'
      end as verdict
    from jsonb_to_recordset(p_items) as w (
      id uuid, attempt_id uuid, provider text, hold_ms integer, opens_in_ms bigint, why text
    )
    left join messages m on m.id = w.id
    left join hunts h on h.id = m.hunt_id
  ),
  started as (
    update messages m set
      status = 'sending', attempts = m.attempts + case m.status when 'queued' then 1 else 0 end,
      attempt_id = j.mine, attempt_started_at = now(), claim = null, provider = j.provider, detail = null,
      held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'go'
  ),
  put_off as (
    update messages m set detail = j.why from judged j
    where m.id = j.id and j.verdict = 'wait' and j.status = 'queued' and m.detail is distinct from j.why
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

drop function open_messages(bigint, integer, integer);

-- Messages that may be waiting for something, a page after p_after in the order of planning; the sweeper compares. held:
-- it is to have no job now, because it is still to be fed, or its hunt is paused.
create function open_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
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
          and m.seq > f.fed_seq and m.seq <= f.last_seq
      )
    ) as held
  ) x
  order by m.seq
$$;
revoke all on function open_messages(bigint, integer, integer) from public, anon, authenticated;
grant execute on function open_messages(bigint, integer, integer) to service_role;

-- As before, with whether it is paused or cancelled.
create or replace function hunt_status(p_job_id uuid) returns jsonb
language plpgsql stable
set search_path = public
as $$
declare
  v_hunt hunts;
  v_pending jsonb;
  v_channels jsonb;
  v_times jsonb;
begin
  select h.* into v_hunt from hunt_submissions s join hunts h on h.id = s.hunt_id where s.job_id = p_job_id;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_object_agg(channel, n), '{}') into v_pending
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
  ) into v_times from messages where hunt_id = v_hunt.id;
  return v_times || jsonb_build_object(
    'huntId', v_hunt.id, 'accountId', v_hunt.account_id, 'createdAt', v_hunt.created_at, 'now', now(),
    'pausedAt', v_hunt.paused_at, 'cancelledAt', v_hunt.cancelled_at,
    'pending', v_pending, 'channels', v_channels
  );
end
$$;

-- As before; nothing is added to a hunt that was cancelled.
-- p_hunt: {"id", "account_id", "priority", "expires_at"}.
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
  insert into hunts (id, account_id, priority, expires_at)
  values (
    p_hunt ->> 'id', p_hunt ->> 'account_id', coalesce(p_hunt ->> 'priority', 'normal'),
    coalesce((p_hunt ->> 'expires_at')::timestamptz, now() + interval '7 days')
  )
  on conflict (id) do nothing;
  select * into v_hunt from hunts where id = p_hunt ->> 'id';
  if v_hunt.account_id <> p_hunt ->> 'account_id' then
    return jsonb_build_object('result', 'other_account');
  end if;
  if v_hunt.cancelled_at is not null then
    return jsonb_build_object('result', 'cancelled_hunt');
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  perform stage_chunks(p_job_id, p_chunks);
  insert into hunt_submissions (job_id, hunt_id, contacts) values (p_job_id, p_hunt ->> 'id', p_contacts)
  on conflict do nothing;
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- The next messages for a queue, at most p_limit. Whoever is given them has to put them into the queue; what a crash keeps
-- from that, the sweeper finds.
--
-- Of each flow no more than p_least are under way at first; twice as many, up to p_most, each time that half of them have
-- settled; and again no more than ten seconds' worth when they settle slowly. So a slow sender has few of a big hunt's
-- messages before those of a small one, and a fast one as many as it takes.
--
-- Start-time fair queueing: a flow's tag grows by 1/weight a message, the flow with the smallest is next, and one that had
-- nothing to send begins at the queue's clock. So each gets its share by weight, however many messages the others have.
-- again: a job of the same message may stand in the way.
create function feed(p_queue text, p_limit integer, p_least integer, p_most integer)
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
  v_flow flows;
  v_open integer;
  v_settled integer;
  v_seconds double precision;
  v_wanted integer;
  v_found integer;
  v_ids uuid[];
  v_seq bigint;
  v_all uuid[] := '{}';
  v_again uuid[] := '{}';
begin
  insert into feed_clocks (queue) values (p_queue) on conflict do nothing;
  -- One feeder of a queue at a time: the clock is its lock.
  select tag into v_clock from feed_clocks where queue = p_queue for update;
  select p_limit / greatest(sum(f.weight), 0.25) into v_share from flows f
  where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now();

  while v_left > 0 loop
    select f.* into v_flow from flows f join hunts h on h.id = f.hunt_id
    where f.queue = p_queue and f.fed_seq < f.last_seq and f.due_at <= now() and h.cancelled_at is null
      and (h.paused_at is null or h.expires_at <= now())
    order by greatest(f.tag, v_clock), f.hunt_id, f.sender
    limit 1
    for update of f skip locked;
    exit when not found;
    v_clock := greatest(v_clock, v_flow.tag);

    select count(*) into v_open from (
      select 1 from messages m
      where m.hunt_id = v_flow.hunt_id and m.seq <= v_flow.fed_seq and m.settled_at is null
        and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender
      limit p_most
    ) x;
    v_settled := greatest(0, v_flow.under_way - v_open);
    v_seconds := extract(epoch from clock_timestamp() - v_flow.looked_at);
    v_flow.allowed := greatest(p_least, v_flow.allowed);
    if v_settled * 2 >= v_flow.allowed or v_seconds >= 1 then
      v_flow.allowed := least(p_most, case
        when v_settled * 2 >= v_flow.allowed then v_flow.allowed * 2
        else greatest(p_least, least(v_flow.allowed, ceil(10 * v_settled / v_seconds)))
      end);
      v_flow.looked_at := clock_timestamp();
      v_flow.under_way := v_open;
    end if;
    v_wanted := least(v_flow.allowed - v_open, v_left, ceil(v_share * v_flow.weight));
    if v_wanted <= 0 then
      update flows f set
        allowed = v_flow.allowed, under_way = v_flow.under_way, looked_at = v_flow.looked_at,
        -- Soon at first, since most settle at once; later and later while they do not.
        due_at = now() + make_interval(secs => least(0.5, greatest(0.025, v_seconds / 2)))
      where f.hunt_id = v_flow.hunt_id and f.queue = p_queue and f.sender = v_flow.sender;
      continue;
    end if;

    select array_agg(x.id), max(x.seq), count(*) into v_ids, v_seq, v_found from (
      select m.id, m.seq from messages m
      where m.hunt_id = v_flow.hunt_id and m.seq > v_flow.fed_seq and m.seq <= v_flow.last_seq
        and m.settled_at is null and m.status = 'queued'
        and m.queue = p_queue and coalesce(m.sender, '') = v_flow.sender
      order by m.seq limit v_wanted
    ) x;
    update flows f set
      fed_seq = case when v_found < v_wanted then f.last_seq else v_seq end,
      tag = v_clock + v_found / f.weight, allowed = v_flow.allowed, under_way = v_flow.under_way + v_found,
      looked_at = v_flow.looked_at
    where f.hunt_id = v_flow.hunt_id and f.queue = p_queue and f.sender = v_flow.sender;
    v_left := v_left - v_found;
    v_all := v_all || v_ids;
    if v_flow.again_seq > v_flow.fed_seq then
      v_again := v_again || v_ids;
    end if;
  end loop;
  if v_left < p_limit then
    update feed_clocks set tag = v_clock where queue = p_queue;
  end if;

  return query
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, m.content, m.priority, m.account_id,
    m.hunt_id, m.ad_id, greatest(0, ceil(extract(epoch from m.held_until - now()) * 1000))::integer, m.category,
    m.id = any (v_again)
  from unnest(v_all) with ordinality as u (id, n)
  cross join lateral (select m.* from messages m where m.id = u.id offset 0) m
  order by u.n;
end
$$;

-- As before, and flows.
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
end
$$;

-- Cancels at most p_limit waiting messages of cancelled hunts; answers how many there may still be.
create function continue_cancelling(p_limit integer) returns integer
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
      order by m.seq limit v_left
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

-- pause: nothing more of it begins. resume: what waits is fed again, in its old order. cancel: what waits is never sent.
-- Answers {"result": "done" | "missing" | "cancelled", "accountId", "pausedAt", "cancelledAt"}; each may be said again.
create function steer_hunt(p_hunt_id text, p_action text) returns jsonb
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
          again_seq = greatest(f.again_seq, f.fed_seq), due_at = now(),
          fed_seq = coalesce((
            select min(m.seq) - 1 from messages m
            where m.hunt_id = p_hunt_id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
              and m.queue = f.queue and coalesce(m.sender, '') = f.sender
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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('priority_weight', 'feed', 'continue_cancelling', 'steer_hunt')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
