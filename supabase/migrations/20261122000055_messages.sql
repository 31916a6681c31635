-- Messages, their states and their leads: what may follow what, whoever writes, and whose they are. And the files that messages carry.

create table messages (
  id uuid primary key,
  -- The order in which messages were planned: lists and the sweeper page by it.
  seq bigint generated always as identity,
  -- No foreign keys: see check_owners.
  account_id text,
  hunt_id text,
  ad_id text,
  -- 0 for a contact, 1, 2, … for the same contact given again in one submission: always skipped.
  copy integer not null default 0 check (copy >= 0),
  channel text not null,
  queue text not null,
  -- E.164, or what the caller gave where it is not a number.
  recipient text not null,
  sender text,
  content jsonb not null,
  priority integer not null default 0,
  status text not null default 'queued' check (
    status in ('queued', 'sending', 'sent', 'delivered', 'read', 'failed', 'skipped', 'cancelled', 'unknown')
  ),
  -- Why it was skipped, or with what code it failed; detail says it in words.
  code text,
  detail text,
  -- Where this message's credit is; 'none' when the account is not metered on the channel.
  credit text not null default 'none' check (credit in ('none', 'reserved', 'spent', 'released')),
  provider text,
  provider_message_id text,
  attempts integer not null default 0,
  -- The one call of a provider that may be under way or of unknown fate.
  attempt_id uuid,
  attempt_started_at timestamptz,
  -- Until then the attempt belongs to the worker that began it (or that claimed it to reconcile it).
  held_until timestamptz,
  -- Set by a worker that took an abandoned attempt over: from then on the first worker cannot go on.
  claim uuid,
  -- Failed with proof that the provider did not accept it: sending again is safe.
  retryable boolean not null default false,
  expires_at timestamptz not null default now() + interval '7 days',
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  sent_at timestamptz,
  delivered_at timestamptz,
  read_at timestamptz,
  -- null exactly while it is queued or sending.
  settled_at timestamptz,
  needs_attention boolean not null generated always as (status in ('unknown', 'failed')) stored,
  -- The same person's message over the channel that is next in line, as insert_messages takes it: written when this one turns out
  -- not to reach them.
  next jsonb,
  -- As we counted when it was accepted; null for what has no segments.
  segments integer generated always as (
    case when jsonb_typeof(content -> 'segments') = 'number' then (content ->> 'segments')::numeric::integer end
  ) stored,
  -- As its provider counted and charged, where it has said so; the currency by ISO 4217.
  provider_segments integer,
  price numeric,
  currency text,
  -- By which somebody who was erased is known.
  recipient_hash text,
  -- null: what the person asked for.
  category text check (category = 'marketing'),
  -- Waiting in the queue for something that is not its sender's turn: its hours, or a sender that is away.
  put_off_until timestamptz,
  -- Which of its submission's variants it says.
  variant text,
  -- Not before it; -infinity: at once. zone: the recipient's, where that decides. Written once, so no attempt touches the index.
  send_at timestamptz not null default '-infinity',
  zone text not null default '',
  check (copy = 0 or status = 'skipped')
) with (
  -- A page is left room for a second version of each of its rows: with less, most updates of begin_attempts found none, went to
  -- another page, and had to touch every index after all.
  fillfactor = 45
);
-- Nobody is contacted twice by one hunt, whatever the queue does.
create unique index messages_contact on messages (hunt_id, ad_id, channel) where copy = 0;
create index messages_recipient on messages (recipient, hunt_id, channel);
create index messages_hunt on messages (hunt_id, seq) where hunt_id is not null;
-- Not by provider too: an index on anything that begin_attempts changes makes each of its updates touch every index.
create unique index messages_provider_message on messages (provider_message_id)
  where provider_message_id is not null;
-- None of these looks at the status itself: so the update that begins an attempt touches no index (a HOT update).
create index messages_open on messages (seq) where settled_at is null;
create index messages_attention on messages (seq) where needs_attention;
-- Counting what a flow has under way, and finding what comes next in it.
create index messages_flow on messages (hunt_id, send_at, seq) where settled_at is null and hunt_id is not null;

create table message_events (
  id bigint generated always as identity primary key,
  -- No foreign key: checking it would lock each message once more, and only functions of these files write here.
  message_id uuid not null,
  -- What happened: the status it led to, or 'retry', 'requeued', 'reply', 'resolved'.
  kind text not null,
  code text,
  attempt_id uuid,
  at timestamptz not null default now()
);
create index message_events_message on message_events (message_id, id);

-- What may follow what. Workers, receipts and people may come late or twice: a state never moves back by them.
-- This and lead_stage_rank have a body in standard SQL and no settings, so that the triggers' conditions inline them.
create function message_may_become(old_status text, new_status text, proven_not_sent boolean) returns boolean
language sql immutable parallel safe
return case old_status
    -- sent, unknown: the ledger was set back to an older state and learns what happened since.
    when 'queued' then new_status in ('sending', 'sent', 'unknown', 'failed', 'skipped', 'cancelled')
    -- Back to queued: the provider has proven that it did not accept the attempt.
    when 'sending' then new_status in ('queued', 'sent', 'failed', 'unknown')
    when 'unknown' then new_status in ('queued', 'sent', 'delivered', 'read', 'failed')
    when 'sent' then new_status in ('delivered', 'read', 'failed')
    when 'delivered' then new_status = 'read'
    -- A person asked for another try, and nothing was sent.
    when 'failed' then new_status = 'queued' and proven_not_sent
    else false
  end;

create function check_message_transition() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'message % cannot go from % to %', old.id, old.status, new.status
    using errcode = 'check_violation';
end
$$;

