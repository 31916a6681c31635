-- Of STOP and START the one that was written later counts, whichever comes first; and a STOP counts for whoever was answered.

-- When the person said so, for an entry that a reply has made; null: before this was kept, see created_at.
alter table suppressions add column stopped_at timestamptz;
-- What the person asked for in it.
alter table replies add column wish text check (wish in ('stop', 'start'));

-- Something that a person wrote back. Answers whether it is a first stop.
-- Without a message that it names, it is about those over its provider that came from the number that was answered ("to"), or
-- may have: the ledger does not know the number of a message that left the choice to the provider. A stop counts for every
-- account that has written one of these; anything else is about the last. Only when there are none, those from other numbers
-- are taken, and then those over other providers.
-- "stop" ends a "start" that is as old or older; "start" takes back a stop by reply that is older, for the account of the last.
create or replace function record_reply(p_reply jsonb) returns boolean
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

-- What a message says, for a vendor who asks while he carries it; null when it is not to be said (any more): its person has said
-- stop or was erased, its account is suspended, or there is no such message.
create function content_of(p_id uuid) returns jsonb
language sql stable
set search_path = public
as $$
  select m.content from messages m
  where m.id = p_id and m.recipient <> 'erased'
    and not exists (
      select 1 from suppressions s
      where s.phone in (m.recipient, m.recipient_hash) and (s.account_id is null or s.account_id = m.account_id)
    )
    and not exists (select 1 from accounts a where a.id = m.account_id and a.status = 'suspended')
$$;

revoke all on function content_of(uuid) from public, anon, authenticated;
grant execute on function content_of(uuid) to service_role;
