-- What an SMS counts and costs, and receipts that say which attempt they are about.

-- As we counted when it was accepted; null for what has no segments.
alter table messages add column segments integer generated always as (
  case when jsonb_typeof(content -> 'segments') = 'number' then (content ->> 'segments')::numeric::integer end
) stored;
-- As its provider counted and charged, where it has said so; the currency by ISO 4217.
alter table messages
  add column provider_segments integer,
  add column price numeric,
  add column currency text;

alter table pending_receipts
  add column message_id uuid,
  add column attempt_id uuid,
  add column suppress boolean,
  add column segments integer,
  add column price numeric,
  add column currency text;

-- Delivery reports: [{"provider", "provider_message_id", "status", "code", "at", "message_id", "attempt_id", "suppress",
-- "segments", "price", "currency"}], status: sent, delivered, read, failed. One that names the attempt proves that it was
-- accepted, whatever the caller of the provider could find out. One that comes before the message knows its provider's id
-- is kept until it does; late and repeated ones change nothing.
create or replace function record_receipts(p_items jsonb) returns void
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
begin
  perform 1 from messages m
  where m.id in (
    select o.id from jsonb_to_recordset(p_items) as r (provider text, provider_message_id text)
    join messages o on o.provider = r.provider and o.provider_message_id = r.provider_message_id
    union
    select r.message_id from jsonb_to_recordset(p_items) as r (message_id uuid)
  )
  order by m.id for update;

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
    select i.*, m.id, m.account_id, m.channel, m.credit, m.recipient,
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
    )
    on conflict do nothing
  )
  select jsonb_agg(jsonb_build_object(
    'account_id', k.account_id, 'channel', k.channel, 'spent', 1, 'released', 0
  )) into v_credits
  from known k where k.moves and k.credit = 'reserved';
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;
end
$$;
