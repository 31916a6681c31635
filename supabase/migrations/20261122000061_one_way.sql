-- Whoever has several channels has one way through them in a hunt, in whichever chunk or submission their number comes again.

-- These rows, with those left out whose number the hunt has over one of their "channels" already: they are skipped as duplicates. The
-- caller holds the hunt's lock, so that no other chunk is being planned.
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

-- As before, with one way a person.
create or replace function plan_chunk(p_job_id uuid, p_no integer, p_hunt_id text, p_rows jsonb) returns setof uuid
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

-- As before; "channels": all of a contact who has several, of whom the hunt may have the number over any.
create or replace function preview_messages(p_rows jsonb) returns jsonb
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

revoke all on function one_way from public, anon, authenticated;
grant execute on function one_way to service_role;
