-- A message can be skipped for what was found out right before its first attempt, and the channel that is next in line
-- takes its place; a stop says whether it is the first;
-- tidying knows the tables of WhatsApp.

-- The same person's message over the channel that is next in line, as insert_messages takes it: written when this one
-- turns out not to reach them.
alter table messages add column next jsonb;

-- Writes ledger rows, their leads and the reservation of their credits. Decides what is skipped for a reason that only
-- the database knows: suppressed, duplicate, no_credit. Rows whose id exists already are left alone.
create or replace function insert_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
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
      sender text, content jsonb, priority integer, expires_at timestamptz, skip text, detail text, next jsonb
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
  ),
  judged as (
    select i.*, case
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
    end as reason
    from input i
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
      status, code, detail, next, credit, settled_at
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue, f.recipient, f.sender,
      f.content, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else f.reason end,
      f.detail, f.next,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end
    from funded f
    order by f.n
    on conflict do nothing
    returning id, account_id, hunt_id, ad_id, channel, recipient, status, code, credit
  ),
  reserved as (
    update credits c set balance = c.balance - x.n, reserved = c.reserved + x.n
    from (
      select account_id, channel, count(*) as n from inserted where credit = 'reserved' group by account_id, channel
    ) x
    where c.account_id = x.account_id and c.channel = x.channel
  ),
  skipped as (
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status = 'skipped'
  )
  insert into leads (account_id, ad_id, phone, hunt_id)
  select account_id, ad_id, recipient, hunt_id from inserted where account_id is not null and ad_id is not null
  on conflict (account_id, ad_id) do nothing;
end
$$;

