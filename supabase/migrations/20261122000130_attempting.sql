-- The two steps around a provider's call. They look at each message once, when they lock it; what hardly ever has something to write
-- is a statement of its own, since even with no row it costs a call tens of microseconds. Their plans are made once a connection:
-- what is asked changes nothing of them.

-- What begin_attempts is asked of a message (up to caps), and the message as it is from its lock on.
create type begun as (
  id uuid, mine uuid, provider text, hold_ms integer, opens_in_ms bigint, why text, put_off boolean, caps jsonb,
  seq bigint, account_id text, hunt_id text, recipient text, recipient_hash text, zone text, expires_at timestamptz,
  status text, code text, detail text, credit text, attempts integer, theirs uuid, started_at timestamptz,
  held_until timestamptz, claim uuid
);

-- May these messages be sent now? [{"id", "attempt_id", "provider", "hold_ms", "opens_in_ms", "why", "put_off", "caps"}] → a verdict for
-- each that the ledger knows:
--   go         the attempt is in the ledger and is the caller's for hold_ms: call the provider
--   wait       another worker's attempt is under way, or it may not be sent yet: ask again in retry_in_ms
--   paused     its hunt is paused, or has been given a time that has not come: it is fed again
--   reconcile  an attempt of unknown fate (attempt_id, started_at) is the caller's to clear up, for hold_ms
--   skipped    just now, for the reason in code: suppressed, expired, suspended_account, frequency_cap
--   settled    it has come to its end already (status says to which), or just now, by a cancel of its hunt
-- opens_in_ms, why: the caller has found that it may not be sent before that; put_off: it waits for something else than its sender's
-- turn, so that others of its flow may go meanwhile. caps: as full_cap takes them, counted in the very transaction that begins the
-- attempt. Of a hunt that was re-scheduled nothing begins before its time, outside its windows or after its end, whatever the message's
-- job says.
-- A worker that was taken over gets no further go: its attempt carries a claim by then.
-- p_epoch is the greatest that the caller has seen: a database that is behind it was restored from a backup, and does
-- not know what was sent since. Nothing begins before adopt_epoch has dealt with that. One step less is a failover that
-- lost a few seconds: what was sent in them is learned from the outcomes that the jobs keep.
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
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_begun begun[];
  v_barred jsonb;
  v_credits jsonb;
