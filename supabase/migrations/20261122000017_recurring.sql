-- Hunts that come again: what one says, to whom, and when. Its contacts are staged as a submission's are, under its own id, so that
-- an erasure finds them; each run is a submission with a copy of them.

-- hunt: {"priority", "content"?, "windows"?, "expiresAfterSeconds"?: of each run}. count: runs at the most; last_run_at: for
-- when the last one was planned, begun_at: when it was; since: no run from before it is made up for.
create table recurrences (
  id uuid primary key,
  account_id text not null references accounts (id),
  name text not null,
  pattern text not null,
  time_zone text not null,
  until timestamptz,
  count integer,
  hunt jsonb not null,
  contacts integer not null,
  runs integer not null default 0,
  last_run_at timestamptz,
  begun_at timestamptz,
  since timestamptz not null default now(),
  paused_at timestamptz,
  created_at timestamptz not null default now()
);
create index recurrences_account on recurrences (account_id, id);
alter table recurrences enable row level security;
revoke all on recurrences from public, anon, authenticated;
grant all on recurrences to service_role;

-- p_recurrence: {"id", "account_id", "name", "pattern", "time_zone", "until", "count", "hunt"}; its contacts are staged.
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

-- The run of a time, as a submission of a hunt of its own, "<recurrence>:<time>", once. Answers {"huntId", "chunks"}, or null
-- where there is none: it has run, is paused, over or gone, or its account may not send.
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
  update recurrences set runs = runs + 1 where id = p_id;
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

-- As before; recurrences' contacts are staged for as long as they are there.
create or replace function discard_chunks(p_job_id uuid) returns void
language plpgsql
set search_path = public
as $$
begin
  -- See accept_hunt: an acceptance whose answer was lost may still be under way.
  perform pg_advisory_xact_lock(hashtextextended(p_job_id::text, 6));
  delete from hunt_chunks c
  where c.job_id = p_job_id and not exists (select 1 from hunt_submissions s where s.job_id = p_job_id)
    and not exists (select 1 from recurrences r where r.id = p_job_id);
end
$$;

-- As before.
create or replace function tidy() returns void
language plpgsql
set search_path = public
as $$
declare
  v_receipts jsonb;
begin
  with matched as (
    delete from pending_receipts p using messages m
    where m.provider = p.provider and m.provider_message_id = p.provider_message_id
      and m.status not in ('queued', 'sending')
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
    and not exists (select 1 from hunt_submissions s where s.job_id = c.job_id)
    and not exists (select 1 from recurrences r where r.id = c.job_id);
  delete from media where created_at < now() - interval '8 days';
  -- A phone that was off for so long does not ask again for what it could not decrypt.
  delete from whatsapp_sent where created_at < now() - interval '30 days';
  -- Flows that have nothing left to give: what comes later makes a new one.
  delete from flows f
  where f.fed_seq >= f.last_seq
    and not exists (select 1 from messages m where m.hunt_id = f.hunt_id and m.settled_at is null);
  delete from limit_counters where next_at < now() - interval '3 days';
end
$$;

-- As before, and those of recurrences.
create or replace function contacts_like(p_phone text) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(jsonb_build_object(
    'jobId', c.job_id, 'no', c.no, 'place', x.place - 1, 'phone', x.phone, 'country', a.default_country
  )), '[]')
  from hunt_chunks c
  cross join lateral (
    select e.contact ->> 'recipientPhone' as phone, e.place
    from jsonb_array_elements(c.contacts) with ordinality as e (contact, place)
  ) x
  left join hunt_submissions s on s.job_id = c.job_id
  left join hunts h on h.id = s.hunt_id
  left join recurrences r on r.id = c.job_id
  left join accounts a on a.id = coalesce(h.account_id, r.account_id)
  where c.contacts is not null
    and (regexp_replace(x.phone, '[^0-9]', '', 'g') like '%' || right(p_phone, 4) or x.phone ~ '[^ -~]')
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('accept_recurrence', 'run_recurrence', 'delete_recurrence')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
