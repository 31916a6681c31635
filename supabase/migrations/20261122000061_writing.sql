-- How single messages come into the ledger, and how much somebody has been sent; insert_messages, which all go by, is in …_planning.sql.

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
revoke all on function full_cap, insert_plain_messages, accept_messages,
  accept_messages_raw from public, anon, authenticated;
grant execute on function full_cap, insert_plain_messages, accept_messages, accept_messages_raw to service_role;
