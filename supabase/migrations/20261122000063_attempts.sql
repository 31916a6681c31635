-- The two steps around a provider's call, and how somebody whom one message has not reached is tried over the next channel.

-- May these messages be sent now? [{"id", "attempt_id", "provider", "hold_ms", "opens_in_ms", "why", "put_off", "caps"}] → a verdict for
-- each:
--   go         the attempt is in the ledger and is the caller's for hold_ms: call the provider
--   wait       another worker's attempt is under way, or it may not be sent yet: ask again in retry_in_ms
--   paused     its hunt is paused, or has been given a time that has not come: it is fed again
--   reconcile  an attempt of unknown fate (attempt_id, started_at) is the caller's to clear up, for hold_ms
--   skipped    just now, for the reason in code: suppressed, expired, suspended_account, frequency_cap
--   settled    it has come to its end already (status says to which), or just now, by a cancel of its hunt
--   missing    the ledger does not know it
-- opens_in_ms, why: the caller has found that it may not be sent before that; put_off: it waits for something else than its sender's
-- turn, so that others of its flow may go meanwhile. caps: as full_cap takes them, counted in the very transaction that begins the
-- attempt. Of a hunt that was re-scheduled nothing begins before its time, outside its windows or after its end, whatever the message's
-- job says.
-- A worker that was taken over gets no further go: its attempt carries a claim by then.
-- p_epoch is the greatest that the caller has seen: a database that is behind it was restored from a backup, and does
-- not know what was sent since. Nothing begins before adopt_epoch has dealt with that. One step less is a failover that
-- lost a few seconds: what was sent in them is learned from the outcomes that the jobs keep.
create function begin_attempts(p_items jsonb, p_epoch bigint default 0)
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

