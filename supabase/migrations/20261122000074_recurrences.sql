-- Hunts that come again: what one says, to whom, and when. Its contacts are staged as a submission's are, under its own id, so that
-- an erasure finds them; each run is a submission with a copy of them.

create table recurrences (
  id uuid primary key,
  account_id text not null references accounts (id),
  name text not null,
  pattern text not null,
  time_zone text not null,
  until timestamptz,
  -- Runs at the most.
  count integer,
  -- {"priority", "content"?, "windows"?, "expiresAfterSeconds"?: of each run}.
  hunt jsonb not null,
  contacts integer not null,
  runs integer not null default 0,
  -- For when the last one was planned; begun_at: when it was; since: no run from before it is made up for.
  last_run_at timestamptz,
  begun_at timestamptz,
  since timestamptz not null default now(),
  paused_at timestamptz,
  created_at timestamptz not null default now(),
  -- The hunt of the last run that has one; none has that of an account that may not send.
  last_hunt_id text,
  -- Its contacts are its chunks from this one on, up to a thousand. Others are staged beside them, under its own id too, so that an
  -- erasure finds each where it stays.
  first_chunk integer not null default 0
);
create index recurrences_account on recurrences (account_id, id);

-- p_recurrence: {"id", "account_id", "name", "pattern", "time_zone", "until", "count", "hunt", "template_ids"}; its contacts are staged,
-- p_contacts many. Answers {"result": "accepted" | "replay", "response"}, or {"result": "conflict" | "unknown_account" |
-- "suspended_account" | "archived_template"}: such a template keeps it from being accepted, as it does a hunt.
create function accept_recurrence(p_recurrence jsonb, p_contacts integer, p_idempotency jsonb, p_response jsonb) returns jsonb
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

-- What p_changes says of {"name", "pattern", "time_zone", "until", "count", "hunt"}: of the last, field by field, null takes one
-- away. p_first_chunk: its contacts are those that are staged there, p_contacts many; null: they stay. "template_ids": whichever is
-- archived keeps it from being changed; "uncovered": channels over which nobody who has no message of their own would be told anything.
-- Answers {"result": "done" | "missing" | "archived_template" | "wordless", "moved": whether it comes at other times, or again}.
create function change_recurrence(
  p_id uuid, p_account_id text, p_changes jsonb, p_first_chunk integer, p_contacts integer
) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_old recurrences;
  v_new recurrences;
  v_hunt jsonb;
  v_comes boolean;
begin
  select * into v_old from recurrences where id = p_id and account_id = p_account_id for update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  if exists (
    select 1 from templates t
    where t.id in (select value::uuid from jsonb_array_elements_text(p_changes -> 'template_ids')) and t.archived_at is not null
    for share
  ) then
    return jsonb_build_object('result', 'archived_template');
  end if;
  if p_first_chunk is null and exists (
    select 1 from hunt_chunks c cross join jsonb_array_elements(c.contacts) as x (contact)
    where c.job_id = p_id and c.no between v_old.first_chunk and v_old.first_chunk + 999
      and x.contact ->> 'message' is null and x.contact ->> 'audioUrl' is null and x.contact -> 'erased' is null
      and (p_changes -> 'uncovered' ? (x.contact ->> 'channel') or exists (
        select 1 from jsonb_array_elements_text(x.contact -> 'next') as n (channel) where p_changes -> 'uncovered' ? n.channel
      ))
  ) then
    return jsonb_build_object('result', 'wordless');
  end if;

  v_new := v_old;
  v_new.name := coalesce(p_changes ->> 'name', v_old.name);
  v_new.pattern := coalesce(p_changes ->> 'pattern', v_old.pattern);
  v_new.time_zone := coalesce(p_changes ->> 'time_zone', v_old.time_zone);
  if p_changes ? 'until' then
    v_new.until := (p_changes ->> 'until')::timestamptz;
  end if;
  if p_changes ? 'count' then
    v_new.count := (p_changes ->> 'count')::integer;
  end if;
  v_hunt := v_old.hunt || coalesce(p_changes -> 'hunt', '{}');
  v_new.hunt := coalesce((select jsonb_object_agg(h.key, h.value) from jsonb_each(v_hunt) h where h.value <> 'null'), '{}');

  v_comes := v_new.pattern <> v_old.pattern or v_new.time_zone <> v_old.time_zone;
  -- No run is made up for that was none, or that came when it was over.
  if v_comes or v_old.until <= now() or v_old.runs >= v_old.count then
    v_new.since := now();
  end if;
  if p_first_chunk is not null then
    if (
      select coalesce(sum(c.size), 0) from hunt_chunks c
      where c.job_id = p_id and c.no between p_first_chunk and p_first_chunk + 999
    ) <> p_contacts then
      raise exception 'recurrence % has lost some of what was staged', p_id;
    end if;
    v_new.first_chunk := p_first_chunk;
    v_new.contacts := p_contacts;
    delete from hunt_chunks c where c.job_id = p_id and c.no between v_old.first_chunk and v_old.first_chunk + 999;
  end if;
  update recurrences set
    name = v_new.name, pattern = v_new.pattern, time_zone = v_new.time_zone, until = v_new.until, count = v_new.count,
    hunt = v_new.hunt, since = v_new.since, first_chunk = v_new.first_chunk, contacts = v_new.contacts
  where id = p_id;
  return jsonb_build_object(
    'result', 'done',
    'moved', v_comes or v_new.until is distinct from v_old.until or v_new.since <> v_old.since
  );
