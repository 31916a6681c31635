-- What a hunt says: templates with their versions, variants, and who is tried over the next channel, and when.

-- The account's own texts. version: the newest.
create table templates (
  id uuid primary key,
  account_id text not null references accounts (id),
  name text not null,
  -- null: for every channel that carries a text.
  channel text,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- No further hunt may use it. Those that were accepted have its text.
  archived_at timestamptz
);
create index templates_account on templates (account_id, created_at, id);

create table template_versions (
  template_id uuid not null references templates (id),
  version integer not null,
  text text not null,
  created_at timestamptz not null default now(),
  primary key (template_id, version)
);

-- What a submission says to contacts without a message of their own, with the texts of its templates as they were then.
alter table hunt_submissions add column content jsonb;

alter table messages add column variant text;

-- When the ledger was last found to be a restored backup: of messages from before nobody knows what has followed them.
alter table epoch add column adopted_at timestamptz;

-- Messages that were sent, and after which their contact is tried over the next channel unless they are delivered before.
create table fallbacks (
  message_id uuid primary key,
  due_at timestamptz not null
);
create index fallbacks_due on fallbacks (due_at);

do $$
declare
  t text;
begin
  foreach t in array array['templates', 'template_versions', 'fallbacks'] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
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

-- As before, with the erasures' lock first, see lock_moves.
create or replace function plan_chunk(p_job_id uuid, p_no integer, p_hunt_id text, p_rows jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_suspect boolean;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  perform pg_advisory_xact_lock(hashtextextended(p_hunt_id, 0));
  -- Until the end of this transaction: adopt_epoch, which doubts everything, waits for it and sees its rows.
  select suspect into v_suspect from hunt_submissions where job_id = p_job_id for share;
  if not exists (select 1 from hunt_chunks where job_id = p_job_id and no = p_no and planned_at is not null) then
    perform insert_messages(p_rows);
    if v_suspect then
      perform doubt(r.id) from jsonb_to_recordset(p_rows) as r (id uuid);
    end if;
    update hunt_chunks set planned_at = now() where job_id = p_job_id and no = p_no;
  end if;
  return query
    select m.id from jsonb_to_recordset(p_rows) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.id, m.status from messages m where m.id = r.id offset 0) m
    where m.status in ('queued', 'sending');
end
$$;

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

-- As before; whoever was refused by the provider for good (refused) is tried over the next channel, as who was skipped.
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

-- As before; who has provably not got it is tried over the next channel. A report on a message that is being sent again
-- under its old id waits for the outcome.
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

-- As before, and notes when.
create or replace function adopt_epoch(p_epoch bigint) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_doubted integer;
begin
  perform 1 from epoch where value + 1 < p_epoch for update;
  if not found then
    return null;
  end if;
  -- For whatever moves on under several locks, see lock_moves.
  perform pg_advisory_xact_lock(20261122, 4);
  update hunt_submissions set suspect = true where planned_at is null;
  select count(doubt(m.id))::integer into v_doubted from messages m
  where m.settled_at is null and m.status in ('queued', 'sending');
  update epoch set value = p_epoch + 1, adopted_at = now();
  return v_doubted;
end
$$;

-- Makes a template, or, where p_template has an "id" that is the account's, its next version; the same again changes nothing.
-- p_template: {"id", "new_id", "name", "channel", "text"}. Answers {"result": "done" | "replay" | "conflict" |
-- "unknown_account" | "missing", "response": {"templateId", "version"}}.
create function put_template(p_account_id text, p_template jsonb, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_response jsonb;
  v_template templates;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  if not exists (select 1 from accounts where id = p_account_id) then
    return jsonb_build_object('result', 'unknown_account');
  end if;
  if p_template ->> 'id' is null then
    insert into templates (id, account_id, name, channel)
    values ((p_template ->> 'new_id')::uuid, p_account_id, p_template ->> 'name', p_template ->> 'channel')
    returning * into v_template;
  else
    select * into v_template from templates
    where id = (p_template ->> 'id')::uuid and account_id = p_account_id and archived_at is null for update;
    if not found then
      return jsonb_build_object('result', 'missing');
    end if;
    update templates t set
      name = p_template ->> 'name', channel = p_template ->> 'channel', updated_at = now(),
      version = version + case when exists (
        select 1 from template_versions v
        where v.template_id = t.id and v.version = t.version and v.text = p_template ->> 'text'
      ) then 0 else 1 end
    where id = v_template.id returning * into v_template;
  end if;
  v_response := jsonb_build_object('templateId', v_template.id, 'version', v_template.version);
  v_answer := idempotency_take(p_idempotency, v_response);
  if v_answer is not null then
    -- The same request won the race: undo everything.
    raise exception 'idempotency key taken meanwhile' using errcode = 'serialization_failure';
  end if;
  insert into template_versions (template_id, version, text)
  values (v_template.id, v_template.version, p_template ->> 'text')
  on conflict do nothing;
  return jsonb_build_object('result', 'done', 'response', v_response);
end
$$;

-- What planning would find about these messages, without writing anything: [{"id", "account_id", "hunt_id", "channel",
-- "recipient", "recipient_hash", "caps", "siblings"}] → for each in its order null or {"reason", "detail"}. planned: the hunt has
-- it, or its contact on another channel; erased: so was the person.
create function preview_messages(p_rows jsonb) returns jsonb
language sql stable
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  select coalesce(jsonb_agg(
    case when j.reason is not null then jsonb_build_object('reason', j.reason, 'detail', case j.reason
      when 'frequency_cap' then full_cap(j.account_id, j.recipient, j.id, j.caps)
    end) end
    order by j.n
  ), '[]')
  from (
    select r.*, case
      when exists (select 1 from messages m where m.id = r.id)
        or exists (select 1 from messages m where m.id = any (r.siblings) and m.status <> 'skipped') then 'planned'
      when exists (select 1 from suppressions s where s.phone = r.recipient_hash) then 'erased'
      when exists (
        select 1 from suppressions s
        where s.phone = r.recipient and (s.account_id is null or s.account_id = r.account_id)
      ) then 'suppressed'
      when exists (
        select 1 from messages m
        where m.hunt_id = r.hunt_id and m.channel = r.channel and m.recipient = r.recipient and m.status <> 'skipped'
      ) then 'duplicate'
      when jsonb_array_length(r.caps) > 0 and full_cap(r.account_id, r.recipient, r.id, r.caps) is not null
        then 'frequency_cap'
    end as reason
    from rows from (jsonb_to_recordset(p_rows) as (
      id uuid, account_id text, hunt_id text, channel text, recipient text, recipient_hash text, caps jsonb, siblings uuid[]
    )) with ordinality as r (id, account_id, hunt_id, channel, recipient, recipient_hash, caps, siblings, n)
  ) j
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('move_on', 'lock_moves', 'set_fallback', 'continue_fallbacks', 'put_template', 'preview_messages')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
