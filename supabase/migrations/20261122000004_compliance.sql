-- Who must not be contacted, who is to be forgotten, and when the others may be written to.

-- `reason` says where an entry comes from: stop (a reply), carrier, manual, import, erased; `note` is the caller's own words.
-- The entry of somebody who was erased has, in place of the number, its salted hash.
alter table suppressions add column note text;

alter table accounts
  -- The name of a policy or an object of its own values (docs/compliance.md); null: the service's DEFAULT_POLICY.
  add column policy jsonb check (jsonb_typeof(policy) in ('string', 'object')),
  -- The account has declared that everybody it contacts has agreed to be.
  add column consent_declared boolean not null default false;

-- recipient_hash: by which somebody who was erased is known. category: marketing, or null for what the person asked for.
alter table messages
  add column recipient_hash text,
  add column category text check (category = 'marketing');

create index replies_phone on replies (phone);

-- What is left to be done of an erasure: a message whose job may still be in a queue, or whose attempt is not over yet.
create table erasures (
  message_id uuid primary key,
  queue text not null,
  created_at timestamptz not null default now()
);
alter table erasures enable row level security;
revoke all on erasures from anon, authenticated;
grant all on erasures to service_role;

-- Of [{"withinMs", "max", "words"}] the words of the first that is full: so many marketing messages of this account have been
-- accepted for this person within that time, or may have been. p_more: further ones that are about to be.
create function full_cap(p_account_id text, p_recipient text, p_id uuid, p_caps jsonb, p_more integer default 0)
returns text
language sql stable
set search_path = public
set enable_seqscan = off
as $$
  select k.cap ->> 'words' from jsonb_array_elements(p_caps) with ordinality as k (cap, n)
  where p_more + (
    select count(*) from messages m
    where m.recipient = p_recipient and m.account_id is not distinct from p_account_id and m.id <> p_id
      and m.category = 'marketing'
      and m.status in ('sending', 'sent', 'delivered', 'read', 'unknown')
      and coalesce(m.sent_at, m.attempt_started_at) >= now() - make_interval(secs => (k.cap ->> 'withinMs')::double precision / 1000)
  ) >= (k.cap ->> 'max')::integer
  order by k.n limit 1
$$;

-- Writes ledger rows, their leads and the reservation of their credits. Decides what is skipped for a reason that only
-- the database knows: suppressed, duplicate, frequency_cap, no_credit. Rows whose id exists already are left alone; of
-- somebody who was erased neither number nor text is written.
create or replace function insert_messages(p_rows jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
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
      category text, caps jsonb
    )) with ordinality as r (
      id, account_id, hunt_id, ad_id, copy, channel, queue, recipient,
      sender, content, priority, expires_at, skip, detail, next, recipient_hash, category, caps, n
    )
    where not exists (select 1 from messages m where m.id = r.id)
  ),
  known as (
    select i.*, exists (select 1 from suppressions s where s.phone = i.recipient_hash) as erased from input i
  ),
  judged as (
    select i.*, case
      when i.erased then 'suppressed'
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
      when jsonb_array_length(i.caps) > 0 and full_cap(i.account_id, i.recipient, i.id, i.caps) is not null
        then 'frequency_cap'
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
      status, code, detail, next, credit, settled_at, recipient_hash, category
    )
    select f.id, f.account_id, f.hunt_id, f.ad_id, coalesce(f.copy, 0), f.channel, f.queue,
      case when f.erased then 'erased' else f.recipient end, f.sender,
      case when f.erased then '{}' else f.content end, coalesce(f.priority, 0), coalesce(f.expires_at, now() + interval '7 days'),
      case when f.reason is not null or f.unfunded then 'skipped' else 'queued' end,
      case when f.unfunded then 'no_credit' else f.reason end,
      case
        when f.erased then null
        when f.reason = 'frequency_cap' then full_cap(f.account_id, f.recipient, f.id, f.caps)
        else f.detail
      end,
      case when not f.erased then f.next end,
      case when f.reason is null and f.metered and not f.unfunded then 'reserved' else 'none' end,
      case when f.reason is not null or f.unfunded then now() end,
      case when not f.erased then f.recipient_hash end, f.category
    from funded f
    order by f.n
    on conflict do nothing
    returning id, account_id, hunt_id, ad_id, channel, queue, recipient, status, code, credit
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
    insert into message_events (message_id, kind, code) select id, status, code from inserted where status = 'skipped'
  )
  insert into leads (account_id, ad_id, phone, hunt_id)
  select account_id, ad_id, nullif(recipient, 'erased'), hunt_id from inserted where account_id is not null and ad_id is not null
  on conflict (account_id, ad_id) do nothing;
