-- What a machine cannot decide: messages of unknown fate, a database that was set back, and failed messages that a person tries again.

-- Counts up while the service runs, and is copied to Redis each time: a copy that is greater than the original tells that
-- this database was restored from a backup.
create table epoch (
  one boolean primary key default true check (one),
  value bigint not null default 1,
  -- When the ledger was last found to be a restored backup: of messages from before nobody knows what has followed them.
  adopted_at timestamptz
);
insert into epoch default values;

-- One step on; answers the new value.
create function next_epoch() returns bigint
language sql
set search_path = public
as $$ update epoch set value = value + 1 returning value $$;

-- A queued or sending message may have been sent without this database knowing.
create function doubt(p_id uuid) returns void
language plpgsql
set search_path = public
as $$
begin
  update messages set
    status = 'unknown', code = 'database_restored', claim = null, settled_at = now(), updated_at = now(),
    detail = 'The database was restored from a backup: it may have been sent since. It is not sent again by itself.'
  where id = p_id and status in ('queued', 'sending');
  if found then
    insert into message_events (message_id, kind, code) values (p_id, 'unknown', 'database_restored');
  end if;
end
$$;

-- Deals with a database that is older than p_epoch, and notes when: all that it believes to be open becomes unknown, what is not planned
-- yet as soon as it is. Answers how many messages, or null when it is not older.
create function adopt_epoch(p_epoch bigint) returns integer
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

