-- How messages come into the ledger, those of hunts and single ones, and what keeps a message from being sent that only the database
-- knows.

-- Of [{"withinMs", "max", "words"}] the words of the first that is full: so many marketing messages of this account have been
-- accepted for this person within that time, or may have been, besides p_id. p_more: further ones that are about to be.
create function full_cap(p_account_id text, p_recipient text, p_id uuid, p_caps jsonb, p_more integer default 0)
returns text
language sql stable
set search_path = public
set enable_seqscan = off
as $$
  select k.cap ->> 'words' from jsonb_array_elements(p_caps) with ordinality as k (cap, n)
  where p_more + (
    select count(*) from messages m
    where m.recipient = p_recipient and m.account_id is not distinct from p_account_id and m.id <> p_id
      and m.category = 'marketing'
      and m.status in ('sending', 'sent', 'delivered', 'read', 'unknown')
      and coalesce(m.sent_at, m.attempt_started_at) >= now() - make_interval(secs => (k.cap ->> 'withinMs')::double precision / 1000)
  ) >= (k.cap ->> 'max')::integer
  order by k.n limit 1
$$;

-- Writes ledger rows, their leads, their flows where they are a hunt's, and the reservation of their credits. Decides what is skipped
-- for a reason that only the database knows: suppressed, duplicate, frequency_cap, no_credit; of a hunt that was cancelled they are
-- cancelled. Rows whose id exists already are left alone; of somebody who was erased neither number nor text is written.
--
-- p_rows: the columns of messages by their names, of which "id", "channel", "queue", "recipient" and "content" are always given, and
-- "skip": a reason that was found before; "caps": as full_cap takes them; "siblings": ids of the contact's messages on all of its
-- channels, of which it gets one.
create function insert_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
-- What is in the rows changes nothing of the plan, and making it takes longer than a small call.
set plan_cache_mode = force_generic_plan
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
    -- offset 0, here and below: for each row by its index. A plan that was made while a table was small would read all of it.
    select i.*, exists (select 1 from suppressions s where s.phone = i.recipient_hash offset 0) as erased,
      exists (select 1 from hunts h where h.id = i.hunt_id and h.cancelled_at is not null offset 0) as cancelled
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
        offset 0
      ) then 'suppressed'
      when i.hunt_id is not null and (
        row_number() over (
          partition by i.hunt_id, i.channel, i.recipient, i.skip is null,
            case when i.hunt_id is null then i.id end
          order by i.n
        ) > 1
        or exists (
          -- offset 0: by the number alone, since the indices of hunts lead through the whole hunt, for each of its contacts.
          select 1 from (select m.hunt_id, m.channel, m.status from messages m where m.recipient = i.recipient offset 0) m
          where m.hunt_id = i.hunt_id and m.channel = i.channel and m.status <> 'skipped'
        )
      ) then 'duplicate'
      -- Most have no message yet, and counting costs as much as all the rest here.
      when case
        when coalesce(jsonb_array_length(i.caps), 0) > 0
          and (i.caps @> '[{"max": 0}]' or exists (select 1 from messages m where m.recipient = i.recipient offset 0))
          then full_cap(i.account_id, i.recipient, i.id, i.caps) is not null
      end then 'frequency_cap'
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

-- Rows as insert_messages takes them, at less cost: its plan, with its credits, caps, flows and leads, took as much as the messages of a
-- dozen callers together. Most messages that are asked for one by one have nothing to be weighed up: those are written as they are. As
-- soon as one of the call has (a hunt, a contact, credits, a cap, a further channel, a number that is to be skipped), all of it is left
-- to insert_messages.
create function insert_plain_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
begin
  -- As in insert_messages.
  perform pg_advisory_xact_lock_shared(20261122, 4);
  if exists (
    select 1
    from jsonb_to_recordset(p_rows) as r (
      account_id text, hunt_id text, ad_id text, copy integer, channel text, recipient text, recipient_hash text, skip text, caps jsonb,
      next jsonb, siblings jsonb, priority integer, variant text, send_at text, zone text
    )
    where r.hunt_id is not null or r.ad_id is not null or r.copy <> 0 or r.skip is not null or r.caps not in ('[]', 'null')
      or r.next is not null or r.siblings is not null or r.priority <> 0 or r.variant is not null or r.send_at is not null
      or r.zone is not null
      -- offset 0: for each row by its index, however small the tables were when this was planned.
      or exists (select 1 from credits c where c.account_id = r.account_id and c.channel = r.channel offset 0)
      or exists (select 1 from suppressions s where s.phone = r.recipient offset 0)
      or exists (select 1 from suppressions s where s.phone = r.recipient_hash offset 0)
  ) then
    perform insert_messages(p_rows);
    return;
  end if;
  insert into messages (
    id, account_id, channel, queue, recipient, sender, content, expires_at, detail, recipient_hash, category
  )
  select r.id, r.account_id, r.channel, r.queue, r.recipient, r.sender, r.content,
    coalesce(r.expires_at, now() + interval '7 days'), r.detail, r.recipient_hash, r.category
  from jsonb_to_recordset(p_rows) as r (
    id uuid, account_id text, channel text, queue text, recipient text, sender text, content jsonb, expires_at timestamptz,
    detail text, recipient_hash text, category text
  )
  on conflict do nothing;