end
$$;

-- What a plan job needs: the hunt, its account's country and policy, and the contacts (null once the submission is planned).
create or replace function read_chunk(p_job_id uuid, p_no integer) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'huntId', h.id, 'accountId', h.account_id, 'priority', h.priority, 'expiresAt', h.expires_at,
    'defaultCountry', a.default_country, 'policy', a.policy,
    'consentDeclared', a.consent_declared, 'contacts', c.contacts
  )
  from hunt_submissions s
  join hunts h on h.id = s.hunt_id
  join accounts a on a.id = h.account_id
  join hunt_chunks c on c.job_id = s.job_id and c.no = p_no
  where s.job_id = p_job_id
$$;

-- May these messages be sent now? [{"id", "attempt_id", "provider", "hold_ms", "opens_in_ms", "why", "caps"}] → a verdict for each:
--   go         the attempt is in the ledger and is the caller's for hold_ms: call the provider
--   wait       another worker's attempt is under way, or it may not be sent yet: ask again in retry_in_ms
--   reconcile  an attempt of unknown fate (attempt_id, started_at) is the caller's to clear up, for hold_ms
--   skipped    just now, for the reason in code: suppressed, expired, suspended_account, frequency_cap
--   settled    it has come to its end already (status says to which)
--   missing    the ledger does not know it
-- opens_in_ms, why: the caller has found that it may not be sent before that. caps: as full_cap takes them, counted in the very
-- transaction that begins the attempt.
-- A worker that was taken over gets no further go: its attempt carries a claim by then.
-- p_epoch is the greatest that the caller has seen: a database that is behind it was restored from a backup, and does
-- not know what was sent since. Nothing begins before adopt_epoch has dealt with that. One step less is a failover that
-- lost a few seconds: what was sent in them is learned from the outcomes that the jobs keep.
create or replace function begin_attempts(p_items jsonb, p_epoch bigint default 0)
returns table (
  id uuid, verdict text, status text, code text, recipient text, attempt_id uuid, attempts integer,
  started_at timestamptz, retry_in_ms integer
)
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
#variable_conflict use_column
declare
  v_skipped uuid[];
  v_credits jsonb;
