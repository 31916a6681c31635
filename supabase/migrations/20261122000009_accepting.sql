-- Accepts several submissions in one call, each by itself: a refusal of one concerns no other. p_items: a list of accept_hunt's
-- arguments. Answers theirs, in the same order; accepts them in that of the hunts, so that two calls never wait for each other.
create function accept_hunts(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_item jsonb;
  v_no integer;
  v_answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(p_items)]);
begin
  for v_item, v_no in
    select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no) order by x.item -> 'hunt' ->> 'id', x.no
  loop
    v_answers[v_no] := accept_hunt(
      v_item -> 'hunt', (v_item ->> 'job_id')::uuid, (v_item ->> 'contacts')::integer, v_item -> 'chunks',
      v_item -> 'idempotency', v_item -> 'response'
    );
  end loop;
  return to_jsonb(v_answers);
end
$$;
revoke all on function accept_hunts(jsonb) from public, anon, authenticated;
grant execute on function accept_hunts(jsonb) to service_role;
