-- What vendors report of a message later, and what one may ask while he carries it.

-- Receipts that came before the message knew its provider's id: kept, and merged when it does.
create table pending_receipts (
  provider text not null,
  provider_message_id text not null,
  status text not null,
  code text,
  at timestamptz not null,
  received_at timestamptz not null default now(),
  message_id uuid,
  attempt_id uuid,
  suppress boolean,
  segments integer,
  price numeric,
  currency text,
  primary key (provider, provider_message_id, status)
);

-- Delivery reports: [{"provider", "provider_message_id", "status", "code", "at", "message_id", "attempt_id", "suppress",
-- "segments", "price", "currency"}], status: sent, delivered, read, failed; it only moves forward, and late and repeated ones change
-- nothing. One that names the attempt proves that it was accepted, whatever the caller of the provider could find out, and so settles
-- one that is unknown. One on a message that is not known under that id, or is being sent again under it, waits for the message's
-- outcome. Who has provably not got it is tried over the next channel.
create function record_receipts(p_items jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_accepted jsonb;
  v_credits jsonb;
  v_ids uuid[];
  v_moving uuid[];
begin
  -- As in record_outcomes.
  perform pg_advisory_xact_lock_shared(20261122, 4);
  select array_agg(x.id), array_agg(x.id) filter (where x.goes_on) into v_ids, v_moving from (
    select m.id, m.next is not null as goes_on from messages m
    where m.id in (
      select o.id from jsonb_to_recordset(p_items) as r (provider text, provider_message_id text)
      join messages o on o.provider = r.provider and o.provider_message_id = r.provider_message_id
      union
      select r.message_id from jsonb_to_recordset(p_items) as r (message_id uuid)
    )
    order by m.id for update
  ) x;
  if v_moving is not null then
    select array_agg(m.id) into v_moving from messages m
    where m.id = any (v_moving) and exists (
      select 1 from jsonb_to_recordset(p_items) as r (provider text, provider_message_id text, message_id uuid, status text)
      where r.status = 'failed'
        and (r.message_id = m.id or (r.provider = m.provider and r.provider_message_id = m.provider_message_id))
    );
    if v_moving is not null then
      perform lock_moves(v_ids, v_moving);
    end if;
  end if;

  select jsonb_agg(distinct jsonb_build_object(
    'id', m.id, 'attempt_id', m.attempt_id, 'result', 'sent',
    'provider', r.provider, 'provider_message_id', r.provider_message_id
  )) into v_accepted
  from jsonb_to_recordset(p_items) as r (provider text, provider_message_id text, message_id uuid, attempt_id uuid)
  -- offset 0: by the key, not through the index of everything that is open.
  cross join lateral (select m.* from messages m where m.id = r.message_id offset 0) m
  where m.attempt_id = r.attempt_id and m.provider = r.provider and m.status in ('sending', 'unknown')
    and not exists (select 1 from messages o where o.provider_message_id = r.provider_message_id and o.id <> m.id);
  if v_accepted is not null then
    perform record_outcomes(v_accepted);
  end if;

  with items as (
    select provider, provider_message_id, max(code) as code,
      min(at) filter (where status in ('delivered', 'read')) as delivered_at,
      min(at) filter (where status = 'read') as read_at,
      min(at) as at,
      (array['sent', 'failed', 'delivered', 'read'])[
        max(array_position(array['sent', 'failed', 'delivered', 'read'], status))
      ] as status,
      -- There is no max(uuid); all of one provider's message are about one attempt.
      max(message_id::text)::uuid as message_id, max(attempt_id::text)::uuid as attempt_id,
      bool_or(suppress) as suppress, max(segments) as segments, max(price) as price, max(currency) as currency
    from jsonb_to_recordset(p_items) as r (
      provider text, provider_message_id text, status text, code text, at timestamptz, message_id uuid, attempt_id uuid,
      suppress boolean, segments integer, price numeric, currency text
    )
    group by provider, provider_message_id
  ),
  known as (
    select i.*, m.id, m.account_id, m.channel, m.credit, m.recipient, m.next is not null as goes_on,
      m.status <> i.status and m.status in ('sent', 'delivered', 'unknown')
        and message_may_become(m.status, i.status, false) as moves
    from items i
    join messages m on m.provider = i.provider and m.provider_message_id = i.provider_message_id
  ),
  updated as (
    update messages m set
      status = case when k.moves then k.status else m.status end,
      code = case when not k.moves then m.code when k.status = 'failed' then k.code end,
      detail = case
        when not k.moves then m.detail
        when k.status = 'failed' then 'The provider accepted it and reported later that it was not delivered.'
      end,
      sent_at = case when k.moves then coalesce(m.sent_at, k.at) else m.sent_at end,
      delivered_at = case when k.moves then coalesce(m.delivered_at, k.delivered_at) else m.delivered_at end,
      read_at = case when k.moves then coalesce(m.read_at, k.read_at) else m.read_at end,
      retryable = m.retryable and not k.moves,
      -- Still reserved: its fate was unknown until this receipt proved that it was accepted.
      credit = case when k.moves and m.credit = 'reserved' then 'spent' else m.credit end,
      provider_segments = coalesce(k.segments, m.provider_segments),
      price = coalesce(k.price, m.price),
      currency = coalesce(k.currency, m.currency),
      updated_at = now()
    from known k
    where m.id = k.id and (
      k.moves or coalesce(k.segments, m.provider_segments) is distinct from m.provider_segments
      or coalesce(k.price, m.price) is distinct from m.price
    )
  ),
  events as (
    insert into message_events (message_id, kind, code, at) select id, status, code, at from known where moves
  ),
  suppressed as (
    insert into suppressions (account_id, phone, reason, message_id)
    select k.account_id, k.recipient, 'carrier', k.id from known k where k.suppress
    on conflict do nothing
  ),
  early as (
    insert into pending_receipts (
      provider, provider_message_id, status, code, at, message_id, attempt_id, suppress, segments, price, currency
    )
    select i.provider, i.provider_message_id, i.status, i.code, i.at, i.message_id, i.attempt_id, i.suppress,
      i.segments, i.price, i.currency
    from items i
    where not exists (
      select 1 from messages m where m.provider = i.provider and m.provider_message_id = i.provider_message_id
        -- On its way again under the id that it had before: for when it is recorded.
        and m.status not in ('queued', 'sending')
    )
    on conflict do nothing
  )
  select
    jsonb_agg(jsonb_build_object(
      'account_id', k.account_id, 'channel', k.channel, 'spent', 1, 'released', 0
    )) filter (where k.credit = 'reserved'),
    array_agg(k.id) filter (where k.status = 'failed' and k.goes_on)
  into v_credits, v_moving
  from known k where k.moves;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;
  if v_moving is not null then
    perform move_on(v_moving);
  end if;
end
$$;

-- What a message says, for a vendor who asks while he carries it; null when it is not to be said (any more): its person has said
-- stop or was erased, its account is suspended, or there is no such message.
create function content_of(p_id uuid) returns jsonb
language sql stable
set search_path = public
as $$
  select m.content from messages m
  where m.id = p_id and m.recipient <> 'erased'
    and not exists (
      select 1 from suppressions s
      where s.phone in (m.recipient, m.recipient_hash) and (s.account_id is null or s.account_id = m.account_id)
    )
    and not exists (select 1 from accounts a where a.id = m.account_id and a.status = 'suspended')
$$;

-- A call that a machine has taken leaves something only if its vendor was told what to say: which is a fact of ours, and not in
-- the vendor's report of the call's end.
-- One attempt at a voicemail whose vendor has asked what to leave. answered: the answer has gone out; ended: the report of its
-- call's end, if it came before that was known.
create table voicemail_instructions (
  attempt_id uuid primary key,
  answered boolean not null,
  ended jsonb,
  created_at timestamptz not null default now()
);
create index voicemail_instructions_age on voicemail_instructions (created_at);

-- Twice, late and in any order: what was answered stays so, and has a report that waited for it count.
create function record_instructions(p_attempt_id uuid, p_answered boolean) returns void
language plpgsql
set search_path = public
as $$
declare
  v_ended jsonb;
begin
  insert into voicemail_instructions as i (attempt_id, answered) values (p_attempt_id, p_answered)
  on conflict (attempt_id) do update set answered = i.answered or excluded.answered
  returning case when i.answered then i.ended end into v_ended;
  if v_ended is not null then
    perform record_receipts(jsonb_build_array(v_ended));
  end if;
end
$$;

-- How far it came when the call ended, 'asked' or 'answered'; null: nobody has asked, as far as is known here. p_ended, see
-- record_receipts, counts later if the answer turns out to have gone out.
create function instructions_of(p_attempt_id uuid, p_ended jsonb) returns text
language plpgsql
set search_path = public
as $$
begin
  update voicemail_instructions i set ended = p_ended where i.attempt_id = p_attempt_id and not i.answered;
  if found then
    return 'asked';
  end if;
  return (select 'answered' from voicemail_instructions i where i.attempt_id = p_attempt_id);
end
$$;

-- The address that a vendor asks at is valid for two days.
create function tidy_instructions() returns void
language sql
set search_path = public
as $$
  delete from voicemail_instructions where created_at < now() - interval '7 days'
$$;

-- All of it is the service's alone.
alter table pending_receipts enable row level security;
alter table voicemail_instructions enable row level security;
revoke all on pending_receipts, voicemail_instructions from public, anon, authenticated;
grant all on pending_receipts, voicemail_instructions to service_role;
revoke all on function record_receipts, content_of, record_instructions, instructions_of,
  tidy_instructions from public, anon, authenticated;
grant execute on function record_receipts, content_of, record_instructions, instructions_of, tidy_instructions to service_role;
