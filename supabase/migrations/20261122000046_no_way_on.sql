-- A contact of whom nobody can prove that this attempt has not reached them is not tried over another channel.
create function end_way(p_message_id uuid, p_attempt_id uuid) returns void
language sql
set search_path = public
as $$
  update messages set next = null where id = p_message_id and attempt_id = p_attempt_id and next is not null
$$;

revoke all on function end_way(uuid, uuid) from public, anon, authenticated;
grant execute on function end_way(uuid, uuid) to service_role;