begin
  if p_epoch > (select value + 1 from epoch) then
    raise exception 'the ledger is older than epoch %', p_epoch using errcode = 'AP001';
  end if;

  perform 1 from messages m
  where m.id in (select r.id from jsonb_to_recordset(p_items) as r (id uuid))
  order by m.id for update;

  -- Whoever counts what a person has got lately counts alone, or two messages to them could each be the last that is
  -- allowed. In one order, so that two batches never wait for each other in a circle.
  perform pg_advisory_xact_lock(x.person) from (
    select distinct hashtextextended(coalesce(m.account_id, '') || ' ' || m.recipient, 4) as person
    from jsonb_to_recordset(p_items) as r (id uuid, opens_in_ms bigint, caps jsonb)
    cross join lateral (select m.* from messages m where m.id = r.id offset 0) m
    where m.status = 'queued' and jsonb_array_length(r.caps) > 0 and r.opens_in_ms is null
    order by 1 offset 0
  ) x;

  with waiting as (
    select m.id, m.account_id, m.recipient, m.seq, m.credit, m.detail, r.caps,
      r.opens_in_ms is null and jsonb_array_length(r.caps) > 0 as counts,
      case
        when m.expires_at <= now() then 'expired'
        when m.recipient = 'erased' or exists (
          select 1 from suppressions s
          where s.phone in (m.recipient, m.recipient_hash) and (s.account_id is null or s.account_id = m.account_id)
        ) then 'suppressed'
        when exists (select 1 from accounts a where a.id = m.account_id and a.status = 'suspended') then 'suspended_account'
      end as reason
    from jsonb_to_recordset(p_items) as r (id uuid, opens_in_ms bigint, caps jsonb)
    -- offset 0: by the key, not through the index of everything that is open.
    cross join lateral (select m.* from messages m where m.id = r.id offset 0) m
    where m.status = 'queued'
  ),
  counted as (
    select w.*, case when w.reason is null and w.counts then full_cap(
      w.account_id, w.recipient, w.id, w.caps,
      -- Those before it in this very call.
      (count(*) filter (where w.reason is null and w.counts) over (
        partition by w.account_id, w.recipient order by w.seq rows between unbounded preceding and 1 preceding
      ))::integer
    ) end as full_cap
    from waiting w
  ),
  barred as (
    select c.id, c.credit, coalesce(c.reason, 'frequency_cap') as reason, coalesce(c.full_cap, c.detail) as detail
    from counted c where c.reason is not null or c.full_cap is not null
  ),
  skipped as (
    update messages m set
      status = 'skipped', code = b.reason, detail = b.detail, settled_at = now(), updated_at = now(),
      credit = case m.credit when 'reserved' then 'released' else m.credit end
    from barred b where m.id = b.id
    returning m.id, m.account_id, m.channel, m.code, b.credit
  ),
  events as (
    insert into message_events (message_id, kind, code) select k.id, 'skipped', k.code from skipped k
  )
  select array_agg(k.id), jsonb_agg(jsonb_build_object(
    'account_id', k.account_id, 'channel', k.channel, 'spent', 0, 'released', 1
  )) filter (where k.credit = 'reserved')
  into v_skipped, v_credits
  from skipped k;
  if v_credits is not null then
    perform settle_credits(v_credits);
  end if;

  return query
  with judged as (
    select w.id, w.attempt_id as mine, w.provider, w.hold_ms, m.status, m.code, m.recipient, m.attempt_id as theirs, m.attempts,
      m.attempt_started_at, m.held_until, m.expires_at, w.opens_in_ms, w.why,
      case
        when m.id is null then 'missing'
        when m.id = any (v_skipped) then 'skipped'
        when m.status = 'queued' and w.opens_in_ms > 0 then 'wait'
        when m.status = 'queued' then 'go'
        when m.status <> 'sending' then 'settled'
        when m.claim = w.attempt_id then 'reconcile'
        when m.attempt_id = w.attempt_id and m.claim is null then 'go'
        when m.held_until > now() then 'wait'
        else 'reconcile'
      end as verdict
    from jsonb_to_recordset(p_items) as w (
      id uuid, attempt_id uuid, provider text, hold_ms integer, opens_in_ms bigint, why text
    )
    left join messages m on m.id = w.id
  ),
  started as (
    update messages m set
      status = 'sending', attempts = m.attempts + case m.status when 'queued' then 1 else 0 end,
      attempt_id = j.mine, attempt_started_at = now(), claim = null, provider = j.provider, detail = null,
      held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'go'
  ),
  put_off as (
    update messages m set detail = j.why from judged j
    where m.id = j.id and j.verdict = 'wait' and j.status = 'queued' and m.detail is distinct from j.why
  ),
  claimed as (
    update messages m set
      claim = j.mine, held_until = now() + make_interval(secs => j.hold_ms / 1000.0), updated_at = now()
    from judged j where m.id = j.id and j.verdict = 'reconcile'
  )
  select j.id, j.verdict, j.status, j.code, j.recipient,
    case j.verdict when 'go' then j.mine else j.theirs end,
    case when j.verdict = 'go' and j.status = 'queued' then j.attempts + 1 else j.attempts end,
    j.attempt_started_at,
    case j.verdict when 'wait' then least(2147483647, ceil(case j.status
      -- What is over before its hours begin ends then.
      when 'queued' then least(j.opens_in_ms, extract(epoch from j.expires_at - now()) * 1000)
      else extract(epoch from j.held_until - now()) * 1000
    end))::integer end
  from judged j;
end
$$;

-- Something that a person wrote back, as before; "start" takes back what a reply of theirs has stopped for that account.
create or replace function record_reply(p_reply jsonb) returns boolean
language plpgsql
set search_path = public
as $$
declare
  v_account text := p_reply ->> 'account_id';
  v_phones text[] := array[p_reply ->> 'phone']
    || array(select jsonb_array_elements_text(coalesce(p_reply -> 'aliases', '[]')));
  v_message messages;
  v_new boolean;
