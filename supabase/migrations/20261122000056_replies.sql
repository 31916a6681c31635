-- What people wrote back, and who must not be contacted. Of STOP and START the one that was written later counts, whichever comes first;
-- and a STOP counts for whoever was answered.

-- Numbers that must not be contacted, by an account or (account_id null) by anybody. The entry of somebody who was erased has, in place
-- of the number, its salted hash.
create table suppressions (
  id bigint generated always as identity primary key,
  account_id text references accounts (id),
  phone text not null,
  -- Where it comes from: stop (a reply), carrier, manual, import, erased.
  reason text not null default 'manual',
  message_id uuid,
  created_at timestamptz not null default now(),
  -- The caller's own words.
  note text,
  -- When the person said so, for an entry that a reply has made; where it is null, created_at counts.
  stopped_at timestamptz,
  unique nulls not distinct (account_id, phone)
);
create index suppressions_phone on suppressions (phone);

-- Adds to the list, [{"account_id", "phone", "reason", "note"}]. Answers in their order the entry, with "added", or null where there is
-- no such account. What a reply has stopped is from then on stopped by hand: no reply takes that back.
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
-- every account), "phones" (a number and its hash). Of an account: what it has on the list itself; with "phones" also what holds
-- for every account, so that an empty answer means that the number is not held back. One value, because rows would be cut off at the
-- API's limit (1000 on Supabase) without a word.
create function list_suppressions(p_filter jsonb, p_after bigint, p_limit integer) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(to_jsonb(x) order by x.id), '[]') from (
    select * from suppressions s
    where s.id > p_after
      and (
        p_filter ->> 'account_id' is null or s.account_id = p_filter ->> 'account_id'
        or (s.account_id is null and p_filter -> 'phones' is not null)
      )
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

create table replies (
  id bigint generated always as identity primary key,
  message_id uuid references messages (id) on delete set null,
  account_id text,
  phone text not null,
  provider text not null,
  text text not null,
  at timestamptz not null,
  -- What arrives twice (a receipt for it was lost) is one reply.
  provider_reply_id text,
  -- What the person asked for in it.
  wish text check (wish in ('stop', 'start'))
);
create index replies_message on replies (message_id);
create unique index replies_provider on replies (provider, provider_reply_id);
create index replies_phone on replies (phone);

-- Something that a person wrote back: {"provider", "provider_message_id"?, "reply_id"?, "account_id"?, "phone", "aliases"?, "to"?,
-- "text", "at", "stop"?, "start"?}; aliases: other numbers of the same person, "to": the number that was answered. Answers whether
-- it is a first stop: that is to be confirmed once.
--
-- Without a message that it names, it is about those over its provider that came from "to", or may have: the ledger does not know the
-- number of a message that left the choice to the provider. A stop counts for every account that has written one of these, or for
-- everybody when no account is known; anything else is about the last. Only when there are none, those from other numbers are
-- taken, and then those over other providers.
--
-- "stop" suppresses the person's numbers, and ends a "start" that is as old or older; "start" takes back a stop by reply that is older,
-- for the account of the last.
create function record_reply(p_reply jsonb) returns boolean
language plpgsql
set search_path = public
as $$
declare
  v_account text := p_reply ->> 'account_id';
  v_phones text[] := array[p_reply ->> 'phone']
    || array(select jsonb_array_elements_text(coalesce(p_reply -> 'aliases', '[]')));
  v_to text := nullif(regexp_replace(p_reply ->> 'to', '[^0-9]', '', 'g'), '');
  v_at timestamptz := (p_reply ->> 'at')::timestamptz;
  v_wish text := case when (p_reply ->> 'stop')::boolean then 'stop' when (p_reply ->> 'start')::boolean then 'start' end;
  v_message messages;
  v_last uuid;
  v_accounts text[];
  v_new boolean;
  v_first boolean;
begin
  select * into v_message from messages m
  where m.provider = p_reply ->> 'provider' and m.provider_message_id = p_reply ->> 'provider_message_id'
    and (v_account is null or m.account_id = v_account);
  if not found then
    with written as (
      select m.*, m.provider is distinct from p_reply ->> 'provider' as elsewhere,
        case
          when regexp_replace(m.sender, '[^0-9]', '', 'g') = v_to then 0
          -- Another number for sure; a name, a service or none may have been answered there.
          when v_to is not null and m.sender like '+%' then 2
          else 1
        end as distance
      from messages m
      -- Who answers has got it, whether or not its sending has been confirmed yet.
      where m.recipient = any (v_phones) and (m.sent_at is not null or m.status in ('sending', 'unknown'))
        and (v_account is null or m.account_id = v_account)
    ),
    ranked as (
      select w.*, rank() over (order by w.elsewhere, w.distance = 2) as nearest from written w
    )
    select
      (array_agg(r.id order by r.elsewhere, r.distance, r.sent_at desc nulls last, r.attempt_started_at desc))[1],
      array_agg(distinct r.account_id) filter (where r.nearest = 1)
    into v_last, v_accounts
    from ranked r;
    select * into v_message from messages m where m.id = v_last;
  end if;
  if v_wish is distinct from 'stop' or v_accounts is null then
    v_accounts := array[coalesce(v_message.account_id, v_account)];
  end if;
  if v_message.recipient <> 'erased' then
    v_phones := v_message.recipient || array_remove(v_phones, v_message.recipient);
  end if;
  if v_wish is not null then
    -- One at a time for each person, or a stop and a start would not see each other.
    perform pg_advisory_xact_lock(x.person) from (
      select distinct hashtextextended(p.phone, 5) as person from unnest(v_phones) as p (phone) order by 1 offset 0
    ) x;
  end if;

  insert into replies (message_id, account_id, phone, provider, provider_reply_id, text, at, wish)
  values (
    v_message.id, coalesce(v_message.account_id, v_account), v_phones[1],
    p_reply ->> 'provider', p_reply ->> 'reply_id', p_reply ->> 'text', v_at, v_wish
  )
  -- Without a text it could not be decrypted, and its sender's phone was asked to send it again.
  on conflict (provider, provider_reply_id) do update set text = excluded.text, wish = excluded.wish
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

  if v_wish = 'stop' then
    insert into suppressions (account_id, phone, reason, message_id, stopped_at)
    select a.id, p.phone, 'stop', v_message.id, v_at
    from unnest(v_accounts) as a (id) cross join unnest(v_phones) as p (phone)
    -- A person of whom only a LID is known has no number that could be written to.
    where p.phone not like 'lid:%'
      and not exists (
        select 1 from replies r
        where r.phone = any (v_phones) and r.wish = 'start' and r.at > v_at and r.account_id is not distinct from a.id
      )
    on conflict do nothing;
    v_first := found;
    update suppressions s set stopped_at = v_at
    where s.reason = 'stop' and s.phone = any (v_phones) and coalesce(s.stopped_at, s.created_at) < v_at
      and exists (select 1 from unnest(v_accounts) as a (id) where a.id is not distinct from s.account_id);
    return v_first;
  end if;
  if v_wish = 'start' then
    -- What a person's own reply has stopped; not what was stopped by hand or by the carrier.
    delete from suppressions s
    where s.reason = 'stop' and s.phone = any (v_phones) and coalesce(s.stopped_at, s.created_at) < v_at
      and s.account_id is not distinct from v_accounts[1];
  end if;
  return false;
end
$$;

-- All of it is the service's alone.
alter table suppressions enable row level security;
alter table replies enable row level security;
revoke all on suppressions, replies from public, anon, authenticated;
grant all on suppressions, replies to service_role;
revoke all on sequence suppressions_id_seq, replies_id_seq from public, anon, authenticated;
revoke all on function put_suppressions, list_suppressions, lift_suppression, record_reply from public, anon, authenticated;
grant execute on function put_suppressions, list_suppressions, lift_suppression, record_reply to service_role;
