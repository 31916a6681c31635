-- As before; in the order of all others (the erasures' lock, messages, what is pending about them), and past what somebody has in
-- hand, which is tidied the next time: so nobody waits for it in a circle.
create or replace function tidy() returns void
language plpgsql
set search_path = public
as $$
declare
  v_ids uuid[];
  v_receipts jsonb;
begin
  perform pg_advisory_xact_lock_shared(20261122, 4);
  select array_agg(x.id) into v_ids from (
    select m.id from messages m
    where m.id in (
      select o.id from pending_receipts p
      join messages o on o.provider = p.provider and o.provider_message_id = p.provider_message_id
      where o.status not in ('queued', 'sending')
    )
    order by m.id for update skip locked
  ) x;
  if v_ids is not null then
    with matched as (
      delete from pending_receipts p using messages m
      where m.id = any (v_ids) and m.provider = p.provider and m.provider_message_id = p.provider_message_id
        and m.status not in ('queued', 'sending')
      returning p.*
    )
    select jsonb_agg(to_jsonb(x)) into v_receipts from matched x;
  end if;
  if v_receipts is not null then
    perform record_receipts(v_receipts);
  end if;
  delete from pending_receipts r where (r.provider, r.provider_message_id, r.status) in (
    select p.provider, p.provider_message_id, p.status from pending_receipts p
    where p.received_at < now() - interval '7 days' for update skip locked
  );
  delete from idempotency_keys where created_at < now() - interval '24 hours';
  -- Staged by a request that never came to its end.
  delete from hunt_chunks c
  where c.created_at < now() - interval '1 hour'
    and not exists (select 1 from hunt_submissions s where s.job_id = c.job_id)
    and not exists (select 1 from recurrences r where r.id = c.job_id);
  delete from media where created_at < now() - interval '8 days';
  -- A phone that was off for so long does not ask again for what it could not decrypt.
  delete from whatsapp_sent where created_at < now() - interval '30 days';
  -- Flows that have nothing left to give: what comes later makes a new one.
  delete from flows f
  where (f.hunt_id, f.queue, f.sender, f.send_at, f.zone) in (
    select l.hunt_id, l.queue, l.sender, l.send_at, l.zone from flows l
    where l.fed_seq >= l.last_seq
      and not exists (select 1 from messages m where m.hunt_id = l.hunt_id and m.settled_at is null)
    for update skip locked
  );
  delete from limit_counters c
  where (c.account_id, c.scope) in (
    select l.account_id, l.scope from limit_counters l where l.next_at < now() - interval '3 days' for update skip locked
  );
  delete from feed_senders s
  where (s.queue, s.account_id, s.sender) in (
    select l.queue, l.account_id, l.sender from feed_senders l
    where l.looked_at < now() - interval '3 days' for update skip locked
  );
end
$$;
