-- Whose a message or lead is (its account, its hunt) is looked at once a statement and no longer once a row and column: the
-- foreign keys were a third of what planning costs here. What holds is the same, with the same code (23503): none is written for
-- somebody who is not there, and nobody goes who has any. Who truncates by hand has to name messages and leads himself.
alter table messages drop constraint messages_account_id_fkey, drop constraint messages_hunt_id_fkey;
alter table leads drop constraint leads_account_id_fkey, drop constraint leads_hunt_id_fkey;

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

revoke all on function check_owners(), check_new_owner(), check_owned() from public, anon, authenticated;
grant execute on function check_owners(), check_new_owner(), check_owned() to service_role;
