-- The ledger and what belongs to it. Postgres is the truth: Redis only says what to do next.
-- Row-level security is on everywhere and there is no policy: only the service role works here.

create table accounts (
  id text primary key check (length(id) between 1 and 200),
  status text not null default 'active' check (status in ('active', 'suspended')),
  -- ISO 3166-1 alpha-2; how numbers in national format are read.
  default_country text not null default 'FR' check (default_country ~ '^[A-Z]{2}$'),
  -- The account would rather write to somebody twice than not at all: what becomes unknown is sent again, once.
  resend_unknown boolean not null default false,
  created_at timestamptz not null default now()
);

create table hunts (
  id text primary key check (length(id) between 1 and 200),
  account_id text not null references accounts (id),
  priority text not null default 'normal' check (priority in ('high', 'normal', 'low')),
  -- Nothing is sent after it, so that a restored backup cannot wake an old hunt.
  expires_at timestamptz not null default now() + interval '7 days',
  created_at timestamptz not null default now()
);

-- One accepted call of POST /api/hunt/execute. A hunt may be added to by further ones.
create table hunt_submissions (
  job_id uuid primary key,
  hunt_id text not null references hunts (id),
  contacts integer not null check (contacts > 0),
  accepted_at timestamptz not null default now(),
  planned_at timestamptz,
  -- The database was restored from a backup while this was open: it may have been sent since.
  suspect boolean not null default false
);
create index hunt_submissions_hunt on hunt_submissions (hunt_id);
create index hunt_submissions_open on hunt_submissions (accepted_at) where planned_at is null;

-- The contacts of a submission until they are planned. Staged before the submission is accepted, so no foreign key.
create table hunt_chunks (
  job_id uuid not null,
  no integer not null,
  size integer not null,
  contacts jsonb,
  created_at timestamptz not null default now(),
  planned_at timestamptz,
  primary key (job_id, no)
);

create table messages (
  id uuid primary key,
  -- The order in which messages were planned: lists and the sweeper page by it.
  seq bigint generated always as identity,
  account_id text references accounts (id),
  hunt_id text references hunts (id),
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
  check (copy = 0 or status = 'skipped')
) with (fillfactor = 70);

-- Nobody is contacted twice by one hunt, whatever the queue does.
create unique index messages_contact on messages (hunt_id, ad_id, channel) where copy = 0;
create index messages_recipient on messages (recipient, hunt_id, channel);
create index messages_hunt on messages (hunt_id, seq) where hunt_id is not null;
-- Not by provider too: an index on anything that begin_attempts changes makes each of its updates touch every index.
create unique index messages_provider_message on messages (provider_message_id)
  where provider_message_id is not null;
-- Neither index looks at the status itself: so the update that begins an attempt touches no index (a HOT update).
create index messages_open on messages (seq) where settled_at is null;
create index messages_attention on messages (seq) where needs_attention;

create table message_events (
  id bigint generated always as identity primary key,
  -- No foreign key: checking it would lock each message once more, and only the functions below write here.
  message_id uuid not null,
  -- What happened: the status it led to, or 'retry', 'requeued', 'reply'.
  kind text not null,
  code text,
  attempt_id uuid,
  at timestamptz not null default now()
);
create index message_events_message on message_events (message_id, id);

-- One a contact of an account. The web app moves a lead on from 'replied'; the stage never moves back.
create table leads (
  account_id text not null references accounts (id),
  ad_id text not null,
  phone text,
  hunt_id text references hunts (id),
  stage text not null default 'new' check (stage in ('new', 'contacted', 'replied', 'qualified', 'won', 'lost')),
  contacted_at timestamptz,
  replied_at timestamptz,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (account_id, ad_id)
) with (fillfactor = 80);

-- No row: the account is not metered on that channel. balance is what can still be reserved.
create table credits (
  account_id text not null references accounts (id),
  channel text not null,
  balance bigint not null default 0 check (balance >= 0),
  reserved bigint not null default 0 check (reserved >= 0),
  spent bigint not null default 0 check (spent >= 0),
  primary key (account_id, channel)
);

-- Numbers that must not be contacted, by an account or (account_id null) by anybody.
create table suppressions (
  id bigint generated always as identity primary key,
  account_id text references accounts (id),
  phone text not null,
  reason text not null default 'manual',
  message_id uuid,
  created_at timestamptz not null default now(),
  unique nulls not distinct (account_id, phone)
);
create index suppressions_phone on suppressions (phone);

create table replies (
  id bigint generated always as identity primary key,
  message_id uuid references messages (id) on delete set null,
  account_id text,
  phone text not null,
  provider text not null,
  text text not null,
  at timestamptz not null
);
create index replies_message on replies (message_id);

-- Receipts that came before the message knew its provider's id: kept, and merged when it does.
create table pending_receipts (
  provider text not null,
  provider_message_id text not null,
  status text not null,
  code text,
  at timestamptz not null,
  received_at timestamptz not null default now(),
  primary key (provider, provider_message_id, status)
);

-- Counts up while the service runs, and is copied to Redis each time: a copy that is greater than the original tells that
-- this database was restored from a backup.
create table epoch (
  one boolean primary key default true check (one),
  value bigint not null default 1
);
insert into epoch default values;

create table idempotency_keys (
  scope text not null,
  key text not null,
  body_hash text not null,
  response jsonb not null,
  created_at timestamptz not null default now(),
  primary key (scope, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

do $$
declare
  t text;
begin
  foreach t in array array[
    'accounts', 'hunts', 'hunt_submissions', 'hunt_chunks', 'messages', 'message_events', 'leads', 'credits',
    'suppressions', 'replies', 'pending_receipts', 'epoch', 'idempotency_keys'
  ] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
  foreach t in array array['messages_seq_seq', 'message_events_id_seq', 'suppressions_id_seq', 'replies_id_seq'] loop
    execute format('revoke all on sequence public.%I from anon, authenticated', t);
  end loop;
end
$$;
