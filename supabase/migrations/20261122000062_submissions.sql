-- Submissions of hunts: staged, accepted one by one, read, looked at before and ended. Many at once: …_accepting.sql; a chunk planned:
-- …_planning.sql.

-- Puts part of a big submission in place before it is accepted, so that no single request carries all of it: [{"no", "contacts"}].
create function stage_chunks(p_job_id uuid, p_chunks jsonb) returns void
language sql
set search_path = public
as $$
  insert into hunt_chunks (job_id, no, size, contacts)
  select p_job_id, c.no, jsonb_array_length(c.contacts), c.contacts
  from jsonb_to_recordset(p_chunks) as c (no integer, contacts jsonb)
  on conflict do nothing
$$;

-- See accept_messages_raw.
create function stage_chunks_raw(jsonb) returns void
language sql
return stage_chunks(($1 ->> 'p_job_id')::uuid, $1 -> 'p_chunks');

-- Takes out what was staged for a submission that was not accepted. Recurrences' contacts are staged for as long as they are there.
create function discard_chunks(p_job_id uuid) returns void
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

-- Makes a submission, with its last chunks ([{"no", "contacts"}]), the hunt's own. p_hunt: {"id", "account_id", "priority"?,
-- "expires_at"?, "default_expires_at"?: of a hunt that has no expires_at, "content", "template_ids", "send_at"?, "last_send_at"?: of its
-- contacts, "windows"?: those of the first submission are the hunt's}.
--
-- Answers {"result": "accepted" | "replay", "response"}, or why it is refused, and then it makes no hunt: {"result": "conflict" |
-- "unknown_account" | "suspended_account" | "other_account" | "cancelled_hunt" | "sends_too_late" (a time after the hunt's end) |
-- "ended" | "archived_template"}, or {"result": "differs", "fields"}, see hunt_differences.
create function accept_hunt(
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

-- What a plan job needs: {"huntId", "accountId", "priority", "expiresAt", "defaultCountry", "policy", "consentDeclared", "contacts" (null
-- once the submission is planned), "content", "sendAt", "windows"}.
create function read_chunk(p_job_id uuid, p_no integer) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'huntId', h.id, 'accountId', h.account_id, 'priority', h.priority, 'expiresAt', h.expires_at,
    'defaultCountry', a.default_country, 'policy', a.policy,
    'consentDeclared', a.consent_declared, 'contacts', c.contacts, 'content', s.content,
    'sendAt', s.send_at, 'windows', h.windows
  )
  from hunt_submissions s
  join hunts h on h.id = s.hunt_id
  join accounts a on a.id = h.account_id
  join hunt_chunks c on c.job_id = s.job_id and c.no = p_no
  where s.job_id = p_job_id
$$;

-- Whoever has several channels has one way through them in a hunt, in whichever chunk or submission their number comes again.
-- These rows, with those that are left out whose number the hunt has over one of their "channels" already: they are skipped as
-- duplicates. The caller holds the hunt's lock, so that no other chunk is being planned.
create function one_way(p_hunt_id text, p_rows jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_taken uuid[];
begin
  if not p_rows @? '$[*].channels' then
    return p_rows;
  end if;
  select array_agg(r.id) into v_taken
  from jsonb_to_recordset(p_rows) as r (id uuid, recipient text, skip text, channels text[])
  where r.skip is null and r.channels is not null and exists (
    -- offset 0: by the number, since an index of hunts would lead through the whole hunt.
    select 1 from (select m.* from messages m where m.recipient = r.recipient offset 0) m
    where m.hunt_id = p_hunt_id and m.channel = any (r.channels) and m.status <> 'skipped'
  );
  if v_taken is null then
    return p_rows;
  end if;
  return (
    select jsonb_agg(
      case when (r.value ->> 'id')::uuid = any (v_taken) then r.value - 'next' || jsonb_build_object(
        'skip', 'duplicate', 'detail', 'The hunt contacts this number over these channels already.'
      ) else r.value end
      order by r.n
    )
    from jsonb_array_elements(p_rows) with ordinality as r (value, n)
  );
end
$$;

-- Every chunk is planned: the contacts are in the ledger now, drop the copy.
create function finish_submission(p_job_id uuid) returns void
language plpgsql
set search_path = public
as $$
begin
  update hunt_submissions s set planned_at = coalesce(s.planned_at, now())
  where s.job_id = p_job_id
    and not exists (select 1 from hunt_chunks c where c.job_id = p_job_id and c.planned_at is null);
  if found then
    update hunt_chunks set contacts = null where job_id = p_job_id and contacts is not null;
  end if;
end
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

-- The hunt that a submission would be of, as far as it decides about it: {"accountId", "cancelled", "expiresAt", "windows",
-- "differences"}; null: it would be the first. p_hunt: as accept_hunt takes it.
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

-- What planning would find about these messages, without writing anything: [{"id", "account_id", "hunt_id", "channel",
-- "recipient", "recipient_hash", "caps", "siblings", "channels"}] → for each in its order null or {"reason", "detail"}. planned: the hunt
-- has it, or its contact on another channel; erased: so was the person; else suppressed, duplicate, frequency_cap. "channels": all of a
-- contact who has several, of whom the hunt may have the number over any.
create function preview_messages(p_rows jsonb) returns jsonb
language sql stable
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
  select coalesce(jsonb_agg(
    case when j.reason is not null then jsonb_build_object('reason', j.reason, 'detail', case j.reason
      when 'frequency_cap' then full_cap(j.account_id, j.recipient, j.id, j.caps)
    end) end
    order by j.n
  ), '[]')
  from (
    select r.*, case
      when exists (select 1 from messages m where m.id = r.id)
        or exists (select 1 from messages m where m.id = any (r.siblings) and m.status <> 'skipped') then 'planned'
      when exists (select 1 from suppressions s where s.phone = r.recipient_hash) then 'erased'
      when exists (
        select 1 from suppressions s
        where s.phone = r.recipient and (s.account_id is null or s.account_id = r.account_id)
      ) then 'suppressed'
      when exists (
        select 1 from (select m.* from messages m where m.recipient = r.recipient offset 0) m
        where m.hunt_id = r.hunt_id and m.channel = any (array_append(r.channels, r.channel)) and m.status <> 'skipped'
      ) then 'duplicate'
      when jsonb_array_length(r.caps) > 0 and full_cap(r.account_id, r.recipient, r.id, r.caps) is not null
        then 'frequency_cap'
    end as reason
    from rows from (jsonb_to_recordset(p_rows) as (
      id uuid, account_id text, hunt_id text, channel text, recipient text, recipient_hash text, caps jsonb, siblings uuid[],
      channels text[]
    )) with ordinality as r (id, account_id, hunt_id, channel, recipient, recipient_hash, caps, siblings, channels, n)
  ) j
$$;

-- All of it is the service's alone.
revoke all on function stage_chunks, stage_chunks_raw, discard_chunks, hunt_differences, accept_hunt, read_chunk, one_way,
  finish_submission, open_submissions, preview_hunt, preview_messages from public, anon, authenticated;
grant execute on function stage_chunks, stage_chunks_raw, discard_chunks, hunt_differences, accept_hunt, read_chunk, one_way,
  finish_submission, open_submissions, preview_hunt, preview_messages to service_role;