end
$$;

-- Single sends, many in one call: [{"row", "account_stamp"?, "idempotency", "response"?}], rows as insert_messages takes them. Answers in
-- their order {"result": "accepted" | "replay" | "conflict" | "unknown_account" | "suspended_account" | "stale", "response"}.
--
-- "account_stamp": what the caller knew of the row's account when it decided (see account_stamp), empty: that there is none; where it
-- is otherwise now, nothing is written and the answer is {"result": "stale", "account": {…} | null}, with what decides now. An item
-- without "response" is answered without one: whoever asks knows what he would answer.
create function accept_messages(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_plain boolean;
  v_answers jsonb[];
  v_item jsonb;
  v_no integer;
  v_answer jsonb;
  v_rows jsonb;
begin
  -- Nobody has a key, and each account is as it was known and may send: each gets in.
  select bool_and(not x.keyed and (x.account_id is null or (a.status <> 'suspended' and account_stamp(a) = x.stamp)) is true)
  into v_plain
  from (
    select i.item -> 'row' ->> 'account_id' as account_id, i.item ->> 'account_stamp' as stamp,
      coalesce(jsonb_typeof(i.item -> 'idempotency') = 'object', false) as keyed
    from jsonb_array_elements(p_items) as i (item)
    group by 1, 2, 3
  ) x
  left join accounts a on a.id = x.account_id;
  if v_plain then
    perform insert_plain_messages(jsonb_path_query_array(p_items, '$[*].row'));
    return (
      select jsonb_agg(case
        when x.item ? 'response' then jsonb_build_object('result', 'accepted', 'response', x.item -> 'response')
        else '{"result": "accepted"}'
      end)
      from jsonb_array_elements(p_items) as x (item)
    );
  end if;

  -- What does not get in, by its place.
  select array_agg(case
    when x.item -> 'row' ->> 'account_id' is null then null
    when x.item ->> 'account_stamp' <> case when a.id is null then '' else account_stamp(a) end then jsonb_build_object('result', 'stale', 'account',
      case when a.id is not null then jsonb_build_object(
        'id', a.id, 'status', a.status, 'default_country', a.default_country, 'policy', a.policy,
        'consent_declared', a.consent_declared, 'account_stamp', account_stamp(a)
      ) end)
    when a.id is null then '{"result": "unknown_account"}'
    when a.status = 'suspended' then '{"result": "suspended_account"}'
  end order by x.no)
  into v_answers
  from jsonb_array_elements(p_items) with ordinality as x (item, no)
  left join accounts a on a.id = x.item -> 'row' ->> 'account_id';

  -- In the order of the keys, so that two calls never wait for each other.
  for v_item, v_no in
    select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where jsonb_typeof(x.item -> 'idempotency') = 'object'
    order by x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key', x.no
  loop
    v_answer := idempotency_seen(v_item -> 'idempotency');
    if v_answer is null and v_answers[v_no] is null then
      v_answer := idempotency_take(v_item -> 'idempotency', v_item -> 'response');
    end if;
    if v_answer is not null then
      v_answers[v_no] := v_answer;
    end if;
  end loop;

  select jsonb_agg(x.item -> 'row' order by x.no) into v_rows
  from jsonb_array_elements(p_items) with ordinality as x (item, no)
  where v_answers[x.no] is null;
  if v_rows is not null then
    perform insert_plain_messages(v_rows);
  end if;
  return (
    select jsonb_agg(
      coalesce(v_answers[x.no], jsonb_build_object('result', 'accepted', 'response', x.item -> 'response')) order by x.no
    )
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
  );
end
$$;

-- What carries most has a function for a body that is handed on as it is: this one, and accept_hunts_raw, plan_chunk_raw,
-- stage_chunks_raw. PostgREST takes a body apart to find the arguments in it, in a statement that reads all of it once more than the
-- function does; a function's single argument without a name is the body itself.
create function accept_messages_raw(jsonb) returns jsonb
language sql
return accept_messages($1 -> 'p_items');

-- All of it is the service's alone.
revoke all on function full_cap, insert_messages, insert_plain_messages, accept_messages,
  accept_messages_raw from public, anon, authenticated;
grant execute on function full_cap, insert_messages, insert_plain_messages, accept_messages, accept_messages_raw to service_role;
