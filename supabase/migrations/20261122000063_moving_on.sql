-- How somebody whom one message has not reached is tried over the next channel.

-- Right after these messages are locked, and before anything is done with credits: the locks of whatever some of them (p_moving)
-- may move on to. Who locks several things does so in this order: the erasures' lock, messages, hunts, credits.
create function lock_moves(p_ids uuid[], p_moving uuid[]) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
begin
  -- As plan_chunk: a number that two move on to, or that is just being planned, is seen.
  perform pg_advisory_xact_lock(x.hunt) from (
    select distinct hashtextextended(m.hunt_id, 0) as hunt from messages m
    where m.id = any (p_moving) and m.hunt_id is not null
    order by 1
  ) x;
  perform 1 from credits c
  where (c.account_id, c.channel) in (
    select m.account_id, m.channel from messages m where m.id = any (p_ids)
    union
    select m.next ->> 'account_id', m.next ->> 'channel' from messages m where m.id = any (p_moving)
  )
  order by c.account_id, c.channel
  for update;
end
$$;

-- These messages have not reached their contacts, provably: each contact is tried over the next channel, if there is one, once.
-- Not who has written back meanwhile, not in a hunt that was cancelled, and not from before a restored backup, after which
-- the next one may have been sent already. The first message is then not sent again, not even by hand.
create function move_on(p_ids uuid[]) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_next jsonb;
begin
  select jsonb_agg(m.next order by m.seq) into v_next
  from unnest(p_ids) as u (id)
  -- offset 0: by the key.
  cross join lateral (select m.* from messages m where m.id = u.id offset 0) m
  left join hunts h on h.id = m.hunt_id
  where m.next is not null and h.cancelled_at is null
    and m.created_at > coalesce((select adopted_at from epoch), '-infinity')
    and not exists (
      select 1 from replies r
      where r.phone = m.recipient and r.account_id is not distinct from m.account_id and r.at >= m.created_at
    );
  update messages m set next = null, retryable = false where m.id = any (p_ids) and m.next is not null;
  if v_next is not null then
    perform insert_messages(v_next);
  end if;
end
$$;

-- A contact of whom nobody can prove that this attempt has not reached them is not tried over another channel.
create function end_way(p_message_id uuid, p_attempt_id uuid) returns void
language sql
set search_path = public
as $$
  update messages set next = null where id = p_message_id and attempt_id = p_attempt_id and next is not null
$$;

-- Messages that were sent, and after which their contact is tried over the next channel unless they are delivered before.
create table fallbacks (
  message_id uuid primary key,
  due_at timestamptz not null
);
create index fallbacks_due on fallbacks (due_at);

create function set_fallback() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  insert into public.fallbacks (message_id, due_at)
  values (new.id, now() + make_interval(secs => (new.next ->> 'afterSeconds')::integer))
  on conflict do nothing;
  return null;
end
$$;

-- However it came to be sent: by its outcome, by a receipt, or because a person says so.
create trigger messages_fallback after update of status on messages
for each row when (new.status = 'sent' and old.status <> 'sent' and new.next ->> 'afterSeconds' is not null)
execute function set_fallback();

-- Goes on with at most p_limit contacts whose time is up; answers how many were looked at.
create function continue_fallbacks(p_limit integer) returns integer
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_ids uuid[];
  v_n integer;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  with due as (
    delete from fallbacks f where f.message_id in (
      select d.message_id from fallbacks d where d.due_at <= now() order by d.due_at limit p_limit for update skip locked
    )
    returning f.message_id
  )
  select array_agg(message_id), count(*) into v_ids, v_n from due;
  select array_agg(x.id) into v_ids from (
    select m.id from messages m where m.id = any (v_ids) and m.status = 'sent' order by m.id for update
  ) x;
  if v_ids is not null then
    perform lock_moves('{}', v_ids);
    perform move_on(v_ids);
  end if;
  return v_n;
end
$$;

-- All of it is the service's alone.
alter table fallbacks enable row level security;
revoke all on fallbacks from public, anon, authenticated;
grant all on fallbacks to service_role;
revoke all on function lock_moves, move_on, end_way, set_fallback,
  continue_fallbacks from public, anon, authenticated;
grant execute on function lock_moves, move_on, end_way, set_fallback, continue_fallbacks to service_role;
