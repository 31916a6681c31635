-- How a person is forgotten: at once where nothing of theirs is under way, else as soon as that has ended.

-- What is left to be done of an erasure: a message whose job may still be in a queue, or whose attempt is not over yet.
create table erasures (
  message_id uuid primary key,
  queue text not null,
  created_at timestamptz not null default now()
);

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

-- Contacts that wait to be planned, or are those of recurrences, and whose number may be this one, by its last four digits or because
-- it is not written in plain ones: [{"jobId", "no", "place", "phone", "country"}].
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
  left join recurrences r on r.id = c.job_id
  left join accounts a on a.id = coalesce(h.account_id, r.account_id)
  where c.contacts is not null
    and (regexp_replace(x.phone, '[^0-9]', '', 'g') like '%' || right(p_phone, 4) or x.phone ~ '[^ -~]')
$$;

-- Forgets a person: everything about the number goes, or is nobody's afterwards, and its hash stays suppressed for everybody.
-- p_contacts: those of contacts_like that are theirs. Answers how many of what, and "left": messages that have to be seen to
-- in the queues: {"messages", "leads", "replies", "contacts", "left": [{"messageId", "queue"}]}.
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
-- the erasure nothing can put one there any more. Answers those whose jobs are to be looked for, [{"messageId", "queue"}].
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

-- All of it is the service's alone.
alter table erasures enable row level security;
revoke all on erasures from public, anon, authenticated;
grant all on erasures to service_role;
revoke all on function forget_phone, anonymise_messages, contacts_like, erase_person, resume_erasures from public, anon, authenticated;
grant execute on function forget_phone, anonymise_messages, contacts_like, erase_person, resume_erasures to service_role;
