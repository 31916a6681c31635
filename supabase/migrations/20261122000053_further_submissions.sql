-- What a further submission says of the hunt itself is not taken over: where it differs it is refused.

-- Which of these a submission gives otherwise than its hunt has them: "expiresAt", "priority", "windows". What it does not give is as
-- the hunt has it.
create function hunt_differences(p_hunt hunts, p_given jsonb) returns jsonb
language sql immutable
set search_path = public
as $$
  select coalesce(jsonb_agg(f.name order by f.name), '[]')
  from (values
    -- Callers are told milliseconds, and may say them again.
    ('expiresAt', date_trunc('milliseconds', (p_given ->> 'expires_at')::timestamptz) <> date_trunc('milliseconds', p_hunt.expires_at)),
    ('priority', p_given ->> 'priority' <> p_hunt.priority),
    -- Until when they are spread follows from expiresAt.
    ('windows', nullif(p_given -> 'windows', 'null') is not null
      and (nullif(p_given -> 'windows', 'null') - 'until') is distinct from (p_hunt.windows - 'until'))
  ) as f (name, differs)
  where f.differs
$$;

-- As before; a further submission that gives expires_at, priority or windows otherwise than the hunt has them is refused:
-- {"result": "differs", "fields": those}, and so is one of a hunt that has ended. What is refused makes no hunt. p_hunt: also "default_expires_at"?: of a hunt that has no expires_at.
create or replace function accept_hunt(
  p_hunt jsonb, p_job_id uuid, p_contacts integer, p_chunks jsonb, p_idempotency jsonb, p_response jsonb
) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_refusal text;
  v_hunt hunts;
  v_differences jsonb;
  v_new boolean;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_refusal := account_refusal(p_hunt ->> 'account_id');
  if v_refusal is not null then
    return jsonb_build_object('result', v_refusal);
  end if;
  insert into hunts (id, account_id, priority, expires_at, windows)
  values (
    p_hunt ->> 'id', p_hunt ->> 'account_id', coalesce(p_hunt ->> 'priority', 'normal'),
    coalesce((p_hunt ->> 'expires_at')::timestamptz, (p_hunt ->> 'default_expires_at')::timestamptz, now() + interval '7 days'),
    nullif(p_hunt -> 'windows', 'null')
  )
  on conflict (id) do nothing;
  v_new := found;
  select * into v_hunt from hunts where id = p_hunt ->> 'id';
  v_differences := hunt_differences(v_hunt, p_hunt);
  v_refusal := case
    when v_hunt.account_id <> p_hunt ->> 'account_id' then 'other_account'
    when v_hunt.cancelled_at is not null then 'cancelled_hunt'
    when v_differences <> '[]' then 'differs'
    when greatest((p_hunt ->> 'send_at')::timestamptz, (p_hunt ->> 'last_send_at')::timestamptz) >= v_hunt.expires_at
      then 'sends_too_late'
    when v_hunt.expires_at <= now() then 'ended'
  end;
  -- Whoever said the same before has had their answer above: what was accepted goes on.
  if v_refusal is null and exists (
    select 1 from templates t
    where t.id in (select value::uuid from jsonb_array_elements_text(p_hunt -> 'template_ids')) and t.archived_at is not null
    for share
  ) then
    v_refusal := 'archived_template';
  end if;
  if v_refusal is null then
    v_answer := idempotency_take(p_idempotency, p_response);
  else
    v_answer := jsonb_build_object('result', v_refusal)
      || case when v_refusal = 'differs' then jsonb_build_object('fields', v_differences) else '{}' end;
  end if;
  if v_answer is not null then
    -- What was not accepted says nothing of the hunt: who mends it may say otherwise.
    if v_new then
      delete from hunts where id = v_hunt.id;
    end if;
    return v_answer;
  end if;
  perform stage_chunks(p_job_id, p_chunks);
  -- What came with this very call is there.
  if jsonb_array_length(p_chunks -> 0 -> 'contacts') is distinct from p_contacts then
    -- Whoever discards it has done so, or finds it accepted.
    perform pg_advisory_xact_lock(hashtextextended(p_job_id::text, 6));
    if (select coalesce(sum(c.size), 0) from hunt_chunks c where c.job_id = p_job_id) <> p_contacts then
      raise exception 'submission % has lost some of what was staged', p_job_id;
    end if;
  end if;
  insert into hunt_submissions (job_id, hunt_id, contacts, content, send_at)
  values (p_job_id, p_hunt ->> 'id', p_contacts, nullif(p_hunt -> 'content', 'null'), (p_hunt ->> 'send_at')::timestamptz)
  on conflict do nothing;
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- The hunt that a submission would be of, as far as it decides about it: {"accountId", "cancelled", "expiresAt", "windows",
-- "differences"}; null: it would be the first.
create function preview_hunt(p_hunt jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'accountId', h.account_id, 'cancelled', h.cancelled_at is not null, 'expiresAt', h.expires_at, 'windows', h.windows,
    'differences', hunt_differences(h, p_hunt)
  )
  from hunts h where h.id = p_hunt ->> 'id'
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace and p.proname in ('hunt_differences', 'preview_hunt')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