-- What attempts came to: [{"id", "attempt_id", "claim", "result", "code", "detail", "provider", "provider_message_id", "suppress",
-- "hold_ms", "refused"}], result: sent, failed, unknown, not_sent (proven; the message goes back to queued) or ambiguous (stays in
-- sending and is held for hold_ms, then it is to be reconciled). Without an attempt_id only a message that is still queued can end:
-- failed, or skipped for the reason in code. Messages, events, leads, credits and suppressions change in one transaction. Whoever was
-- refused by the provider for good (refused) is tried over the next channel, as who was skipped.
-- Answers the ids that changed; a result that was recorded before changes nothing.
create function record_outcomes(p_items jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_applied jsonb;
  v_credits jsonb;
  v_receipts jsonb;
  v_ids uuid[];
  v_moving uuid[];
begin
  -- Whoever moves on writes messages: see insert_messages, and lock_moves for the order.
  perform pg_advisory_xact_lock_shared(20261122, 4);
  select array_agg(x.id), array_agg(x.id) filter (where x.goes_on) into v_ids, v_moving from (
    select m.id, m.next is not null as goes_on from messages m
    where m.id in (select r.id from jsonb_to_recordset(p_items) as r (id uuid))
    order by m.id for update
  ) x;
  if v_moving is not null then
    select array_agg(r.id) into v_moving
    from jsonb_to_recordset(p_items) as r (id uuid, result text, refused boolean, provider text, provider_message_id text)
    where r.id = any (v_moving) and (
      r.result = 'skipped' or (r.result = 'failed' and r.refused)
      or (r.result = 'sent' and exists (
        select 1 from pending_receipts p
        where p.provider = r.provider and p.provider_message_id = r.provider_message_id and p.status = 'failed'
      ))
    );
    if v_moving is not null then
      perform lock_moves(v_ids, v_moving);
    end if;
  end if;

  with items as (
    select * from jsonb_to_recordset(p_items) as r (
      id uuid, attempt_id uuid, claim uuid, result text, code text, detail text, provider text,
      provider_message_id text, suppress boolean, hold_ms integer, refused boolean
    )
  ),
  judged as (
    select i.*, m.provider as known_provider, m.attempts, m.account_id,
      -- Reconciling found a provider's message that is another one's here: it proves nothing about this one.
      i.claim is not null and i.result = 'sent' and exists (
        select 1 from messages o
        where o.provider = m.provider and o.provider_message_id = i.provider_message_id and o.id <> i.id
      ) as taken
    from items i join messages m on m.id = i.id
  ),
  believable as (
    select j.id, j.attempt_id, j.claim, j.suppress, j.hold_ms, j.detail, j.refused,
      coalesce(j.provider, j.known_provider) as provider,
      case
        when j.taken or j.result = 'unknown' then
          case when a.resend_unknown and j.attempts < 2 then 'not_sent' else 'unknown' end
        else j.result
      end as result,
      case when j.taken then 'ambiguous' else j.code end as code,
      case when not j.taken then j.provider_message_id end as provider_message_id
    from judged j
    left join accounts a on a.id = j.account_id
  ),
  applicable as (
    -- One for each message, or a result that two workers report at once would move credits twice.
    select distinct on (i.id) i.*, m.credit, m.account_id, m.channel, m.ad_id, m.recipient, m.next
    from believable i join messages m on m.id = i.id
    where case
      when i.attempt_id is null then m.status = 'queued' and i.result in ('failed', 'skipped')
      -- An accepted attempt is a fact, whoever reports it and however late; queued: the ledger has forgotten it.
      when i.result = 'sent' then m.status = 'queued'
        or (m.attempt_id = i.attempt_id and m.status in ('sending', 'unknown'))
      -- So is an attempt of which nobody knows, unless the ledger knows it and has the message queued again since.
      when i.result = 'unknown' and m.status = 'queued' then not exists (
        select 1 from message_events e where e.message_id = i.id and e.attempt_id = i.attempt_id
      )
      else m.attempt_id = i.attempt_id and m.status = 'sending' and m.claim is not distinct from i.claim
    end
    order by i.id, i.result <> 'sent'
  ),
  updated as (
    update messages m set
      status = case a.result when 'not_sent' then 'queued' when 'ambiguous' then 'sending' else a.result end,
      code = a.code, detail = a.detail, provider = a.provider,
      provider_message_id = coalesce(a.provider_message_id, m.provider_message_id),
      retryable = a.result = 'failed',
      attempt_id = case a.result when 'not_sent' then null else m.attempt_id end,
      claim = null,
      held_until = case a.result
        when 'not_sent' then null
        when 'ambiguous' then now() + make_interval(secs => a.hold_ms / 1000.0)
        else m.held_until
      end,
      credit = case
        when m.credit <> 'reserved' then m.credit
        when a.result = 'sent' then 'spent'
        when a.result in ('failed', 'skipped') then 'released'
        else m.credit
      end,
      sent_at = case a.result when 'sent' then now() else m.sent_at end,
      settled_at = case when a.result in ('not_sent', 'ambiguous') then null else now() end,
      updated_at = now()
    from applicable a where m.id = a.id
  ),
  events as (
    insert into message_events (message_id, kind, code, attempt_id)
    select a.id, case a.result when 'not_sent' then 'retry' else a.result end, a.code, a.attempt_id from applicable a
  ),
  contacted as (
    update leads l set stage = 'contacted', contacted_at = coalesce(l.contacted_at, now()), updated_at = now()
    from (select distinct account_id, ad_id from applicable where result = 'sent' and ad_id is not null) a
    where l.account_id = a.account_id and l.ad_id = a.ad_id and l.stage = 'new'
  ),
  suppressed as (
    insert into suppressions (account_id, phone, reason, message_id)
    select a.account_id, a.recipient, 'carrier', a.id from applicable a where a.suppress
    on conflict do nothing
  )
  select
    jsonb_agg(jsonb_build_object('id', a.id, 'provider', a.provider, 'provider_message_id', a.provider_message_id)),
    jsonb_agg(jsonb_build_object(
      'account_id', a.account_id, 'channel', a.channel,
      'spent', case a.result when 'sent' then 1 else 0 end, 'released', case when a.result in ('failed', 'skipped') then 1 else 0 end
    )) filter (where a.credit = 'reserved' and a.result in ('sent', 'failed', 'skipped')),
    array_agg(a.id) filter (where a.next is not null and (a.result = 'skipped' or (a.result = 'failed' and a.refused)))
  into v_applied, v_credits, v_moving
  from applicable a;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;

  if v_applied is null then
    return;
  end if;
  if v_moving is not null then
    perform move_on(v_moving);
  end if;

  -- Receipts that were faster than this call.
  with early as (
    delete from pending_receipts p
    using jsonb_to_recordset(v_applied) as a (provider text, provider_message_id text)
    where p.provider = a.provider and p.provider_message_id = a.provider_message_id
    returning p.*
  )
  select jsonb_agg(to_jsonb(e)) into v_receipts from early e;
  if v_receipts is not null then
    perform record_receipts(v_receipts);
  end if;

  return query select a.id from jsonb_to_recordset(v_applied) as a (id uuid);
end
$$;

-- Right after these messages are locked, and before anything is done with credits: the locks of whatever some of them (p_moving)
-- may move on to. Who locks several things does so in this order: the erasures' lock, messages, hunts, credits.
create function lock_moves(p_ids uuid[], p_moving uuid[]) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- As plan_chunk: a number that two move on to, or that is just being planned, is seen.
  perform pg_advisory_xact_lock(x.hunt) from (
    select distinct hashtextextended(m.hunt_id, 0) as hunt from messages m
    where m.id = any (p_moving) and m.hunt_id is not null
    order by 1
  ) x;
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select m.account_id, m.channel from messages m where m.id = any (p_ids)
    union
    select m.next ->> 'account_id', m.next ->> 'channel' from messages m where m.id = any (p_moving)
  )
  order by c.account_id, c.channel
  for update;
