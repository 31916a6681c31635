-- What the API reads, and what the sweeper looks for.

-- A submission's hunt with its counts: null when there is no such submission. Contacts that wait to be planned count as
-- queued, so the counts sum to total from the first moment on.
create function hunt_status(p_job_id uuid) returns jsonb
language plpgsql stable
set search_path = public
as $$
declare
  v_hunt hunts;
  v_pending jsonb;
  v_channels jsonb;
  v_times jsonb;
begin
  select h.* into v_hunt from hunt_submissions s join hunts h on h.id = s.hunt_id where s.job_id = p_job_id;
  if not found then
    return null;
  end if;
  select coalesce(jsonb_object_agg(channel, n), '{}') into v_pending
  from (
    select x.contact ->> 'channel' as channel, count(*) as n
    from hunt_submissions s
    join hunt_chunks c on c.job_id = s.job_id and c.planned_at is null
    cross join jsonb_array_elements(c.contacts) as x (contact)
    where s.hunt_id = v_hunt.id
    group by 1
  ) p;
  select coalesce(jsonb_object_agg(channel, counts), '{}') into v_channels
  from (
    select channel, jsonb_object_agg(status, n) as counts
    from (select channel, status, count(*) as n from messages where hunt_id = v_hunt.id group by 1, 2) g
    group by channel
  ) g;
  select jsonb_build_object(
    'startedAt', min(coalesce(attempt_started_at, sent_at)),
    'lastSettledAt', max(settled_at),
    'attempted', count(*) filter (where attempts > 0 and settled_at is not null)
  ) into v_times from messages where hunt_id = v_hunt.id;
  return v_times || jsonb_build_object(
    'huntId', v_hunt.id, 'accountId', v_hunt.account_id, 'createdAt', v_hunt.created_at, 'now', now(),
    'pending', v_pending, 'channels', v_channels
  );
end
$$;

-- Puts a failed message back in the queue where it is proven that nothing was sent. Answers {"result": "accepted" |
-- "replay" | "conflict" | "missing" | "not_failed" | "not_safe" | "no_credit", "status", "response"}.
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

-- Messages that should be in a queue, a page after p_after in the order of planning; the sweeper compares.
create function open_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer
)
language sql stable
set search_path = public
as $$
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, m.content, m.priority, m.account_id,
    m.hunt_id, m.ad_id, greatest(0, ceil(extract(epoch from m.held_until - now()) * 1000))::integer
  from messages m
  where m.settled_at is null and m.status in ('queued', 'sending') and m.seq > p_after
    and m.updated_at < now() - make_interval(secs => p_older_than_ms / 1000.0)
  order by m.seq
  limit p_limit
$$;

-- Accepted submissions that are not planned yet: [{"jobId", "huntId", "chunks": n, "open": [no, …]}].
create function open_submissions(p_older_than_ms integer) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'jobId', s.job_id, 'huntId', s.hunt_id,
    'chunks', (select count(*) from hunt_chunks c where c.job_id = s.job_id),
    'open', (
      select coalesce(jsonb_agg(c.no), '[]') from hunt_chunks c where c.job_id = s.job_id and c.planned_at is null
    )
  )), '[]')
  from hunt_submissions s
  where s.planned_at is null and s.accepted_at < now() - make_interval(secs => p_older_than_ms / 1000.0)
$$;

-- Merges receipts that raced with the recording of their message, and drops what nobody needs any more.
create function tidy() returns void
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
end
$$;

create function ping() returns text language sql stable set search_path = '' as $$ select 'pong' $$;

-- Functions are the service's only: nothing for anon or authenticated.
do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.prokind = 'f'
      and p.proname in (
        'message_may_become', 'check_message_transition', 'lead_stage_rank', 'keep_lead_stage', 'idempotency_seen',
        'idempotency_take', 'account_refusal', 'insert_messages', 'accept_messages', 'stage_chunks',
        'accept_hunt', 'read_chunk', 'plan_chunk', 'finish_submission', 'settle_credits', 'begin_attempts',
        'record_outcomes', 'record_receipts', 'record_reply', 'hunt_status', 'retry_message', 'open_messages',
        'open_submissions', 'tidy', 'ping'
      )
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