begin
  select * into v_message from messages m
  where m.provider = p_reply ->> 'provider' and m.provider_message_id = p_reply ->> 'provider_message_id'
    and (v_account is null or m.account_id = v_account);
  if not found then
    select * into v_message from messages m
    -- Who answers has got it, whether or not its sending has been confirmed yet.
    where m.recipient = any (v_phones) and (m.sent_at is not null or m.status in ('sending', 'unknown'))
      and (v_account is null or m.account_id = v_account)
    -- Whoever answers over WhatsApp means what came over it.
    order by m.provider is distinct from p_reply ->> 'provider', m.sent_at desc nulls first limit 1;
  end if;
  if v_message.recipient <> 'erased' then
    v_phones := v_message.recipient || array_remove(v_phones, v_message.recipient);
  end if;
  insert into replies (message_id, account_id, phone, provider, provider_reply_id, text, at)
  values (
    v_message.id, coalesce(v_message.account_id, v_account), v_phones[1],
    p_reply ->> 'provider', p_reply ->> 'reply_id',
    p_reply ->> 'text', (p_reply ->> 'at')::timestamptz
  )
  -- Without a text it could not be decrypted, and its sender's phone was asked to send it again.
  on conflict (provider, provider_reply_id) do update set text = excluded.text
    where replies.text = '' and excluded.text <> ''
  returning xmax = 0 into v_new;
  if not found then
    return false;
  end if;
  if v_message.id is not null and v_new then
    insert into message_events (message_id, kind) values (v_message.id, 'reply');
    update leads set stage = 'replied', replied_at = coalesce(replied_at, now())
    where account_id = v_message.account_id and ad_id = v_message.ad_id;
  end if;
  if (p_reply ->> 'stop')::boolean then
    insert into suppressions (account_id, phone, reason, message_id)
    select coalesce(v_message.account_id, v_account), x.phone, 'stop', v_message.id
    from unnest(v_phones) as x (phone)
    -- A person of whom only a LID is known has no number that could be written to.
    where x.phone not like 'lid:%'
    on conflict do nothing;
    return found;
  end if;
  if (p_reply ->> 'start')::boolean then
    -- What a person's own reply has stopped; not what was stopped by hand or by the carrier.
    delete from suppressions s
    where s.reason = 'stop' and s.phone = any (v_phones)
      and s.account_id is not distinct from coalesce(v_message.account_id, v_account);
  end if;
  return false;
end
$$;

drop function open_messages(bigint, integer, integer);

-- Messages that should be in a queue, a page after p_after in the order of planning; the sweeper compares.
create function open_messages(p_after bigint, p_limit integer, p_older_than_ms integer)
returns table (
  id uuid, seq bigint, queue text, status text, channel text, recipient text, sender text, content jsonb,
  priority integer, account_id text, hunt_id text, ad_id text, retry_in_ms integer, category text
)
language sql stable
set search_path = public
as $$
  select m.id, m.seq, m.queue, m.status, m.channel, m.recipient, m.sender, m.content, m.priority, m.account_id,
    m.hunt_id, m.ad_id, greatest(0, ceil(extract(epoch from m.held_until - now()) * 1000))::integer,
    m.category
  from messages m
  where m.settled_at is null and m.status in ('queued', 'sending') and m.seq > p_after
    and m.updated_at < now() - make_interval(secs => p_older_than_ms / 1000.0)
  order by m.seq
  limit p_limit
$$;

-- Adds to the list, [{"account_id", "phone", "reason", "note"}]. Answers in their order the entry, or null where there is no
-- such account. What a reply has stopped is from now on stopped by hand: no reply takes that back.
create function put_suppressions(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_item jsonb;
  v_entry jsonb;
  v_answer jsonb := '[]';
begin
  for v_item in select value from jsonb_array_elements(p_items) loop
    v_entry := null;
    if v_item ->> 'account_id' is null or exists (select 1 from accounts where id = v_item ->> 'account_id') then
      insert into suppressions as s (account_id, phone, reason, note)
      values (v_item ->> 'account_id', v_item ->> 'phone', v_item ->> 'reason', v_item ->> 'note')
      on conflict (account_id, phone) do update set
        reason = case s.reason when 'stop' then excluded.reason else s.reason end,
        note = coalesce(excluded.note, s.note)
      returning to_jsonb(s) || jsonb_build_object('added', s.xmax = 0) into v_entry;
    end if;
    v_answer := v_answer || coalesce(v_entry, 'null');
  end loop;
  return v_answer;
end
$$;

-- A page of the list in the order of its making, after p_after. p_filter: "account_id", "everybody" (true: only what holds for
-- every account), "phones" (a number and its hash). One value, because rows would be cut off at the API's limit (1000 on
-- Supabase) without a word.
create function list_suppressions(p_filter jsonb, p_after bigint, p_limit integer) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(to_jsonb(x) order by x.id), '[]') from (
    select * from suppressions s
    where s.id > p_after
      and (p_filter ->> 'account_id' is null or s.account_id = p_filter ->> 'account_id')
      and (not coalesce((p_filter ->> 'everybody')::boolean, false) or s.account_id is null)
      and (p_filter -> 'phones' is null or s.phone in (select jsonb_array_elements_text(p_filter -> 'phones')))
    order by s.id limit p_limit
  ) x
