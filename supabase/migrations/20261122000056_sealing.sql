-- Puts an endpoint's secret, sealed anew, in place of what it was, unless it has been rotated meanwhile. In the body of a call,
-- because addresses are logged.
create function reseal_endpoint_secret(p_id uuid, p_from text, p_to text) returns boolean
language sql
set search_path = public
as $$
  with resealed as (
    update webhook_endpoints w set secret = p_to where w.id = p_id and w.secret = p_from returning 1
  )
  select exists (select from resealed)
$$;
revoke all on function reseal_endpoint_secret(uuid, text, text) from public, anon, authenticated;
grant execute on function reseal_endpoint_secret(uuid, text, text) to service_role;