-- A person knows (or decides) what became of a message of unknown fate: p_as is sent, not_sent or resend. Answers
-- {"result": "accepted" | "replay" | "conflict" | "missing" | "not_unknown", "status", "response"}.
create function resolve_message(p_id uuid, p_as text, p_idempotency jsonb, p_response jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb;
  v_message messages;
begin
  select * into v_message from messages where id = p_id for update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  v_answer := idempotency_seen(p_idempotency);
  if v_answer is not null then
    return v_answer;
  end if;
  if v_message.status <> 'unknown' then
    return jsonb_build_object('result', 'not_unknown', 'status', v_message.status);
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  update messages set
    status = case p_as when 'sent' then 'sent' when 'not_sent' then 'failed' else 'queued' end,
    code = case p_as when 'not_sent' then 'resolved_not_sent' end,
    detail = case p_as when 'not_sent' then 'A person found that it was not sent.' end,
    retryable = p_as = 'not_sent',
    attempt_id = case p_as when 'resend' then null else attempt_id end,
    held_until = null,
    credit = case
      when credit <> 'reserved' or p_as = 'resend' then credit
      when p_as = 'sent' then 'spent'
      else 'released'
    end,
    sent_at = case p_as when 'sent' then coalesce(attempt_started_at, now()) else sent_at end,
    settled_at = case p_as when 'resend' then null else now() end,
    updated_at = now()
  where id = p_id;
  if v_message.credit = 'reserved' and p_as <> 'resend' then
    perform settle_credits(jsonb_build_array(jsonb_build_object(
      'account_id', v_message.account_id, 'channel', v_message.channel,
      'spent', case p_as when 'sent' then 1 else 0 end, 'released', case p_as when 'sent' then 0 else 1 end
    )));
  end if;
  if p_as = 'sent' then
    update leads set stage = 'contacted', contacted_at = coalesce(contacted_at, v_message.attempt_started_at, now())
    where account_id = v_message.account_id and ad_id = v_message.ad_id and stage = 'new';
  end if;
  insert into message_events (message_id, kind, code) values (p_id, 'resolved', p_as);
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- Whether this message would only be skipped, or cancelled, as begin_attempts has it: by the end that its hunt has now. What it was
-- prolonged by counts, and what it was cut by.
create function is_over(p_message messages) returns boolean
language sql stable
set search_path = public
as $$
  select coalesce((
    select h.cancelled_at is not null or case when h.rescheduled_at is null then p_message.expires_at else h.expires_at end <= now()
    from hunts h where h.id = p_message.hunt_id
  ), p_message.expires_at <= now())
$$;

-- Queues a failed message again, where that is safe: {"result": "accepted" | "missing" | "not_failed" | "not_safe" | "hunt_over" |
-- "no_credit" | "conflict" | "replay", "status", "response"}. not_safe: nothing proves that it was not sent; hunt_over: it would only be
-- skipped (see is_over), and no longer tell why it failed.
create function retry_message(p_id uuid, p_idempotency jsonb, p_response jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_message messages;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  select * into v_message from messages where id = p_id for update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  -- The same request may have held the row until now.
  v_answer := idempotency_seen(p_idempotency);
  if v_answer is not null then
    return v_answer;
  end if;
  if v_message.status <> 'failed' then
    return jsonb_build_object('result', 'not_failed', 'status', v_message.status);
  end if;
  if not v_message.retryable then
    return jsonb_build_object('result', 'not_safe', 'status', v_message.status);
  end if;
  if is_over(v_message) then
    return jsonb_build_object('result', 'hunt_over', 'status', v_message.status);
  end if;
  if v_message.credit = 'released' then
    update credits set balance = balance - 1, reserved = reserved + 1
    where account_id = v_message.account_id and channel = v_message.channel and balance > 0;
    if not found then
      return jsonb_build_object('result', 'no_credit', 'status', v_message.status);
    end if;
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    -- The same request won the race: undo the reservation with everything else.
    raise exception 'idempotency key taken meanwhile' using errcode = 'serialization_failure';
  end if;
  update messages set
    status = 'queued', code = null, detail = null, settled_at = null, attempt_id = null, held_until = null,
    credit = case credit when 'released' then 'reserved' else credit end, updated_at = now()
  where id = p_id;
  insert into message_events (message_id, kind) values (p_id, 'requeued');
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- retry_message for each of p_ids, all or none of them: [{"id", "result", "status"}].
create function retry_messages(p_ids jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_id uuid;
  v_answers jsonb := '[]';
begin
  -- In the order in which everybody else locks them: messages, then credits.
  perform 1 from messages m
  where m.id in (select x.id::uuid from jsonb_array_elements_text(p_ids) as x (id))
  order by m.id for update;
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select m.account_id, m.channel from jsonb_array_elements_text(p_ids) as x (id)
    cross join lateral (select m.* from messages m where m.id = x.id::uuid offset 0) m
    where m.credit = 'released'
  )
  order by c.account_id, c.channel for update;
  -- In the order given: where the credit is short, who comes first is tried.
  for v_id in select x.id::uuid from jsonb_array_elements_text(p_ids) with ordinality as x (id, no) order by x.no loop
    v_answers := v_answers || jsonb_build_array(
      (retry_message(v_id, null, '{}') - 'response') || jsonb_build_object('id', v_id)
    );
  end loop;
  return v_answers;
end
$$;

-- What retry_message would answer to each of p_ids now, without doing it: [{"id", "status", "code", "detail", "channel", "queue",
-- "account_id", "hunt_id", "result": "accepted" | "not_failed" | "not_safe" | "hunt_over" | "no_credit"}].
-- Unknown ones are left out.
create function dead_letters(p_ids jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'id', m.id, 'status', m.status, 'code', m.code, 'detail', m.detail, 'channel', m.channel,
    'queue', m.queue, 'account_id', m.account_id, 'hunt_id', m.hunt_id,
    'result', case
      when m.status <> 'failed' then 'not_failed'
      when not m.retryable then 'not_safe'
      when is_over(m) then 'hunt_over'
      when m.credit = 'released' and not exists (
        select 1 from credits c where c.account_id = m.account_id and c.channel = m.channel and c.balance > 0
      ) then 'no_credit'
      else 'accepted'
    end
  )), '[]')
  from jsonb_array_elements_text(p_ids) as x (id)
  -- offset 0: by the key, however many there are.
  cross join lateral (select m.* from messages m where m.id = x.id::uuid offset 0) m
$$;

-- All of it is the service's alone.
alter table epoch enable row level security;
revoke all on epoch from public, anon, authenticated;
grant all on epoch to service_role;
revoke all on function next_epoch, doubt, adopt_epoch, resolve_message, is_over, retry_message, retry_messages,
  dead_letters from public, anon, authenticated;
grant execute on function next_epoch, doubt, adopt_epoch, resolve_message, is_over, retry_message, retry_messages,
  dead_letters to service_role;
