-- As before; also when it is sent: {"sendAt", "windows"} as they were given, or changed, last.
create or replace function read_hunt(p_hunt_id text, p_limits jsonb) returns jsonb
language sql stable
set search_path = public
as $$
  select hunt_progress(h, 100, p_limits) || jsonb_build_object('sendAt', h.send_at, 'windows', h.windows - 'until')
  from hunts h where h.id = p_hunt_id
$$;