-- May these messages be sent now? [{"id", "attempt_id", "provider", "hold_ms"}] → a verdict for each:
--   go         the attempt is in the ledger and is the caller's for hold_ms: call the provider
--   wait       another worker's attempt is under way: ask again in retry_in_ms
--   reconcile  an attempt of unknown fate (attempt_id, started_at) is the caller's to clear up, for hold_ms
--   skipped    just now, for the reason in code: suppressed, suspended_account, expired
--   settled    it has come to its end already (status says to which)
--   missing    the ledger does not know it
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

  with barred as (
    select x.id, x.credit, x.reason
    from jsonb_to_recordset(p_items) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (
      select m.id, m.credit, m.status, case
        when m.expires_at <= now() then 'expired'
        when exists (
          select 1 from suppressions s
          where s.phone = m.recipient and (s.account_id is null or s.account_id = m.account_id)
        ) then 'suppressed'
        when exists (select 1 from accounts a where a.id = m.account_id and a.status = 'suspended') then 'suspended_account'
      end as reason
      from messages m where m.id = r.id offset 0
    ) x
    where x.status = 'queued' and x.reason is not null
  ),
  skipped as (
    update messages m set
      status = 'skipped', code = b.reason, settled_at = now(), updated_at = now(),
      credit = case m.credit when 'reserved' then 'released' else m.credit end
    from barred b where m.id = b.id
    returning m.id, m.account_id, m.channel, m.code, b.credit
  ),
  events as (
    insert into message_events (message_id, kind, code) select k.id, 'skipped', k.code from skipped k
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
      m.attempt_started_at, m.held_until,
      case
        when m.id is null then 'missing'
        when m.id = any (v_skipped) then 'skipped'
        when m.status = 'queued' then 'go'
        when m.status <> 'sending' then 'settled'
        when m.claim = w.attempt_id then 'reconcile'
        when m.attempt_id = w.attempt_id and m.claim is null then 'go'
        when m.held_until > now() then 'wait'
        else 'reconcile'
      end as verdict
    from jsonb_to_recordset(p_items) as w (id uuid, attempt_id uuid, provider text, hold_ms integer)
    left join messages m on m.id = w.id
  ),
  started as (
    update messages m set
      status = 'sending', attempts = m.attempts + case m.status when 'queued' then 1 else 0 end,
      attempt_id = j.mine, attempt_started_at = now(), claim = null, provider = j.provider,
      held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'go'
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
    case j.verdict when 'wait' then ceil(extract(epoch from j.held_until - now()) * 1000)::integer end
  from judged j;
end
$$;

-- What attempts came to: [{"id", "attempt_id", "claim", "result", "code", "detail", "provider_message_id", "suppress"}],
-- result: sent, failed, unknown, not_sent (proven; the message goes back to queued) or ambiguous (stays in sending and
-- is held for hold_ms, then it is to be reconciled). Without an attempt_id only a message that is still queued can end:
-- failed, or skipped for the reason in code. Messages, events, leads, credits and suppressions change in one transaction.
-- Answers the ids that changed; a result that was recorded before changes nothing.
create or replace function record_outcomes(p_items jsonb) returns setof uuid
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
  v_next jsonb;
begin
  perform 1 from messages m
  where m.id in (select r.id from jsonb_to_recordset(p_items) as r (id uuid))
  order by m.id for update;

  with items as (
    select * from jsonb_to_recordset(p_items) as r (
      id uuid, attempt_id uuid, claim uuid, result text, code text, detail text, provider text,
      provider_message_id text, suppress boolean, hold_ms integer
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
    select j.id, j.attempt_id, j.claim, j.suppress, j.hold_ms, j.detail,
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
    jsonb_agg(a.next) filter (where a.result = 'skipped' and a.next is not null)
  into v_applied, v_credits, v_next
  from applicable a;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;

  if v_applied is null then
    return;
  end if;
  if v_next is not null then
    perform insert_messages(v_next);
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

-- Delivery reports: [{"provider", "provider_message_id", "status", "code", "at"}]. Status only moves forward. A report on a
-- message that is not known under that id, or is being sent again under it, waits for the message's outcome. One that is
-- unknown is settled by it: it was accepted after all.
create or replace function record_receipts(p_items jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_credits jsonb;
begin
  perform 1 from messages m
  join jsonb_to_recordset(p_items) as r (provider text, provider_message_id text)
    on m.provider = r.provider and m.provider_message_id = r.provider_message_id
  order by m.id for update of m;

  with items as (
    select provider, provider_message_id, max(code) as code,
      min(at) filter (where status in ('delivered', 'read')) as delivered_at,
      min(at) filter (where status = 'read') as read_at,
      min(at) as at,
      case max(array_position(array['failed', 'delivered', 'read'], status))
        when 3 then 'read' when 2 then 'delivered' else 'failed' end as status
    from jsonb_to_recordset(p_items) as r (
      provider text, provider_message_id text, status text, code text, at timestamptz
    )
    group by provider, provider_message_id
  ),
  applicable as (
    select i.*, m.id, m.account_id, m.channel, m.credit
    from items i
    join messages m on m.provider = i.provider and m.provider_message_id = i.provider_message_id
    where m.status <> i.status and m.status in ('sent', 'delivered', 'unknown')
      and message_may_become(m.status, i.status, false)
  ),
  updated as (
    update messages m set
      status = a.status,
      code = case a.status when 'failed' then a.code end,
      detail = case a.status
        when 'failed' then 'The provider accepted it and reported later that it was not delivered.'
      end,
      delivered_at = coalesce(m.delivered_at, a.delivered_at),
      read_at = coalesce(m.read_at, a.read_at),
      retryable = false,
      -- Still reserved: its fate was unknown until this receipt proved that it was accepted.
      credit = case m.credit when 'reserved' then 'spent' else m.credit end,
      updated_at = now()
    from applicable a where m.id = a.id
  ),
  events as (
    insert into message_events (message_id, kind, code, at) select id, status, code, at from applicable
  ),
  early as (
    insert into pending_receipts (provider, provider_message_id, status, code, at)
    select i.provider, i.provider_message_id, i.status, i.code, i.at from items i
    where not exists (
      select 1 from messages m where m.provider = i.provider and m.provider_message_id = i.provider_message_id
        -- On its way again under the id that it had before: for when it is recorded.
        and m.status not in ('queued', 'sending')
    )
    on conflict do nothing
  )
  select jsonb_agg(jsonb_build_object(
    'account_id', a.account_id, 'channel', a.channel, 'spent', 1, 'released', 0
  )) into v_credits
  from applicable a where a.credit = 'reserved';
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;
end
$$;

-- What arrives twice (a receipt for it was lost) is one reply.
alter table replies add column provider_reply_id text;
create unique index replies_provider on replies (provider, provider_reply_id);

drop function record_reply(jsonb);

-- Something that a person wrote back: {"provider", "provider_message_id", "reply_id", "account_id", "phone", "aliases", "text",
-- "at", "stop"}; aliases: other numbers of the same person. It belongs to the message it answers, else to the last one that
-- went to that person. A stop suppresses their numbers for that account, or for everybody when no account is known. Answers
-- whether this stop is the first: it is to be confirmed once.
create function record_reply(p_reply jsonb) returns boolean
language plpgsql
set search_path = public
as $$
declare
  v_account text := p_reply ->> 'account_id';
  v_phones text[] := array[p_reply ->> 'phone']
    || array(select jsonb_array_elements_text(coalesce(p_reply -> 'aliases', '[]')));
  v_message messages;
  v_new boolean;
begin
  select * into v_message from messages m
  where m.provider = p_reply ->> 'provider' and m.provider_message_id = p_reply ->> 'provider_message_id'
    and (v_account is null or m.account_id = v_account);
  if not found then
    select * into v_message from messages m
    -- Who answers has got it, whether or not its sending has been confirmed yet.
    where m.recipient = any (v_phones) and (m.sent_at is not null or m.status in ('sending', 'unknown'))
      and (v_account is null or m.account_id = v_account)
    -- Whoever answers over WhatsApp means what came over it.
    order by m.provider is distinct from p_reply ->> 'provider', m.sent_at desc nulls first limit 1;
  end if;
  if v_message.recipient is not null then
    v_phones := v_message.recipient || array_remove(v_phones, v_message.recipient);
  end if;
  insert into replies (message_id, account_id, phone, provider, provider_reply_id, text, at)
  values (
    v_message.id, coalesce(v_message.account_id, v_account), v_phones[1],
    p_reply ->> 'provider', p_reply ->> 'reply_id',
    p_reply ->> 'text', (p_reply ->> 'at')::timestamptz
  )
  -- Without a text it could not be decrypted, and its sender's phone was asked to send it again.
  on conflict (provider, provider_reply_id) do update set text = excluded.text
    where replies.text = '' and excluded.text <> ''
  returning xmax = 0 into v_new;
  if not found then
    return false;
  end if;
  if v_message.id is not null and v_new then
    insert into message_events (message_id, kind) values (v_message.id, 'reply');
    update leads set stage = 'replied', replied_at = coalesce(replied_at, now())
    where account_id = v_message.account_id and ad_id = v_message.ad_id;
  end if;
  if (p_reply ->> 'stop')::boolean then
    insert into suppressions (account_id, phone, reason, message_id)
    select coalesce(v_message.account_id, v_account), x.phone, 'stop', v_message.id
    from unnest(v_phones) as x (phone)
    -- A person of whom only a LID is known has no number that could be written to.
    where x.phone not like 'lid:%'
    on conflict do nothing;
    return found;
  end if;
  return false;
end
$$;

-- Merges receipts that raced with the recording of their message, and drops what nobody needs any more.
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
end
$$;

revoke all on function record_reply(jsonb) from public, anon, authenticated;
grant execute on function record_reply(jsonb) to service_role;