create trigger messages_transition before update of status on messages
for each row when (
  old.status is distinct from new.status and not message_may_become(old.status, new.status, old.retryable)
)
execute function check_message_transition();

-- One a contact of an account. The web app moves a lead on from 'replied'; the stage never moves back.
create table leads (
  account_id text not null,
  ad_id text not null,
  phone text,
  hunt_id text,
  stage text not null default 'new' check (stage in ('new', 'contacted', 'replied', 'qualified', 'won', 'lost')),
  contacted_at timestamptz,
  replied_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (account_id, ad_id)
) with (
  -- Each lead is written once more, when its contact is first reached: with less room, most of these updates went to another page,
  -- and into the index once more.
  fillfactor = 50
);

create function lead_stage_rank(stage text) returns integer
language sql immutable parallel safe
return array_position(array['new', 'contacted', 'replied', 'qualified', 'won', 'lost'], stage);

create function keep_lead_stage() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if public.lead_stage_rank(new.stage) < public.lead_stage_rank(old.stage) then
    new.stage := old.stage;
  end if;
  new.updated_at := now();
  return new;
end
$$;

create trigger leads_stage before update on leads
for each row when (
  lead_stage_rank(new.stage) < lead_stage_rank(old.stage) or old.updated_at is not distinct from new.updated_at
)
execute function keep_lead_stage();

-- Whose a message or lead is (its account, its hunt) is looked at once a statement, and not once a row and column: foreign keys were a
-- third of what planning costs. What holds is the same, with the same code (23503): none is written for somebody who is not there,
-- and nobody goes who has any. Who truncates by hand has to name messages and leads himself.
--
-- Of new rows. The locks are those of a foreign key: whoever deletes an owner at the same time waits, or is waited for.
create function check_owners() returns trigger
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_accounts text[] := array(select distinct a.account_id from added a where a.account_id is not null order by 1);
  v_hunts text[] := array(select distinct a.hunt_id from added a where a.hunt_id is not null order by 1);
  v_found integer;
begin
  perform 1 from accounts a where a.id = any (v_accounts) order by a.id for key share;
  get diagnostics v_found = row_count;
  if v_found < cardinality(v_accounts) then
    raise foreign_key_violation using message = format('%s: there is no such account', tg_table_name);
  end if;
  if v_hunts = '{}' then
    return null;
  end if;
  perform 1 from hunts h where h.id = any (v_hunts) order by h.id for key share;
  get diagnostics v_found = row_count;
  if v_found < cardinality(v_hunts) then
    raise foreign_key_violation using message = format('%s: there is no such hunt', tg_table_name);
  end if;
  return null;
end
$$;

create trigger messages_owners after insert on messages
  referencing new table as added for each statement execute function check_owners();

create trigger leads_owners after insert on leads
  referencing new table as added for each statement execute function check_owners();

-- Of a row that is given to somebody else.
create function check_new_owner() returns trigger
language plpgsql
set search_path = public
as $$
begin
  perform 1 from accounts a where a.id = new.account_id for key share;
  if new.account_id is not null and not found then
    raise foreign_key_violation using message = format('%s: there is no such account', tg_table_name);
  end if;
  perform 1 from hunts h where h.id = new.hunt_id for key share;
  if new.hunt_id is not null and not found then
    raise foreign_key_violation using message = format('%s: there is no such hunt', tg_table_name);
  end if;
  return null;
end
$$;

create trigger messages_new_owner after update of account_id, hunt_id on messages
  for each row when (old.account_id is distinct from new.account_id or old.hunt_id is distinct from new.hunt_id)
  execute function check_new_owner();

create trigger leads_new_owner after update of account_id, hunt_id on leads
  for each row when (old.account_id is distinct from new.account_id or old.hunt_id is distinct from new.hunt_id)
  execute function check_new_owner();

-- After, because then its lock is held: whoever wrote something for it before has committed, and is seen.
create function check_owned() returns trigger
language plpgsql
set search_path = public
as $$
declare
  v_column text := case tg_table_name when 'accounts' then 'account_id' else 'hunt_id' end;
  v_owned boolean;
begin
  execute format(
    'select exists (select 1 from messages where %1$I = $1) or exists (select 1 from leads where %1$I = $1)', v_column
  ) into v_owned using old.id;
  if v_owned then
    raise foreign_key_violation using message = format('%s: it has messages or leads', tg_table_name);
  end if;
  return null;
end
$$;

create trigger accounts_owned after delete on accounts for each row execute function check_owned();
create trigger accounts_renamed after update of id on accounts
  for each row when (old.id <> new.id) execute function check_owned();

create trigger hunts_owned after delete on hunts for each row execute function check_owned();
create trigger hunts_renamed after update of id on hunts
  for each row when (old.id <> new.id) execute function check_owned();

-- Files that a caller uploaded to be sent, in base64; gone after eight days: one more than a hunt lasts.
create table media (
  id uuid primary key,
  account_id text not null references accounts (id),
  content_type text not null,
  file_name text,
  size integer not null,
  data text not null,
  created_at timestamptz not null default now()
);
create index media_age on media (created_at);

-- All of it is the service's alone.
alter table messages enable row level security;
alter table message_events enable row level security;
alter table leads enable row level security;
alter table media enable row level security;
revoke all on messages, message_events, leads, media from public, anon, authenticated;
grant all on messages, message_events, leads, media to service_role;
revoke all on sequence messages_seq_seq, message_events_id_seq from public, anon, authenticated;
revoke all on function message_may_become, check_message_transition, lead_stage_rank, keep_lead_stage, check_owners, check_new_owner,
  check_owned from public, anon, authenticated;
grant execute on function message_may_become, check_message_transition, lead_stage_rank, keep_lead_stage, check_owners, check_new_owner,
  check_owned to service_role;
