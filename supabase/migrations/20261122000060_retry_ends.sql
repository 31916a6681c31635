-- Who is tried again by hand is so by the end that the hunt has now: what it was prolonged by counts, and what it was cut by.

-- Whether this message would only be skipped, or cancelled, as begin_attempts has it.
create function is_over(p_message messages) returns boolean
language sql stable
set search_path = public
as $$
  select coalesce((
    select h.cancelled_at is not null or case when h.rescheduled_at is null then p_message.expires_at else h.expires_at end <= now()
    from hunts h where h.id = p_message.hunt_id
  ), p_message.expires_at <= now())
$$;

-- As before, by the hunt's end of now.
create or replace function retry_message(p_id uuid, p_idempotency jsonb, p_response jsonb) returns jsonb
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

-- As before, by the hunt's end of now.
create or replace function dead_letters(p_ids jsonb) returns jsonb
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

revoke all on function is_over from public, anon, authenticated;
grant execute on function is_over to service_role;