$$;

-- Takes an entry of one account, or of everybody, off the list; answers whether there was one.
create function lift_suppression(p_account_id text, p_phones jsonb) returns boolean
language plpgsql
set search_path = public
as $$
begin
  delete from suppressions s
  where s.account_id is not distinct from p_account_id
    and s.phone in (select jsonb_array_elements_text(p_phones));
  return found;
end
$$;

-- What is kept beside the messages about somebody who uses this number, up to what WhatsApp's own protocol remembers.
create function forget_phone(p_phone text) returns void
language plpgsql
set search_path = public
as $$
declare
  v_jids text[];
  v_users text[];
begin
  select array_agg(x.jid) into v_jids from (
    select ltrim(p_phone, '+') || '@s.whatsapp.net' as jid
    union
    select unnest(array[n.jid, n.lid]) from whatsapp_numbers n where n.phone = p_phone
  ) x where x.jid is not null;
  -- Without the server, and without the device: 33612345678:4@s.whatsapp.net.
  select array_agg(distinct split_part(split_part(j, '@', 1), ':', 1)) into v_users from unnest(v_jids) as j;
  delete from suppressions where phone = p_phone;
  delete from whatsapp_sent where jid = any (v_jids)
    or split_part(split_part(jid, '@', 1), ':', 1) || '@' || split_part(jid, '@', 2) = any (v_jids);
  delete from whatsapp_contacts where phone = p_phone;
  delete from whatsapp_numbers where phone = p_phone;
  delete from whatsapp_keys k
  where k.type not in ('creds', 'pre-key') and substring(k.id from '^[0-9]{5,}') = any (v_users);
end
$$;

-- Makes messages nobody's. An attempt that is under way is left alone: its provider may have to be asked about that number.
create function anonymise_messages(p_ids uuid[]) returns void
language sql
set search_path = public
as $$
  update messages set
    recipient = 'erased', recipient_hash = null, content = '{}', next = null, retryable = false
  where id = any (p_ids) and status <> 'sending' and recipient <> 'erased'
$$;

-- Contacts that wait to be planned and whose number may be this one, by its last four digits or because it is not written in
-- plain ones: [{"jobId", "no", "place", "phone", "country"}].
create function contacts_like(p_phone text) returns jsonb
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
  left join accounts a on a.id = h.account_id
  where c.contacts is not null
    and (regexp_replace(x.phone, '[^0-9]', '', 'g') like '%' || right(p_phone, 4) or x.phone ~ '[^ -~]')
$$;

