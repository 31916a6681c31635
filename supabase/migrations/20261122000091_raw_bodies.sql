-- What carries most, for a body that is handed on as it is. PostgREST takes a body apart to find the arguments in it, in a statement
-- that reads all of it once more than the function does; a function's single argument without a name is the body itself.
create function accept_messages_raw(jsonb) returns jsonb
language sql
return accept_messages($1 -> 'p_items');

create function accept_hunts_raw(jsonb) returns jsonb
language sql
return accept_hunts($1 -> 'p_items');

create function plan_chunk_raw(jsonb) returns setof uuid
language sql
begin atomic
  select plan_chunk(($1 ->> 'p_job_id')::uuid, ($1 ->> 'p_no')::integer, $1 ->> 'p_hunt_id', $1 -> 'p_rows');
end;

create function stage_chunks_raw(jsonb) returns void
language sql
return stage_chunks(($1 ->> 'p_job_id')::uuid, $1 -> 'p_chunks');

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in ('accept_messages_raw', 'accept_hunts_raw', 'plan_chunk_raw', 'stage_chunks_raw')
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
