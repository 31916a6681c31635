-- Paired WhatsApp numbers: who may connect each, what its socket has to remember, and what it has sent.

create table whatsapp_sessions (
  id uuid primary key default gen_random_uuid(),
  account_id text not null references accounts (id),
  -- E.164.
  phone text not null,
  method text not null check (method in ('qr', 'code')),
  state text not null default 'pairing' check (
    state in ('pairing', 'connecting', 'open', 'backing-off', 'logged-out', 'banned', 'stopped')
  ),
  since timestamptz not null default now(),
  -- What a phone has to scan, or its owner to type in; null unless it is being paired.
  qr text,
  pairing_code text,
  last_error text,
  paired_at timestamptz,
  -- Its address by number and by LID, once paired.
  jid text,
  lid text,
  -- This session's own values for the WHATSAPP_ variables about pace, by their names in the API.
  settings jsonb not null default '{}',
  -- What its owner says about its pace.
  pace jsonb not null default '{}',
  -- WhatsApp has restricted it: no first contacts before then.
  cold_paused_until timestamptz,
  -- gone: to be logged out, wiped and forgotten.
  wanted text not null default 'on' check (wanted in ('on', 'gone')),
  -- The one process that may connect it, until when, and for the how-manieth time it has changed hands.
  owner text,
  epoch bigint not null default 0,
  leased_until timestamptz,
  created_at timestamptz not null default now()
);
create unique index whatsapp_sessions_phone on whatsapp_sessions (phone);
create index whatsapp_sessions_account on whatsapp_sessions (account_id);

-- Signal keys and credentials, sealed by the service; only the owner's epoch can write.
create table whatsapp_keys (
  session_id uuid not null references whatsapp_sessions (id) on delete cascade,
  type text not null,
  id text not null,
  sealed text not null,
  primary key (session_id, type, id)
) with (fillfactor = 80);

-- What was sent, sealed: a recipient that could not decrypt it asks again, days later and after restarts. A message that was given to
-- WhatsApp is known by its id for 30 days, whatever becomes of the session that gave it: that none is kept is the proof that it never
-- left.
create table whatsapp_sent (
  -- WhatsApp's id of the message, chosen by us.
  id text primary key,
  session_id uuid references whatsapp_sessions (id) on delete set null,
  jid text not null,
  sealed text not null,
  created_at timestamptz not null default now()
);
create index whatsapp_sent_session on whatsapp_sent (session_id);
create index whatsapp_sent_age on whatsapp_sent (created_at);

-- Which numbers are on WhatsApp, under which addresses.
create table whatsapp_numbers (
  phone text primary key,
  jid text,
  lid text,
  checked_at timestamptz not null default now()
);
create index whatsapp_numbers_lid on whatsapp_numbers (lid) where lid is not null;
create index whatsapp_numbers_jid on whatsapp_numbers (jid) where jid is not null;

-- Whom a session has written to, since when: first contacts are what WhatsApp counts.
create table whatsapp_contacts (
  session_id uuid not null references whatsapp_sessions (id) on delete cascade,
  phone text not null,
  first_at timestamptz not null default now(),
  primary key (session_id, phone)
);
create index whatsapp_contacts_first on whatsapp_contacts (session_id, first_at);

