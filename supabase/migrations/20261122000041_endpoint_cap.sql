-- An account has so many endpoints at the most: each event becomes a delivery for each of them.

-- After the insert, so that an address that is there already is told as such; one at a time for an account.
create function cap_endpoints() returns trigger
language plpgsql
set search_path = public
as $$
declare
  c_most constant integer := 20;
begin
  perform pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || new.account_id, 20261122));
  if (select count(*) from webhook_endpoints w where w.account_id = new.account_id) > c_most then
    raise exception 'the account has % endpoints already', c_most using errcode = 'AP002';
  end if;
  return null;
end
$$;

create trigger webhook_endpoints_cap after insert on webhook_endpoints
  for each row execute function cap_endpoints();

revoke all on function cap_endpoints() from public, anon, authenticated;
grant execute on function cap_endpoints() to service_role;
