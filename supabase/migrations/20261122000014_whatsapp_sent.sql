-- A message that was given to WhatsApp is known by its id for the 30 days, whatever becomes of the session that gave it: that
-- none is kept is the proof that it never left.

alter table whatsapp_sent alter column session_id drop not null;
alter table whatsapp_sent drop constraint whatsapp_sent_session_id_fkey;
alter table whatsapp_sent add constraint whatsapp_sent_session_id_fkey
  foreign key (session_id) references whatsapp_sessions (id) on delete set null;

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
revoke all on function blank_whatsapp_sent() from public, anon, authenticated;
grant execute on function blank_whatsapp_sent() to service_role;

create trigger blank_whatsapp_sent before delete on whatsapp_sessions
  for each row execute function blank_whatsapp_sent();

-- Before each send: what is sent, [{"id", "session_id", "jid", "sealed", "phone"}], and whom the session has written to. What
-- another session was to send before, and did not, is this one's from now on.
create or replace function keep_whatsapp_sent(p_items jsonb) returns void
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