end
$$;

-- Takes out what a change has staged that did not come to be.
create function unstage_change(p_id uuid, p_first_chunk integer) returns void
language plpgsql
set search_path = public
as $$
begin
  -- A change whose answer was lost may still be under way.
  perform 1 from recurrences where id = p_id for update;
  delete from hunt_chunks c
  where c.job_id = p_id and c.no between p_first_chunk and p_first_chunk + 999
    and not exists (select 1 from recurrences r where r.id = p_id and r.first_chunk = p_first_chunk);
end
$$;

-- The run of a time, as a submission of a hunt of its own, "<recurrence>:<time>", once, with the contacts that it has now. Answers
-- {"huntId", "chunks"}, or null where there is none: it has run, is paused, over or gone, or its account may not send.
create function run_recurrence(p_id uuid, p_at timestamptz, p_job_id uuid) returns jsonb
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
  -- Staged by a change that never came to its end.
  delete from hunt_chunks c
  where c.job_id = p_id and c.created_at < now() - interval '1 hour'
    and c.no not between v_recurrence.first_chunk and v_recurrence.first_chunk + 999;
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
  select p_job_id, c.no - v_recurrence.first_chunk, c.size, c.contacts from hunt_chunks c
  where c.job_id = p_id and c.no between v_recurrence.first_chunk and v_recurrence.first_chunk + 999;
  insert into hunt_submissions (job_id, hunt_id, contacts, content)
  values (p_job_id, v_hunt_id, v_recurrence.contacts, nullif(v_recurrence.hunt -> 'content', 'null'));
  update recurrences set runs = runs + 1, last_hunt_id = v_hunt_id where id = p_id;
  return jsonb_build_object('huntId', v_hunt_id, 'chunks', (select count(*) from hunt_chunks c where c.job_id = p_job_id));
end
$$;

-- Ends a recurrence for good; its hunts go on. Answers whether there was one.
create function delete_recurrence(p_id uuid, p_account_id text) returns boolean
language plpgsql
set search_path = public
as $$
begin
  delete from recurrences where id = p_id and account_id = p_account_id;
  if not found then
    return false;
  end if;
  delete from hunt_chunks where job_id = p_id;
  return true;
end
$$;

-- All of it is the service's alone.
alter table recurrences enable row level security;
revoke all on recurrences from public, anon, authenticated;
grant all on recurrences to service_role;
revoke all on function accept_recurrence, change_recurrence, unstage_change, run_recurrence,
  delete_recurrence from public, anon, authenticated;
grant execute on function accept_recurrence, change_recurrence, unstage_change, run_recurrence, delete_recurrence to service_role;
