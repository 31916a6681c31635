-- What nobody can tell by itself: messages of unknown fate, and a database that was set back.

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

-- One step on; answers the new value.
create function next_epoch() returns bigint
language sql
set search_path = public
as $$ update epoch set value = value + 1 returning value $$;

-- Deals with a database that is older than p_epoch: all that it believes to be open becomes unknown, what is not planned
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
  update hunt_submissions set suspect = true where planned_at is null;
  select count(doubt(m.id))::integer into v_doubted from messages m
  where m.settled_at is null and m.status in ('queued', 'sending');
  update epoch set value = p_epoch + 1;
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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('doubt', 'next_epoch', 'adopt_epoch', 'resolve_message')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
