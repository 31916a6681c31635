-- From an accepted request to ledger rows: submissions of hunts are staged, accepted, and planned a chunk at a time.

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

-- Accepts several submissions in one call, each by itself: a refusal of one concerns no other. p_items: a list of accept_hunt's
-- arguments. Answers theirs, in the same order. New hunts that have come whole are written all at once, so that each statement counts
-- for as many as there are; what is not plain (a hunt that exists, templates that may be archived meanwhile, contacts that were staged
-- before) is left to accept_hunt.
--
-- Two calls never wait for each other: all keys are waited for first, in one order, then come hunts, in theirs; keys are nobody else's
-- by then.
create function accept_hunts(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(p_items)]);
  v_accepted integer[] := '{}';
  v_plain boolean;
  v_keyed boolean;
  v_item jsonb;
  v_no integer;
  v_lock bigint;
begin
  select
    bool_and(
      jsonb_array_length(x.item -> 'hunt' -> 'template_ids') = 0
      and jsonb_array_length(x.item -> 'chunks') = 1
      and jsonb_array_length(x.item -> 'chunks' -> 0 -> 'contacts') = (x.item ->> 'contacts')::integer
    ),
    bool_or(jsonb_typeof(x.item -> 'idempotency') = 'object')
  into v_plain, v_keyed
  from jsonb_array_elements(p_items) as x (item);

  if v_keyed then
    for v_item, v_no, v_lock in
      select x.item, x.no, l.lock
      from jsonb_array_elements(p_items) with ordinality as x (item, no),
        hashtextextended(concat_ws(' ', x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key'), 7) as l (lock)
      where jsonb_typeof(x.item -> 'idempotency') = 'object'
      order by l.lock
    loop
      perform pg_advisory_xact_lock(v_lock);
      v_answers[v_no] := idempotency_seen(v_item -> 'idempotency');
    end loop;
  end if;

  if v_plain then
    -- Of those for one hunt the first; what cannot be accepted as it is makes none.
    with given as materialized (
      select distinct on (h.id) x.no, h.*, coalesce(h.expires_at, h.default_expires_at, now() + interval '7 days') as ends_at
      from jsonb_array_elements(p_items) with ordinality as x (item, no),
        jsonb_to_record(x.item -> 'hunt') as h (
          id text, account_id text, priority text, expires_at timestamptz, default_expires_at timestamptz, windows jsonb,
          send_at timestamptz, last_send_at timestamptz
        )
      where v_answers[x.no] is null
      order by h.id, x.no
    ),
    made as (
      insert into hunts (id, account_id, priority, expires_at, windows)
      select g.id, g.account_id, coalesce(g.priority, 'normal'), g.ends_at, nullif(g.windows, 'null')
      from given g join accounts a on a.id = g.account_id
      where a.status <> 'suspended' and g.ends_at > now()
        and (greatest(g.send_at, g.last_send_at) < g.ends_at) is not false
      order by g.id
      on conflict (id) do nothing
      returning id
    )
    select coalesce(array_agg(g.no order by g.no), '{}') into v_accepted from given g join made m on m.id = g.id;

    if v_keyed then
      for v_item, v_no in
        select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
        where x.no = any (v_accepted) and jsonb_typeof(x.item -> 'idempotency') = 'object'
        order by x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key', x.no
      loop
        v_answers[v_no] := idempotency_take(v_item -> 'idempotency', v_item -> 'response');
        if v_answers[v_no] is not null then
          -- What was not accepted says nothing of the hunt: see accept_hunt.
          delete from hunts where id = v_item -> 'hunt' ->> 'id';
          v_accepted := array_remove(v_accepted, v_no);
        end if;
      end loop;
    end if;

    insert into hunt_chunks (job_id, no, size, contacts)
    select (x.item ->> 'job_id')::uuid, (x.item -> 'chunks' -> 0 ->> 'no')::integer, (x.item ->> 'contacts')::integer,
      x.item -> 'chunks' -> 0 -> 'contacts'
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where x.no = any (v_accepted)
    on conflict do nothing;
    insert into hunt_submissions (job_id, hunt_id, contacts, content, send_at)
    select (x.item ->> 'job_id')::uuid, x.item -> 'hunt' ->> 'id', (x.item ->> 'contacts')::integer,
      nullif(x.item -> 'hunt' -> 'content', 'null'), (x.item -> 'hunt' ->> 'send_at')::timestamptz
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where x.no = any (v_accepted)
    on conflict do nothing;
  end if;

  if cardinality(v_accepted) < cardinality(v_answers) then
    for v_item, v_no in
      select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
      where v_answers[x.no] is null and x.no <> all (v_accepted)
      order by x.item -> 'hunt' ->> 'id', x.no
    loop
      v_answers[v_no] := accept_hunt(
        v_item -> 'hunt', (v_item ->> 'job_id')::uuid, (v_item ->> 'contacts')::integer, v_item -> 'chunks',
        v_item -> 'idempotency', v_item -> 'response'
      );
    end loop;
  end if;
  return (
    select jsonb_agg(
      coalesce(v_answers[x.no], jsonb_build_object('result', 'accepted', 'response', x.item -> 'response')) order by x.no
    )
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
  );
end
$$;

-- See accept_messages_raw.
create function accept_hunts_raw(jsonb) returns jsonb
language sql
return accept_hunts($1 -> 'p_items');

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

-- Writes a chunk's messages, rows as insert_messages and one_way take them, and answers the ids that are to be queued. Chunks of one
-- hunt go one after another, so that a number given in two of them is seen; the erasures' lock comes first, see lock_moves. A job that
-- comes again writes nothing more: an account that has declared consent in between, or a provider that is back, would have it choose
-- another channel for somebody who has one already.
create function plan_chunk(p_job_id uuid, p_no integer, p_hunt_id text, p_rows jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_suspect boolean;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  perform pg_advisory_xact_lock(hashtextextended(p_hunt_id, 0));
  -- Until the end of this transaction: adopt_epoch, which doubts everything, waits for it and sees its rows.
  select suspect into v_suspect from hunt_submissions where job_id = p_job_id for share;
  if not exists (select 1 from hunt_chunks where job_id = p_job_id and no = p_no and planned_at is not null) then
    perform insert_messages(one_way(p_hunt_id, p_rows));
    if v_suspect then
      perform doubt(r.id) from jsonb_to_recordset(p_rows) as r (id uuid);
    end if;
    update hunt_chunks set planned_at = now() where job_id = p_job_id and no = p_no;
  end if;
  return query
    select m.id from jsonb_to_recordset(p_rows) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.id, m.status from messages m where m.id = r.id offset 0) m
    where m.status in ('queued', 'sending');
end
$$;

-- See accept_messages_raw.
create function plan_chunk_raw(jsonb) returns setof uuid
language sql
begin atomic
  select plan_chunk(($1 ->> 'p_job_id')::uuid, ($1 ->> 'p_no')::integer, $1 ->> 'p_hunt_id', $1 -> 'p_rows');
end;

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
revoke all on function stage_chunks, stage_chunks_raw, discard_chunks, hunt_differences, accept_hunt, accept_hunts, accept_hunts_raw,
  read_chunk, one_way, plan_chunk, plan_chunk_raw, finish_submission, open_submissions, preview_hunt,
  preview_messages from public, anon, authenticated;
grant execute on function stage_chunks, stage_chunks_raw, discard_chunks, hunt_differences, accept_hunt, accept_hunts, accept_hunts_raw,
  read_chunk, one_way, plan_chunk, plan_chunk_raw, finish_submission, open_submissions, preview_hunt, preview_messages to service_role;