-- Forgets a person: everything about the number goes, or is nobody's afterwards, and its hash stays suppressed for everybody.
-- p_contacts: those of contacts_like that are theirs. Answers how many of what, and "left": messages that have to be seen to
-- in the queues.
create function erase_person(p_phone text, p_hash text, p_contacts jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_ids uuid[];
  v_skipped jsonb;
  v_leads integer;
  v_replies integer;
  v_contact jsonb;
  v_contacts integer := 0;
  v_left jsonb;
begin
  -- Waits for what is being planned; what is planned from now on finds the hash.
  perform pg_advisory_xact_lock(20261122, 4);
  insert into suppressions as s (account_id, phone, reason) values (null, p_hash, 'erased')
  on conflict (account_id, phone) do nothing;

  select array_agg(x.id) into v_ids
  from (select m.id from messages m where m.recipient = p_phone order by m.id for update) x;

  with skipped as (
    update messages m set
      status = 'skipped', code = 'suppressed', detail = null, settled_at = now(), updated_at = now(),
      credit = case m.credit when 'reserved' then 'released' else m.credit end
    where m.id = any (v_ids) and m.status = 'queued'
    returning m.id, m.account_id, m.channel, m.credit
  ),
  events as (
    insert into message_events (message_id, kind, code) select k.id, 'skipped', 'suppressed' from skipped k
  )
  select jsonb_agg(jsonb_build_object('account_id', k.account_id, 'channel', k.channel, 'spent', 0, 'released', 1))
  into v_skipped from skipped k where k.credit = 'released';
  if v_skipped is not null then
    perform settle_credits(v_skipped);
  end if;

  update leads l set phone = null
  from (select distinct account_id, ad_id from messages where id = any (v_ids) and ad_id is not null) m
  where l.account_id = m.account_id and l.ad_id = m.ad_id and l.phone = p_phone;
  get diagnostics v_leads = row_count;

  -- Not empty: a reply without a text is filled in when it comes again.
  update replies set phone = 'erased', text = '[erased]' where phone = p_phone or message_id = any (v_ids);
  get diagnostics v_replies = row_count;

  insert into erasures (message_id, queue) select m.id, m.queue from messages m where m.id = any (v_ids)
  on conflict (message_id) do update set created_at = now();
  perform anonymise_messages(v_ids);
  perform forget_phone(p_phone);

  for v_contact in select value from jsonb_array_elements(p_contacts) loop
    update hunt_chunks c set contacts = jsonb_set(c.contacts, array[v_contact ->> 'place'], jsonb_strip_nulls(
      jsonb_build_object(
        'adId', e.contact -> 'adId', 'channel', e.contact -> 'channel', 'copy', e.contact -> 'copy',
        'recipientPhone', 'erased', 'erased', true
      )
    ))
    from (select v_contact ->> 'jobId' as job_id) j
    cross join lateral (
      select o.contacts -> (v_contact ->> 'place')::integer as contact from hunt_chunks o
      where o.job_id = j.job_id::uuid and o.no = (v_contact ->> 'no')::integer
    ) e
    where c.job_id = j.job_id::uuid and c.no = (v_contact ->> 'no')::integer
      and e.contact ->> 'recipientPhone' = v_contact ->> 'phone';
    if found then
      v_contacts := v_contacts + 1;
    end if;
  end loop;

  select coalesce(jsonb_agg(jsonb_build_object('messageId', r.message_id, 'queue', r.queue)), '[]') into v_left
  from erasures r where r.message_id = any (v_ids);
  return jsonb_build_object(
    'messages', coalesce(cardinality(v_ids), 0), 'leads', v_leads, 'replies', v_replies, 'contacts', v_contacts,
    'left', v_left
  );
end
$$;

-- Goes on with erasures: what has ended since is made nobody's. p_done: messages of which no queue has a job; a minute after
-- the erasure nothing can put one there any more. Answers those whose jobs are to be looked for.
create function resume_erasures(p_done jsonb, p_limit integer) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_ids uuid[];
begin
  delete from erasures e using messages m
  where e.message_id in (select value::uuid from jsonb_array_elements_text(p_done)) and m.id = e.message_id
    and m.recipient = 'erased' and e.created_at < now() - interval '1 minute';

  select array_agg(x.id) into v_ids from (
    select m.id from erasures e join messages m on m.id = e.message_id
    where m.recipient <> 'erased' and m.status <> 'sending'
    order by m.id limit p_limit for update of m
  ) x;
  if v_ids is not null then
    perform forget_phone(m.recipient) from (select distinct recipient from messages where id = any (v_ids)) m;
    perform anonymise_messages(v_ids);
  end if;

  return (
    select coalesce(jsonb_agg(jsonb_build_object('messageId', x.message_id, 'queue', x.queue)), '[]') from (
      select e.message_id, e.queue from erasures e join messages m on m.id = e.message_id
      where m.recipient = 'erased' order by e.created_at limit p_limit
    ) x
  );
end
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in (
        'full_cap', 'open_messages', 'put_suppressions', 'list_suppressions', 'lift_suppression', 'forget_phone',
        'anonymise_messages', 'contacts_like', 'erase_person', 'resume_erasures'
      )
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
