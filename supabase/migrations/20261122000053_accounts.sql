-- Accounts, their credits, and the keys under which requests may come again.
--
-- The ledger is these files, in the order of their names. Postgres is the truth: Redis only says what to do next. Row-level
-- security is on everywhere and there is no policy: only the service role works here.
--
-- Each function is one transaction, and may be called again with the same input. What takes many items at once touches only rows
-- that are still in the state it expects, and locks them in one order, so that two batches never wait for each other in a circle;
-- who locks several things does so in this order: the erasures' lock, messages, hunts, credits.
--
-- Functions that take a batch switch sequential scans, hash and merge joins off: they look some hundred rows up by key, but until a
-- table has been analysed the planner knows neither its size nor the batch's, and reads all of it instead (recording 250 outcomes
-- among 20,000 messages: 650 ms that way, 15 ms by key). And `offset 0` keeps a lookup by key from being done by another index.
--
-- Advisory locks: (20261122, 4) erasures; (20261122, 44) the counting of hunts; hashtextextended of a hunt's id with 0: its planning;
-- of account and recipient with 4: a person's caps; of a number with 5: a person's wishes; of a submission's id with 6: what is
-- staged for it; of an Idempotency-Key with 7; of an account with 20261122: its endpoints.

create table accounts (
  id text primary key check (length(id) between 1 and 200),
  status text not null default 'active' check (status in ('active', 'suspended')),
  -- ISO 3166-1 alpha-2; how numbers in national format are read.
  default_country text not null default 'FR' check (default_country ~ '^[A-Z]{2}$'),
  -- The account would rather write to somebody twice than not at all: what becomes unknown is sent again, once.
  resend_unknown boolean not null default false,
  created_at timestamptz not null default now(),
  -- The name of a policy or an object of its own values (docs/compliance.md); null: the service's DEFAULT_POLICY.
  policy jsonb check (jsonb_typeof(policy) in ('string', 'object')),
  -- The account has declared that everybody it contacts has agreed to be.
  consent_declared boolean not null default false,
  -- [{"channel"?, "sender"?, "perSecond"?, "perMinute"?, "perDay"?, "timeZone"?}], see limits_of; null: the service's.
  limits jsonb check (jsonb_typeof(limits) = 'array')
);
create index accounts_limited on accounts (id) where limits is not null;

-- null when the account may send, else the reason why not: unknown_account, suspended_account.
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

-- Tells whether what decides about an account's messages is as it was when somebody looked.
create function account_stamp(p_account accounts) returns text
language sql stable
return md5(concat_ws('|', p_account.default_country, p_account.consent_declared, p_account.policy));

-- No row: the account is not metered on that channel. balance is what can still be reserved.
create table credits (
  account_id text not null references accounts (id),
  channel text not null,
  balance bigint not null default 0 check (balance >= 0),
  reserved bigint not null default 0 check (reserved >= 0),
  spent bigint not null default 0 check (spent >= 0),
  primary key (account_id, channel)
);

-- Releases (or spends) the credits of messages that just settled: [{"account_id", "channel", "spent", "released"}].
create function settle_credits(p_changes jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- One order for all, so that two batches never wait for each other in a circle.
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select r.account_id, r.channel from jsonb_to_recordset(p_changes) as r (account_id text, channel text)
  )
  order by c.account_id, c.channel
  for update;
  update credits c set
    reserved = c.reserved - x.spent - x.released,
    spent = c.spent + x.spent,
    balance = c.balance + x.released
  from (
    select account_id, channel, sum(spent) as spent, sum(released) as released
    from jsonb_to_recordset(p_changes) as r (account_id text, channel text, spent bigint, released bigint)
    group by account_id, channel
  ) x
  where c.account_id = x.account_id and c.channel = x.channel;
end
$$;

-- Adds to what an account can still reserve on a channel, which is metered from then on. Answers {"result": "added" | "replay" |
-- "conflict" | "unknown_account" | "too_many", "response": {"channel", "balance", "reserved", "spent"}}.
create function add_credits(p_account_id text, p_channel text, p_amount bigint, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb;
  v_response jsonb;
begin
  -- One at a time for an account: a second caller with the same key finds what the first has answered.
  perform 1 from accounts where id = p_account_id for no key update;
  if not found then
    return jsonb_build_object('result', 'unknown_account');
  end if;
  v_answer := idempotency_seen(p_idempotency);
  if v_answer is not null then
    return v_answer;
  end if;
  insert into credits as c (account_id, channel, balance) values (p_account_id, p_channel, p_amount)
  -- More than JSON's numbers tell exactly would come back as another.
  on conflict (account_id, channel) do update set balance = c.balance + excluded.balance
    where c.balance + excluded.balance <= 9007199254740991
  returning jsonb_build_object('channel', c.channel, 'balance', c.balance, 'reserved', c.reserved, 'spent', c.spent)
  into v_response;
  if v_response is null then
    return jsonb_build_object('result', 'too_many');
  end if;
  perform idempotency_take(p_idempotency, v_response);
  return jsonb_build_object('result', 'added', 'response', v_response);
end
$$;

-- What requests with an Idempotency-Key were answered: {"scope", "key", "bodyHash"} is what functions are given of one.
create table idempotency_keys (
  scope text not null,
  key text not null,
  body_hash text not null,
  response jsonb not null,
  created_at timestamptz not null default now(),
  primary key (scope, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

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

-- Takes the key for this request: null when it is ours now, or there is no key, else what idempotency_seen answers. A second caller
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

-- All of it is the service's alone.
alter table accounts enable row level security;
alter table credits enable row level security;
alter table idempotency_keys enable row level security;
revoke all on accounts, credits, idempotency_keys from public, anon, authenticated;
grant all on accounts, credits, idempotency_keys to service_role;
revoke all on function account_refusal, account_stamp, settle_credits, add_credits, idempotency_seen,
  idempotency_take from public, anon, authenticated;
grant execute on function account_refusal, account_stamp, settle_credits, add_credits, idempotency_seen, idempotency_take to service_role;