-- Starts pairing a number, or pairs one again that has lost its pairing. Answers {"result", "session"}; result: created,
-- again, paired (it works: nothing to do), taken (another account's), leaving (to be forgotten), unknown_account.
create function pair_whatsapp_session(p_account_id text, p_phone text, p_method text) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_session whatsapp_sessions;
  v_result text;
begin
  perform 1 from accounts where id = p_account_id;
  if not found then
    return jsonb_build_object('result', 'unknown_account');
  end if;
  insert into whatsapp_sessions (account_id, phone, method) values (p_account_id, p_phone, p_method)
  on conflict (phone) do nothing
  returning * into v_session;
  if found then
    return jsonb_build_object('result', 'created', 'session', to_jsonb(v_session));
  end if;
  select * into v_session from whatsapp_sessions where phone = p_phone for update;
  if not found then
    -- It was forgotten between the two statements.
    return jsonb_build_object('result', 'leaving');
  end if;
  if v_session.account_id <> p_account_id then
    return jsonb_build_object('result', 'taken');
  end if;
  if v_session.wanted = 'on' and v_session.state in ('connecting', 'open', 'backing-off') then
    return jsonb_build_object('result', 'paired', 'session', to_jsonb(v_session));
  end if;
  if v_session.wanted = 'gone' then
    return jsonb_build_object('result', 'leaving');
  end if;
  if v_session.state <> 'pairing' then
    delete from whatsapp_keys where session_id = v_session.id;
    -- Whoever still owns it is fenced off.
    update whatsapp_sessions set
      epoch = epoch + 1, leased_until = null, owner = null, qr = null, pairing_code = null, paired_at = null
    where id = v_session.id;
  end if;
  update whatsapp_sessions set
    method = p_method, state = 'pairing', since = case state when 'pairing' then since else now() end,
    last_error = case state when 'pairing' then last_error end
  where id = v_session.id
  returning * into v_session;
  return jsonb_build_object('result', 'again', 'session', to_jsonb(v_session));
end
$$;

-- Takes sessions that nobody owns (any more), for p_lease_ms.
create function claim_whatsapp_sessions(p_owner text, p_lease_ms integer, p_limit integer)
returns setof whatsapp_sessions
language sql
set search_path = public
as $$
  -- Materialized, else a plan may run it, and its limit, once for each session.
  with free as materialized (
    select id from whatsapp_sessions
    where (leased_until is null or leased_until <= now())
      and (wanted = 'gone' or state not in ('logged-out', 'banned', 'stopped'))
    order by leased_until nulls first, created_at
    limit p_limit
    for update skip locked
  )
  update whatsapp_sessions s set
    owner = p_owner, epoch = s.epoch + 1, leased_until = now() + make_interval(secs => p_lease_ms / 1000.0),
    -- What its last owner said holds no longer.
    state = case when s.state in ('open', 'backing-off') then 'connecting' else s.state end,
    since = case when s.state in ('open', 'backing-off') then now() else s.since end
  from free
  where s.id = free.id
  returning s.*
$$;

-- Extends the caller's leases, [{"id", "epoch"}]; answers those that are still its own.
create function renew_whatsapp_sessions(p_items jsonb, p_lease_ms integer) returns setof whatsapp_sessions
language sql
set search_path = public
as $$
  update whatsapp_sessions s set leased_until = now() + make_interval(secs => p_lease_ms / 1000.0)
  from jsonb_to_recordset(p_items) as i (id uuid, epoch bigint)
  where s.id = i.id and s.epoch = i.epoch and s.leased_until > now()
  returning s.*
$$;

-- What the owner has to say about its session; only the given fields change. `release` gives the lease back. False: the
-- session is not the caller's any more.
create function report_whatsapp_session(p_id uuid, p_epoch bigint, p_report jsonb) returns boolean
language plpgsql
set search_path = public
as $$
begin
  update whatsapp_sessions s set
    since = case when p_report ->> 'state' <> s.state then now() else s.since end,
    state = coalesce(p_report ->> 'state', s.state),
    qr = case when p_report ? 'qr' then p_report ->> 'qr' else s.qr end,
    pairing_code = case when p_report ? 'pairing_code' then p_report ->> 'pairing_code' else s.pairing_code end,
    last_error = case when p_report ? 'last_error' then p_report ->> 'last_error' else s.last_error end,
    paired_at = case when p_report ? 'paired_at' then (p_report ->> 'paired_at')::timestamptz else s.paired_at end,
    jid = coalesce(p_report ->> 'jid', s.jid),
    lid = coalesce(p_report ->> 'lid', s.lid),
    pace = coalesce(p_report -> 'pace', s.pace),
    cold_paused_until = case
      when p_report ? 'cold_paused_until' then (p_report ->> 'cold_paused_until')::timestamptz
      else s.cold_paused_until
    end,
    leased_until = case when p_report ? 'release' then null else s.leased_until end,
    owner = case when p_report ? 'release' then null else s.owner end
  where s.id = p_id and s.epoch = p_epoch and s.leased_until > now();
  return found;
end
$$;

-- Forgets the pairing; p_gone: the session too. False: it is not the caller's any more.
create function wipe_whatsapp_session(p_id uuid, p_epoch bigint, p_gone boolean) returns boolean
language plpgsql
set search_path = public
as $$
begin
  perform 1 from whatsapp_sessions where id = p_id and epoch = p_epoch and leased_until > now() for update;
  if not found then
    return false;
  end if;
  if p_gone then
    delete from whatsapp_sessions where id = p_id;
  else
    delete from whatsapp_keys where session_id = p_id;
    update whatsapp_sessions set qr = null, pairing_code = null, paired_at = null where id = p_id;
  end if;
  return true;
end
$$;

-- Of a session that goes, the ids of what it sent stay: nobody to be known by them, and nothing to be read.
create function blank_whatsapp_sent() returns trigger
language plpgsql
set search_path = public
as $$
begin
  update whatsapp_sent set session_id = null, jid = '', sealed = '' where session_id = old.id;
  return old;
end
$$;

create trigger blank_whatsapp_sent before delete on whatsapp_sessions
  for each row execute function blank_whatsapp_sent();

-- Writes keys, [{"type", "id", "sealed"}] (sealed null: delete), all or nothing. False: the session is not the
-- caller's any more, and nothing was written.
create function write_whatsapp_keys(p_id uuid, p_epoch bigint, p_items jsonb) returns boolean
language plpgsql
set search_path = public
as $$
begin
  perform 1 from whatsapp_sessions where id = p_id and epoch = p_epoch and leased_until > now() for share;
  if not found then
    return false;
  end if;
  delete from whatsapp_keys k
  using jsonb_to_recordset(p_items) as i (type text, id text, sealed text)
  where k.session_id = p_id and k.type = i.type and k.id = i.id and i.sealed is null;
  insert into whatsapp_keys (session_id, type, id, sealed)
  select p_id, i.type, i.id, i.sealed
  from jsonb_to_recordset(p_items) as i (type text, id text, sealed text)
  where i.sealed is not null
  on conflict (session_id, type, id) do update set sealed = excluded.sealed;
  return true;
end
$$;

-- Of one type those of these ids, {id: sealed}; p_ids null: all of them. One value, because rows would be cut off at the
-- API's limit (1000 on Supabase) without a word.
create function read_whatsapp_keys(p_id uuid, p_type text, p_ids jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_object_agg(k.id, k.sealed), '{}') from whatsapp_keys k
  where k.session_id = p_id and k.type = p_type
    and (p_ids is null or k.id in (select jsonb_array_elements_text(p_ids)))
$$;

-- `type.id` of all keys but the many that are used once; null: there are more than p_limit.
create function list_whatsapp_keys(p_id uuid, p_limit integer) returns jsonb
language sql stable
set search_path = public
as $$
  select case when count(*) <= p_limit then coalesce(jsonb_agg(k.type || '.' || k.id), '[]') end
  from (
    select type, id from whatsapp_keys where session_id = p_id and type not in ('pre-key', 'creds') limit p_limit + 1
  ) k
$$;

-- Keys that were sealed with another key than the one whose mark is given, a page of them.
create function stale_whatsapp_keys(p_id uuid, p_mark text, p_limit integer)
returns table (type text, id text, sealed text)
language sql stable
set search_path = public
as $$
  select k.type, k.id, k.sealed from whatsapp_keys k
  where k.session_id = p_id and not starts_with(k.sealed, p_mark)
  order by k.type, k.id limit p_limit
$$;

-- Before each send: what is sent, [{"id", "session_id", "jid", "sealed", "phone"}], and whom the session has written to. What
-- another session was to send before, and did not, is this one's from then on.
create function keep_whatsapp_sent(p_items jsonb) returns void
language sql
set search_path = public
as $$
  with contacts as (
    insert into whatsapp_contacts (session_id, phone)
    select distinct i.session_id, i.phone
    from jsonb_to_recordset(p_items) as i (session_id uuid, phone text)
    -- In one order, or two batches with the same contacts could wait for each other.
    order by 1, 2
    on conflict do nothing
  )
  insert into whatsapp_sent as s (id, session_id, jid, sealed)
  select distinct on (i.id) i.id, i.session_id, i.jid, i.sealed
  from jsonb_to_recordset(p_items) as i (id text, session_id uuid, jid text, sealed text)
  order by 1
  on conflict (id) do update set
    session_id = excluded.session_id, jid = excluded.jid, sealed = excluded.sealed, created_at = excluded.created_at
  where s.session_id is distinct from excluded.session_id
$$;

-- Sent messages that were sealed with another key than the one whose mark is given: a page of them, after an id.
create function stale_whatsapp_sent(p_id uuid, p_mark text, p_after text, p_limit integer)
returns table (id text, sealed text)
language sql stable
set search_path = public
as $$
  select s.id, s.sealed from whatsapp_sent s
  where s.session_id = p_id and s.id > p_after and not starts_with(s.sealed, p_mark)
  order by s.id limit p_limit
$$;

-- Puts sent messages back as they were sealed again, [{"id", "sealed"}].
create function reseal_whatsapp_sent(p_id uuid, p_items jsonb) returns void
language sql
set search_path = public
as $$
  update whatsapp_sent s set sealed = i.sealed
  from jsonb_to_recordset(p_items) as i (id text, sealed text)
  where s.id = i.id and s.session_id = p_id
$$;

-- The numbers, a JSON list, under which a person is known who writes from these addresses: WhatsApp may know a number under
-- other digits than people dial.
create function phones_of_whatsapp_user(p_jid text, p_lid text) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(n.phone order by n.phone), '[]') from whatsapp_numbers n
  where n.jid = p_jid or n.lid = p_lid
    or n.jid in (select l.jid from whatsapp_numbers l where l.lid = p_lid)