begin
  if p_epoch > (select value + 1 from epoch) then
    raise exception 'the ledger is older than epoch %', p_epoch using errcode = 'AP001';
  end if;

  -- All that is asked of others comes in later statements: it may have been written while this one waited for a lock.
  select array_agg(b::begun) into v_begun from (
    select w.id, w.attempt_id, w.provider, w.hold_ms, w.opens_in_ms, w.why, w.put_off, w.caps,
      m.seq, m.account_id, m.hunt_id, m.recipient, m.recipient_hash, m.zone, m.expires_at,
      m.status, m.code, m.detail, m.credit, m.attempts, m.attempt_id, m.attempt_started_at, m.held_until, m.claim
    from jsonb_to_recordset(p_items) as w (
      id uuid, attempt_id uuid, provider text, hold_ms integer, opens_in_ms bigint, why text, put_off boolean, caps jsonb
    )
    join messages m on m.id = w.id
    order by m.id for update of m
  ) b;

  -- Whoever counts what a person has got lately counts alone, or two messages to them could each be the last that is
  -- allowed. In one order, so that two batches never wait for each other in a circle.
  perform pg_advisory_xact_lock(x.person) from (
    select distinct hashtextextended(coalesce(b.account_id, '') || ' ' || b.recipient, 4) as person
    from unnest(v_begun) b
    where b.status = 'queued' and jsonb_array_length(b.caps) > 0 and b.opens_in_ms is null
    order by 1 offset 0
  ) x;

  with waiting as (
    select b.id, b.account_id, b.recipient, b.seq, b.detail, b.credit, b.caps,
      b.opens_in_ms is null and jsonb_array_length(b.caps) > 0 as counts,
      case
        when h.cancelled_at is not null then 'cancelled'
        when case when h.rescheduled_at is null then b.expires_at else h.expires_at end <= now() then 'expired'
        when b.recipient = 'erased' or exists (
          -- offset 0: by the number alone, since an index for each account costs as much as all the rest.
          select 1 from (select s.account_id from suppressions s where s.phone in (b.recipient, b.recipient_hash) offset 0) s
          where s.account_id is null or s.account_id = b.account_id
        ) then 'suppressed'
        when a.status = 'suspended' then 'suspended_account'
      end as reason
    from unnest(v_begun) b
    left join hunts h on h.id = b.hunt_id
    left join accounts a on a.id = b.account_id
    where b.status = 'queued'
  ),
  counted as (
    -- With those of the same person before it in this very call.
    select w.id, w.credit, full_cap(
      w.account_id, w.recipient, w.id, w.caps,
      (row_number() over (partition by w.account_id, w.recipient order by w.seq) - 1)::integer
    ) as words
    from waiting w where w.reason is null and w.counts
  ),
  barred as (
    select w.id, w.reason, w.detail, w.credit from waiting w where w.reason is not null
    union all
    select c.id, 'frequency_cap', c.words, c.credit from counted c where c.words is not null
  )
  select jsonb_agg(to_jsonb(b)) into v_barred from barred b;
  if v_barred is not null then
    with skipped as (
      update messages m set
        status = case b.reason when 'cancelled' then 'cancelled' else 'skipped' end,
        code = nullif(b.reason, 'cancelled'), detail = b.detail, settled_at = now(), updated_at = now(),
        credit = case m.credit when 'reserved' then 'released' else m.credit end
      from jsonb_to_recordset(v_barred) as b (id uuid, reason text, detail text, credit text)
      where m.id = b.id
      returning m.id, m.account_id, m.channel, m.status, m.code, b.credit
    ),
    events as (
      insert into message_events (message_id, kind, code) select k.id, k.status, k.code from skipped k
    )
    select jsonb_agg(jsonb_build_object('account_id', k.account_id, 'channel', k.channel, 'spent', 0, 'released', 1))
    into v_credits
    from skipped k
    where k.credit = 'reserved';
    if v_credits is not null then
      perform settle_credits(v_credits);
    end if;
  end if;

  return query
  with judged as (
    select b.id, b.mine, b.provider, b.hold_ms, b.recipient, b.detail, b.attempts, b.theirs, b.started_at, b.held_until,
      x.opens_in_ms,
      case when k.id is null then b.status when k.reason = 'cancelled' then 'cancelled' else 'skipped' end as status,
      case when k.id is null then b.code else nullif(k.reason, 'cancelled') end as code,
      case when x.closed_ms > coalesce(b.opens_in_ms, 0) then 'Waits for the hours of its hunt.' else b.why end as why,
      b.put_off or x.closed_ms > 0 as put_off,
      case when h.rescheduled_at is null then b.expires_at else h.expires_at end as expires_at,
      case
        when k.reason = 'cancelled' then 'settled'
        when k.id is not null then 'skipped'
        when b.status = 'queued' and (h.paused_at is not null or h.send_at > now()) then 'paused'
        when b.status = 'queued' and x.opens_in_ms > 0 then 'wait'
        when b.status = 'queued' then 'go'
        when b.status <> 'sending' then 'settled'
        when b.claim = b.mine then 'reconcile'
        when b.theirs = b.mine and b.claim is null then 'go'
        when b.held_until > now() then 'wait'
        else 'reconcile'
      end as verdict
    from unnest(v_begun) b
    left join jsonb_to_recordset(v_barred) as k (id uuid, reason text) on k.id = b.id
    left join hunts h on h.id = b.hunt_id
    cross join lateral (
      select c.closed_ms, greatest(b.opens_in_ms, c.closed_ms) as opens_in_ms
      from (
        select case when b.status = 'queued' and h.rescheduled_at is not null and h.windows is not null then coalesce((
          select ceil(extract(epoch from min(o.opens) - now()) * 1000)::bigint from windows_of(h.windows, b.zone, now()) o
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
    j.started_at,
    case j.verdict when 'wait' then least(2147483647, ceil(case j.status
      -- What is over before its hours begin ends then.
      when 'queued' then least(j.opens_in_ms, extract(epoch from j.expires_at - now()) * 1000)
      else extract(epoch from j.held_until - now()) * 1000
    end))::integer end
  from judged j;
end
$$;

-- What record_outcomes is told of a message (up to refused), and the message as it is from its lock on; other_provider: who had the
-- attempt, where the outcome does not say.
create type reported as (
  id uuid, attempt_id uuid, claim uuid, result text, code text, detail text, provider text, provider_message_id text,
  suppress boolean, hold_ms integer, refused boolean,
  status text, attempts integer, other_provider text, theirs uuid, their_claim uuid, credit text, account_id text, channel text,
  ad_id text, recipient text, goes_on boolean
);

-- What attempts came to: [{"id", "attempt_id", "claim", "result", "code", "detail", "provider", "provider_message_id", "suppress",
-- "hold_ms", "refused"}], result: sent, failed, unknown, not_sent (proven; the message goes back to queued) or ambiguous (stays in
-- sending and is held for hold_ms, then it is to be reconciled). Without an attempt_id only a message that is still queued can end:
-- failed, or skipped for the reason in code. Messages, events, leads, credits and suppressions change in one transaction. Whoever was
-- refused by the provider for good (refused) is tried over the next channel, as who was skipped.
-- Answers the ids that changed; a result that was recorded before changes nothing.
create or replace function record_outcomes(p_items jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  v_reported reported[];
  v_applied uuid[];
  v_providers text[];
  v_provider_messages text[];
  v_suppressed uuid[];
  v_credits jsonb;
  v_receipts jsonb;
  v_moving uuid[];
begin
  -- Whoever moves on writes messages: see insert_messages, and lock_moves for the order.
  perform pg_advisory_xact_lock_shared(20261122, 4);
  select array_agg(r::reported) into v_reported from (
    select i.id, i.attempt_id, i.claim, i.result, i.code, i.detail, i.provider, i.provider_message_id,
      i.suppress, i.hold_ms, i.refused,
      m.status, m.attempts, m.provider, m.attempt_id, m.claim, m.credit, m.account_id, m.channel,
      m.ad_id, m.recipient, m.next is not null
    from jsonb_to_recordset(p_items) as i (
      id uuid, attempt_id uuid, claim uuid, result text, code text, detail text, provider text,
      provider_message_id text, suppress boolean, hold_ms integer, refused boolean
    )
    join messages m on m.id = i.id
    order by m.id for update of m
  ) r;
  select array_agg(r.id) into v_moving
  from unnest(v_reported) r
  where r.goes_on and (
    r.result = 'skipped' or (r.result = 'failed' and r.refused)
    or (r.result = 'sent' and exists (
      select 1 from pending_receipts p
      where p.provider = r.provider and p.provider_message_id = r.provider_message_id and p.status = 'failed'
    ))
  );
  if v_moving is not null then
    perform lock_moves(array(select r.id from unnest(v_reported) r), v_moving);
  end if;

  with judged as (
    select r.*,
      -- Reconciling found a provider's message that is another one's here: it proves nothing about this one.
      r.claim is not null and r.result = 'sent' and exists (
        select 1 from messages o
        where o.provider = r.other_provider and o.provider_message_id = r.provider_message_id and o.id <> r.id
      ) as taken
    from unnest(v_reported) r
  ),
  believable as (
    select j.id, j.attempt_id, j.claim, j.suppress, j.hold_ms, j.detail, j.refused, j.status, j.theirs, j.their_claim,
      j.credit, j.account_id, j.channel, j.ad_id, j.goes_on, coalesce(j.provider, j.other_provider) as provider,
      case
        when j.taken or j.result = 'unknown' then case
          when j.attempts < 2 and (select a.resend_unknown from accounts a where a.id = j.account_id) then 'not_sent'
          else 'unknown'
        end
        else j.result
      end as result,
      case when j.taken then 'ambiguous' else j.code end as code,
      case when not j.taken then j.provider_message_id end as provider_message_id
    from judged j
  ),
  applicable as (
    -- One for each message, or a result that two workers report at once would move credits twice.
    select distinct on (b.id) b.*
    from believable b
    where case
      when b.attempt_id is null then b.status = 'queued' and b.result in ('failed', 'skipped')
      -- An accepted attempt is a fact, whoever reports it and however late; queued: the ledger has forgotten it.
      when b.result = 'sent' then b.status = 'queued' or (b.theirs = b.attempt_id and b.status in ('sending', 'unknown'))
      -- So is an attempt of which nobody knows, unless the ledger knows it and has the message queued again since.
      when b.result = 'unknown' and b.status = 'queued' then not exists (
        select 1 from message_events e where e.message_id = b.id and e.attempt_id = b.attempt_id
      )
      else b.theirs = b.attempt_id and b.status = 'sending' and b.their_claim is not distinct from b.claim
    end
    order by b.id, b.result <> 'sent'
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
  )
  select
    array_agg(a.id), array_agg(a.provider), array_agg(a.provider_message_id), array_agg(a.id) filter (where a.suppress),
    jsonb_agg(jsonb_build_object(
      'account_id', a.account_id, 'channel', a.channel,
      'spent', case a.result when 'sent' then 1 else 0 end, 'released', case when a.result in ('failed', 'skipped') then 1 else 0 end
    )) filter (where a.credit = 'reserved' and a.result in ('sent', 'failed', 'skipped')),
    array_agg(a.id) filter (where a.goes_on and (a.result = 'skipped' or (a.result = 'failed' and a.refused)))
  into v_applied, v_providers, v_provider_messages, v_suppressed, v_credits, v_moving
  from applicable a;
  if v_suppressed is not null then
    insert into suppressions (account_id, phone, reason, message_id)
    select m.account_id, m.recipient, 'carrier', m.id from messages m where m.id = any (v_suppressed)
    on conflict do nothing;
  end if;
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
    using unnest(v_providers, v_provider_messages) as a (provider, provider_message_id)
    where p.provider = a.provider and p.provider_message_id = a.provider_message_id
    returning p.*
  )
  select jsonb_agg(to_jsonb(e)) into v_receipts from early e;
  if v_receipts is not null then
    perform record_receipts(v_receipts);
  end if;

  return query select unnest(v_applied);
end
$$;

-- Looked at once the row is written, and not before, when it would be locked once more for it.
drop trigger messages_transition on messages;
create trigger messages_transition after update of status on messages
for each row when (
  old.status is distinct from new.status and not message_may_become(old.status, new.status, old.retryable)
)
execute function check_message_transition();

-- No two messages have the same key there: what would be folded are versions of one row, which soon go, at a tenth of what an
-- outcome costs.
alter index messages_hunt set (deduplicate_items = off);
alter index messages_recipient set (deduplicate_items = off);

revoke all on function begin_attempts, record_outcomes from public, anon, authenticated;
grant execute on function begin_attempts, record_outcomes to service_role;
