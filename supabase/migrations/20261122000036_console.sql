-- What the console asks, answered rightly: who must not be contacted, and what can be tried again.

-- A page of the list in the order of its making, after p_after. p_filter: "account_id", "everybody" (true: only what holds for
-- every account), "phones" (a number and its hash). Of an account: what it has on the list itself; with "phones" also what holds
-- for every account, so that an empty answer means that the number is not held back. One value, because rows would be cut off at the
-- API's limit (1000 on Supabase) without a word.
create or replace function list_suppressions(p_filter jsonb, p_after bigint, p_limit integer) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(to_jsonb(x) order by x.id), '[]') from (
    select * from suppressions s
    where s.id > p_after
      and (
        p_filter ->> 'account_id' is null or s.account_id = p_filter ->> 'account_id'
        or (s.account_id is null and p_filter -> 'phones' is not null)
      )
      and (not coalesce((p_filter ->> 'everybody')::boolean, false) or s.account_id is null)
      and (p_filter -> 'phones' is null or s.phone in (select jsonb_array_elements_text(p_filter -> 'phones')))
    order by s.id limit p_limit
  ) x
$$;

-- Queues a failed message again, where that is safe: {"result": "accepted" | "missing" | "not_failed" | "not_safe" | "hunt_over" |
-- "no_credit" | "conflict" | "replay", "status", "response"}. hunt_over: it would only be skipped, and no longer tell why it failed.
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
  if v_message.expires_at <= now()
    or exists (select 1 from hunts h where h.id = v_message.hunt_id and h.cancelled_at is not null) then
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
