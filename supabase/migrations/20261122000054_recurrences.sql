-- As before; a template that was archived keeps it from being accepted, as it does a hunt. p_recurrence: also "template_ids".
create or replace function accept_recurrence(p_recurrence jsonb, p_contacts integer, p_idempotency jsonb, p_response jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_refusal text;
  v_id uuid := (p_recurrence ->> 'id')::uuid;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_refusal := account_refusal(p_recurrence ->> 'account_id');
  if v_refusal is not null then
    return jsonb_build_object('result', v_refusal);
  end if;
  -- Whoever said the same before has had their answer above.
  if exists (
    select 1 from templates t
    where t.id in (select value::uuid from jsonb_array_elements_text(p_recurrence -> 'template_ids')) and t.archived_at is not null
    for share
  ) then
    return jsonb_build_object('result', 'archived_template');
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  -- Whoever discards them has done so, or finds it accepted.
  perform pg_advisory_xact_lock(hashtextextended(v_id::text, 6));
  if (select coalesce(sum(c.size), 0) from hunt_chunks c where c.job_id = v_id) <> p_contacts then
    raise exception 'recurrence % has lost some of what was staged', v_id;
  end if;
  insert into recurrences (id, account_id, name, pattern, time_zone, until, count, hunt, contacts)
  select r.*, p_contacts from jsonb_to_record(p_recurrence) as r (
    id uuid, account_id text, name text, pattern text, time_zone text, until timestamptz, count integer, hunt jsonb
  );
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- last_hunt_id: the hunt of the last run that has one; none has that of an account that may not send.
alter table recurrences add column last_hunt_id text;
update recurrences r set last_hunt_id = h.id
from hunts h
where r.runs > 0 and h.account_id = r.account_id
  and h.id = r.id || ':' || to_char(r.last_run_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');

-- As before; says which hunt was the last.
create or replace function run_recurrence(p_id uuid, p_at timestamptz, p_job_id uuid) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_recurrence recurrences;
  v_hunt_id text := p_id || ':' || to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"');
  v_expires_at timestamptz;
  v_windows jsonb;
begin
  select * into v_recurrence from recurrences where id = p_id for update;
  if not found or v_recurrence.paused_at is not null or p_at > v_recurrence.until or v_recurrence.runs >= v_recurrence.count
    or p_at <= v_recurrence.last_run_at
    -- One that was begun late stands for all that were missed until then.
    or p_at <= v_recurrence.begun_at or p_at < v_recurrence.since
  then
    return null;
  end if;
  update recurrences set last_run_at = p_at, begun_at = now() where id = p_id;
  if account_refusal(v_recurrence.account_id) is not null then
    return null;
  end if;
  v_expires_at := now() + make_interval(secs => coalesce((v_recurrence.hunt ->> 'expiresAfterSeconds')::integer, 604800));
  v_windows := nullif(v_recurrence.hunt -> 'windows', 'null');
  if v_recurrence.hunt ->> 'expiresAfterSeconds' is not null then
    v_windows := v_windows || jsonb_build_object('until', v_expires_at);
  end if;
  insert into hunts (id, account_id, priority, expires_at, windows)
  values (v_hunt_id, v_recurrence.account_id, v_recurrence.hunt ->> 'priority', v_expires_at, v_windows)
  on conflict (id) do nothing;
  -- Somebody has made a hunt of that name: it is theirs.
  if not found then
    return null;
  end if;
  insert into hunt_chunks (job_id, no, size, contacts)
  select p_job_id, c.no, c.size, c.contacts from hunt_chunks c where c.job_id = p_id;
  insert into hunt_submissions (job_id, hunt_id, contacts, content)
  values (p_job_id, v_hunt_id, v_recurrence.contacts, nullif(v_recurrence.hunt -> 'content', 'null'));
  update recurrences set runs = runs + 1, last_hunt_id = v_hunt_id where id = p_id;
  return jsonb_build_object('huntId', v_hunt_id, 'chunks', (select count(*) from hunt_chunks c where c.job_id = p_job_id));
end
$$;
