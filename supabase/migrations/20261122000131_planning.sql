-- How messages of hunts and of single sends are written, and a chunk of a hunt planned.

-- It answered nothing before.
drop function if exists insert_messages(jsonb);

-- Writes ledger rows, their leads, their flows where they are a hunt's, and the reservation of their credits. Decides what is skipped
-- for a reason that only the database knows: suppressed, duplicate, frequency_cap, no_credit; of a hunt that was cancelled they are
-- cancelled. Rows whose id exists already are left alone; of somebody who was erased neither number nor text is written.
--
-- p_rows: the columns of messages by their names, of which "id", "channel", "queue", "recipient" and "content" are always given, and
-- "skip": a reason that was found before; "caps": as full_cap takes them; "siblings": ids of the contact's messages on all of its
-- channels, of which it gets one.
-- Answers the ids of those that it has written and that wait to be sent.
create function insert_messages(p_rows jsonb) returns uuid[]
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
-- What is in the rows changes nothing of the plan, and making it takes longer than a small call.
set plan_cache_mode = force_generic_plan
as $$
declare
  v_queued uuid[];
begin
  -- An erasure waits until what is being written is there to be erased.
  perform pg_advisory_xact_lock_shared(20261122, 4);

  -- One planner at a time for each metered (account, channel), in one order, so that balances stay exact.
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select r.account_id, r.channel from jsonb_to_recordset(p_rows) as r (account_id text, channel text)
  )
  order by c.account_id, c.channel
  for update;

  with input as (
    -- n is the place in the input: who comes first is sent to, and funded, first.
    select r.*
    from rows from (jsonb_to_recordset(p_rows) as (
      id uuid, account_id text, hunt_id text, ad_id text, copy integer, channel text, queue text, recipient text,
      sender text, content jsonb, priority integer, expires_at timestamptz, skip text, detail text, next jsonb, recipient_hash text,
      category text, caps jsonb, variant text, send_at timestamptz, zone text, siblings uuid[]
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, recipient_hash, category, caps, variant, send_at, zone, siblings, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
      -- Submitted again it may begin with another channel. Who was only skipped has not been reached.
      and not exists (select 1 from messages m where m.id = any (r.siblings) and m.status <> 'skipped')
  ),
  known as (
    -- offset 0, here and below: for each row by its index. A plan that was made while a table was small would read all of it.
    select i.*, exists (select 1 from suppressions s where s.phone = i.recipient_hash offset 0) as erased,
      exists (select 1 from hunts h where h.id = i.hunt_id and h.cancelled_at is not null offset 0) as cancelled
    from input i
  ),
  judged as (
    select i.*, case
      when i.cancelled then 'cancelled'
      when i.erased then 'suppressed'
      when i.skip is not null then i.skip
      when exists (
        select 1 from suppressions s
        where s.phone = i.recipient and (s.account_id is null or s.account_id = i.account_id)
        offset 0
      ) then 'suppressed'
      when i.hunt_id is not null and (
        row_number() over (
          partition by i.hunt_id, i.channel, i.recipient, i.skip is null,
            case when i.hunt_id is null then i.id end
          order by i.n
        ) > 1
        or exists (
          -- offset 0: by the number alone, since the indices of hunts lead through the whole hunt, for each of its contacts.
          select 1 from (select m.hunt_id, m.channel, m.status from messages m where m.recipient = i.recipient offset 0) m
          where m.hunt_id = i.hunt_id and m.channel = i.channel and m.status <> 'skipped'
        )
      ) then 'duplicate'
      -- Most have no message yet, and counting costs as much as all the rest here.
      when case
        when coalesce(jsonb_array_length(i.caps), 0) > 0
          and (i.caps @> '[{"max": 0}]' or exists (select 1 from messages m where m.recipient = i.recipient offset 0))
          then full_cap(i.account_id, i.recipient, i.id, i.caps) is not null
      end then 'frequency_cap'
    end as reason
    from known i
  ),
  funded as (
    select j.*, c.balance is not null as metered,
      j.reason is null and c.balance is not null
        and count(*) filter (where j.reason is null) over (
          partition by j.account_id, j.channel order by j.n
        ) > c.balance as unfunded
    from judged j
    left join credits c on c.account_id = j.account_id and c.channel = j.channel
  ),
  inserted as (
    insert into messages (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient, sender, content, priority, expires_at,
      status, code, detail, next, credit, settled_at, recipient_hash, category, variant,
      send_at, zone
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue,
      case when f.erased then 'erased' else f.recipient end, f.sender,
      case when f.erased then '{}' else f.content end, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason = 'cancelled' then 'cancelled' when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else nullif(f.reason, 'cancelled') end,
      case
        when f.erased then null
        when f.reason = 'frequency_cap' then full_cap(f.account_id, f.recipient, f.id, f.caps)
        else f.detail
      end,
      case when not f.erased then f.next end,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end,
      case when not f.erased then f.recipient_hash end, f.category, f.variant,
      case when f.send_at > now() then f.send_at else '-infinity' end, coalesce(f.zone, '')
    from funded f
    order by f.n
    -- By the id alone: it follows from a contact's hunt, ad, channel and copy, so that no other row has these.
    on conflict (id) do nothing
    returning id, seq, account_id, hunt_id, ad_id, channel, queue, recipient, sender, status, code, credit, send_at, zone
  ),
  reserved as (
    update credits c set balance = c.balance - x.n, reserved = c.reserved + x.n
    from (
      select account_id, channel, count(*) as n from inserted where credit = 'reserved' group by account_id, channel
    ) x
    where c.account_id = x.account_id and c.channel = x.channel
  ),
  erased as (
    -- Whoever brought it may put a job with all of it into a queue.
    insert into erasures (message_id, queue) select id, queue from inserted where recipient = 'erased'
  ),
  skipped as (
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status in ('skipped', 'cancelled')
  ),
  flowing as (
    -- In one order, so that two writers never wait for each other in a circle.
    insert into flows as f (hunt_id, queue, sender, send_at, zone, weight, tag, fed_seq, last_seq, due_at)
    select i.hunt_id, i.queue, coalesce(i.sender, ''), i.send_at, i.zone, priority_weight(h.priority), 0, min(i.seq) - 1,
      max(i.seq), greatest(i.send_at, now())
    from inserted i join hunts h on h.id = i.hunt_id
    where i.status = 'queued'
    group by i.hunt_id, i.queue, coalesce(i.sender, ''), i.send_at, i.zone, h.priority
    order by 1, 2, 3, 4, 5
    on conflict (hunt_id, queue, sender, send_at, zone) do update set
      last_seq = greatest(f.last_seq, excluded.last_seq),
      -- Those that were spread over the time left are spread anew, beginning now.
      spaced_at = '-infinity', next_at = '-infinity', due_at = least(f.due_at, excluded.due_at)
  ),
  contacts as (
    insert into leads (account_id, ad_id, phone, hunt_id)
    select account_id, ad_id, nullif(recipient, 'erased'), hunt_id from inserted where account_id is not null and ad_id is not null
    on conflict (account_id, ad_id) do nothing
  )
  select coalesce(array_agg(id) filter (where status = 'queued'), '{}') into v_queued from inserted;
  return v_queued;
end
$$;

-- Writes a chunk's messages, rows as insert_messages and one_way take them, and answers the ids that are to be queued. Chunks of one
-- hunt go one after another, so that a number given in two of them is seen; the erasures' lock comes first, see lock_moves. A job that
-- comes again writes nothing more: an account that has declared consent in between, or a provider that is back, would have it choose
-- another channel for somebody who has one already.
create or replace function plan_chunk(p_job_id uuid, p_no integer, p_hunt_id text, p_rows jsonb) returns setof uuid
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set plan_cache_mode = force_generic_plan
as $$
declare
  v_suspect boolean;
  v_queued uuid[];
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  perform pg_advisory_xact_lock(hashtextextended(p_hunt_id, 0));
  -- Until the end of this transaction: adopt_epoch, which doubts everything, waits for it and sees its rows.
  select suspect into v_suspect from hunt_submissions where job_id = p_job_id for share;
  if not exists (select 1 from hunt_chunks where job_id = p_job_id and no = p_no and planned_at is not null) then
    v_queued := insert_messages(one_way(p_hunt_id, p_rows));
    update hunt_chunks set planned_at = now() where job_id = p_job_id and no = p_no;
    if v_suspect is not true then
      return query select unnest(v_queued);
      return;
    end if;
    perform doubt(r.id) from jsonb_to_recordset(p_rows) as r (id uuid);
  end if;
  return query
    select m.id from jsonb_to_recordset(p_rows) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.id, m.status from messages m where m.id = r.id offset 0) m
    where m.status in ('queued', 'sending');
end
$$;

-- See accept_messages_raw.
create or replace function plan_chunk_raw(jsonb) returns setof uuid
language sql
begin atomic
  select plan_chunk(($1 ->> 'p_job_id')::uuid, ($1 ->> 'p_no')::integer, $1 ->> 'p_hunt_id', $1 -> 'p_rows');
end;

revoke all on function insert_messages, plan_chunk, plan_chunk_raw from public, anon, authenticated;
grant execute on function insert_messages, plan_chunk, plan_chunk_raw to service_role;
