-- From an accepted request to ledger rows. Each function is one transaction, and may be called again with the same input.
--
-- Functions that take a batch switch sequential scans, hash and merge joins off: they look some hundred rows up by key,
-- but until a table has been analysed the planner knows neither its size nor the batch's, and reads all of it instead
-- (recording 250 outcomes among 20,000 messages: 650 ms that way, 15 ms by key).

-- What an Idempotency-Key already stands for: null when it is new, else {"result": "replay", "response": …} or
-- {"result": "conflict"}. Keys are kept for 24 hours.
create function idempotency_seen(p_idempotency jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select case when k.body_hash = p_idempotency ->> 'bodyHash'
    then jsonb_build_object('result', 'replay', 'response', k.response)
    else jsonb_build_object('result', 'conflict') end
  from idempotency_keys k
  where k.scope = p_idempotency ->> 'scope' and k.key = p_idempotency ->> 'key'
    and k.created_at > now() - interval '24 hours'
$$;

-- Takes the key for this request: null when it is ours now, else what idempotency_seen answers. A second caller
-- with the same key waits here until the first has committed.
create function idempotency_take(p_idempotency jsonb, p_response jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
begin
  if p_idempotency is null or jsonb_typeof(p_idempotency) = 'null' then
    return null;
  end if;
  insert into idempotency_keys as k (scope, key, body_hash, response)
  values (p_idempotency ->> 'scope', p_idempotency ->> 'key', p_idempotency ->> 'bodyHash', p_response)
  on conflict (scope, key) do update
    set body_hash = excluded.body_hash, response = excluded.response, created_at = now()
    where k.created_at <= now() - interval '24 hours';
  if found then
    return null;
  end if;
  return idempotency_seen(p_idempotency);
end
$$;

-- null when the account may send, else the reason why not.
create function account_refusal(p_account_id text) returns text
language plpgsql stable
set search_path = public
as $$
declare
  v_status text;
begin
  if p_account_id is null then
    return null;
  end if;
  select status into v_status from accounts where id = p_account_id;
  if not found then
    return 'unknown_account';
  end if;
  return case v_status when 'suspended' then 'suspended_account' end;
end
$$;

-- Writes ledger rows, their leads and the reservation of their credits. Decides what is skipped for a reason that only
-- the database knows: suppressed, duplicate, no_credit. Rows whose id exists already are left alone.
create function insert_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
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
      sender text, content jsonb, priority integer, expires_at timestamptz, skip text, detail text
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
  ),
  judged as (
    select i.*, case
      when i.skip is not null then i.skip
      when exists (
        select 1 from suppressions s
        where s.phone = i.recipient and (s.account_id is null or s.account_id = i.account_id)
      ) then 'suppressed'
      when i.hunt_id is not null and (
        row_number() over (
          partition by i.hunt_id, i.channel, i.recipient, i.skip is null,
            case when i.hunt_id is null then i.id end
          order by i.n
        ) > 1
        or exists (
          select 1 from messages m
          where m.hunt_id = i.hunt_id and m.channel = i.channel and m.recipient = i.recipient and m.status <> 'skipped'
        )
      ) then 'duplicate'
    end as reason
    from input i
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
      status, code, detail, credit, settled_at
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue, f.recipient, f.sender,
      f.content, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else f.reason end,
      f.detail,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end
    from funded f
    order by f.n
    on conflict do nothing
    returning id, account_id, hunt_id, ad_id, channel, recipient, status, code, credit
  ),
  reserved as (
    update credits c set balance = c.balance - x.n, reserved = c.reserved + x.n
    from (
      select account_id, channel, count(*) as n from inserted where credit = 'reserved' group by account_id, channel
    ) x
    where c.account_id = x.account_id and c.channel = x.channel
  ),
  skipped as (
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status = 'skipped'
  )
  insert into leads (account_id, ad_id, phone, hunt_id)
  select account_id, ad_id, recipient, hunt_id from inserted where account_id is not null and ad_id is not null
  on conflict (account_id, ad_id) do nothing;
end
$$;

-- Single sends, many in one call: [{"row": {…}, "idempotency": {…} | null, "response": {…}}]. Answers in their order
-- {"result": "accepted" | "replay" | "conflict" | "unknown_account" | "suspended_account", "response"}.
create function accept_messages(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_item jsonb;
  v_answer jsonb;
  v_refusal text;
  v_answers jsonb := '[]';
  v_rows jsonb := '[]';
begin
  for v_item in select value from jsonb_array_elements(p_items) loop
    v_answer := idempotency_seen(v_item -> 'idempotency');
    if v_answer is null then
      v_refusal := account_refusal(v_item -> 'row' ->> 'account_id');
      if v_refusal is not null then
        v_answer := jsonb_build_object('result', v_refusal);
      else
        v_answer := idempotency_take(v_item -> 'idempotency', v_item -> 'response');
      end if;
    end if;
    if v_answer is null then
      v_answer := jsonb_build_object('result', 'accepted', 'response', v_item -> 'response');
      v_rows := v_rows || jsonb_build_array(v_item -> 'row');
    end if;
    v_answers := v_answers || jsonb_build_array(v_answer);
  end loop;
  if jsonb_array_length(v_rows) > 0 then
    perform insert_messages(v_rows);
  end if;
  return v_answers;
end
$$;

-- Puts part of a big submission in place before it is accepted, so that no single request carries all of it.
create function stage_chunks(p_job_id uuid, p_chunks jsonb) returns void
language sql
set search_path = public
as $$
  insert into hunt_chunks (job_id, no, size, contacts)
  select p_job_id, c.no, jsonb_array_length(c.contacts), c.contacts
  from jsonb_to_recordset(p_chunks) as c (no integer, contacts jsonb)
  on conflict do nothing
$$;

-- Makes a submission, with its last chunks, the hunt's own. p_hunt: {"id", "account_id", "priority", "expires_at"}.
create function accept_hunt(
  p_hunt jsonb, p_job_id uuid, p_contacts integer, p_chunks jsonb, p_idempotency jsonb, p_response jsonb
) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_refusal text;
  v_owner text;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  v_refusal := account_refusal(p_hunt ->> 'account_id');
  if v_refusal is not null then
    return jsonb_build_object('result', v_refusal);
  end if;
  insert into hunts (id, account_id, priority, expires_at)
  values (
    p_hunt ->> 'id', p_hunt ->> 'account_id', coalesce(p_hunt ->> 'priority', 'normal'),
    coalesce((p_hunt ->> 'expires_at')::timestamptz, now() + interval '7 days')
  )
  on conflict (id) do nothing;
  select account_id into v_owner from hunts where id = p_hunt ->> 'id';
  if v_owner <> p_hunt ->> 'account_id' then
    return jsonb_build_object('result', 'other_account');
  end if;
  v_answer := idempotency_take(p_idempotency, p_response);
  if v_answer is not null then
    return v_answer;
  end if;
  perform stage_chunks(p_job_id, p_chunks);
  insert into hunt_submissions (job_id, hunt_id, contacts) values (p_job_id, p_hunt ->> 'id', p_contacts)
  on conflict do nothing;
  return jsonb_build_object('result', 'accepted', 'response', p_response);
end
$$;

-- What a plan job needs: the hunt, its account's country, and the contacts (null once the submission is planned).
create function read_chunk(p_job_id uuid, p_no integer) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'huntId', h.id, 'accountId', h.account_id, 'priority', h.priority, 'expiresAt', h.expires_at,
    'defaultCountry', a.default_country, 'contacts', c.contacts
  )
  from hunt_submissions s
  join hunts h on h.id = s.hunt_id
  join accounts a on a.id = h.account_id
  join hunt_chunks c on c.job_id = s.job_id and c.no = p_no
  where s.job_id = p_job_id
$$;

-- Writes a chunk's messages and answers the ids that are to be queued. Chunks of one hunt go one after another, so
-- that a number given in two of them is seen.
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
  perform pg_advisory_xact_lock(hashtextextended(p_hunt_id, 0));
  -- Until the end of this transaction: adopt_epoch, which doubts everything, waits for it and sees its rows.
  select suspect into v_suspect from hunt_submissions where job_id = p_job_id for share;
  perform insert_messages(p_rows);
  if v_suspect then
    perform doubt(r.id) from jsonb_to_recordset(p_rows) as r (id uuid);
  end if;
  update hunt_chunks set planned_at = coalesce(planned_at, now()) where job_id = p_job_id and no = p_no;
  return query
    select m.id from jsonb_to_recordset(p_rows) as r (id uuid)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.id, m.status from messages m where m.id = r.id offset 0) m
    where m.status in ('queued', 'sending');
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
