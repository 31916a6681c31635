-- Failed jobs and their messages: which can be tried again, and trying many of them at once.

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
      when m.expires_at <= now()
        or exists (select 1 from hunts h where h.id = m.hunt_id and h.cancelled_at is not null) then 'hunt_over'
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

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in ('dead_letters', 'retry_messages')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