$$;

-- All of it is the service's alone.
alter table whatsapp_sessions enable row level security;
alter table whatsapp_keys enable row level security;
alter table whatsapp_sent enable row level security;
alter table whatsapp_numbers enable row level security;
alter table whatsapp_contacts enable row level security;
revoke all on whatsapp_sessions, whatsapp_keys, whatsapp_sent, whatsapp_numbers, whatsapp_contacts from public, anon, authenticated;
grant all on whatsapp_sessions, whatsapp_keys, whatsapp_sent, whatsapp_numbers, whatsapp_contacts to service_role;
revoke all on function pair_whatsapp_session, claim_whatsapp_sessions, renew_whatsapp_sessions, report_whatsapp_session,
  wipe_whatsapp_session, blank_whatsapp_sent, write_whatsapp_keys, read_whatsapp_keys, list_whatsapp_keys, stale_whatsapp_keys,
  keep_whatsapp_sent, stale_whatsapp_sent, reseal_whatsapp_sent, phones_of_whatsapp_user from public, anon, authenticated;
grant execute on function pair_whatsapp_session, claim_whatsapp_sessions, renew_whatsapp_sessions, report_whatsapp_session,
  wipe_whatsapp_session, blank_whatsapp_sent, write_whatsapp_keys, read_whatsapp_keys, list_whatsapp_keys, stale_whatsapp_keys,
  keep_whatsapp_sent, stale_whatsapp_sent, reseal_whatsapp_sent, phones_of_whatsapp_user to service_role;