end
$$;

-- These messages have not reached their contacts, provably: each contact is tried over the next channel, if there is one, once.
-- Not who has written back meanwhile, not in a hunt that was cancelled, and not from before a restored backup, after which
-- the next one may have been sent already. The first message is then not sent again, not even by hand.
create function move_on(p_ids uuid[]) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_next jsonb;
begin
  select jsonb_agg(m.next order by m.seq) into v_next
  from unnest(p_ids) as u (id)
  -- offset 0: by the key.
  cross join lateral (select m.* from messages m where m.id = u.id offset 0) m
  left join hunts h on h.id = m.hunt_id
  where m.next is not null and h.cancelled_at is null
    and m.created_at > coalesce((select adopted_at from epoch), '-infinity')
    and not exists (
      select 1 from replies r
      where r.phone = m.recipient and r.account_id is not distinct from m.account_id and r.at >= m.created_at
    );
  update messages m set next = null, retryable = false where m.id = any (p_ids) and m.next is not null;
  if v_next is not null then
    perform insert_messages(v_next);
  end if;
end
$$;

-- A contact of whom nobody can prove that this attempt has not reached them is not tried over another channel.
create function end_way(p_message_id uuid, p_attempt_id uuid) returns void
language sql
set search_path = public
as $$
  update messages set next = null where id = p_message_id and attempt_id = p_attempt_id and next is not null
$$;

-- Messages that were sent, and after which their contact is tried over the next channel unless they are delivered before.
create table fallbacks (
  message_id uuid primary key,
  due_at timestamptz not null
);
create index fallbacks_due on fallbacks (due_at);

create function set_fallback() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  insert into public.fallbacks (message_id, due_at)
  values (new.id, now() + make_interval(secs => (new.next ->> 'afterSeconds')::integer))
  on conflict do nothing;
  return null;
end
$$;

-- However it came to be sent: by its outcome, by a receipt, or because a person says so.
create trigger messages_fallback after update of status on messages
for each row when (new.status = 'sent' and old.status <> 'sent' and new.next ->> 'afterSeconds' is not null)
execute function set_fallback();

-- Goes on with at most p_limit contacts whose time is up; answers how many were looked at.
create function continue_fallbacks(p_limit integer) returns integer
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_ids uuid[];
  v_n integer;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  with due as (
    delete from fallbacks f where f.message_id in (
      select d.message_id from fallbacks d where d.due_at <= now() order by d.due_at limit p_limit for update skip locked
    )
    returning f.message_id
  )
  select array_agg(message_id), count(*) into v_ids, v_n from due;
  select array_agg(x.id) into v_ids from (
    select m.id from messages m where m.id = any (v_ids) and m.status = 'sent' order by m.id for update
  ) x;
  if v_ids is not null then
    perform lock_moves('{}', v_ids);
    perform move_on(v_ids);
  end if;
  return v_n;
end
$$;

-- All of it is the service's alone.
alter table fallbacks enable row level security;
revoke all on fallbacks from public, anon, authenticated;
grant all on fallbacks to service_role;
revoke all on function begin_attempts, record_outcomes, lock_moves, move_on, end_way, set_fallback,
  continue_fallbacks from public, anon, authenticated;
grant execute on function begin_attempts, record_outcomes, lock_moves, move_on, end_way, set_fallback, continue_fallbacks to service_role;
