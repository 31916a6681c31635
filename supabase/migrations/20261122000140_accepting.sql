-- How submissions are accepted, many in one call.

-- Accepts several submissions in one call, each by itself: a refusal of one concerns no other. p_items: a list of accept_hunt's
-- arguments. Answers theirs, in the same order. New hunts that have come whole are written all at once, so that each statement counts
-- for as many as there are; what is not plain (a hunt that exists, templates that may be archived meanwhile, contacts that were staged
-- before) is left to accept_hunt.
--
-- Two calls never wait for each other in a circle: all keys are waited for first, in one order, then all hunts that are not there yet, in
-- theirs; keys are nobody else's by then. Calls of one hunt need no order.
create or replace function accept_hunts(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_answers jsonb[] := array_fill(null::jsonb, array[jsonb_array_length(p_items)]);
  v_accepted integer[] := '{}';
  v_plain boolean;
  v_keyed boolean;
  v_item jsonb;
  v_no integer;
  v_lock bigint;
begin
  select
    bool_and(
      jsonb_array_length(x.item -> 'hunt' -> 'template_ids') = 0
      and jsonb_array_length(x.item -> 'chunks') = 1
      and jsonb_array_length(x.item -> 'chunks' -> 0 -> 'contacts') = (x.item ->> 'contacts')::integer
    ),
    bool_or(jsonb_typeof(x.item -> 'idempotency') = 'object')
  into v_plain, v_keyed
  from jsonb_array_elements(p_items) as x (item);

  if v_keyed then
    for v_item, v_no, v_lock in
      select x.item, x.no, l.lock
      from jsonb_array_elements(p_items) with ordinality as x (item, no),
        hashtextextended(concat_ws(' ', x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key'), 7) as l (lock)
      where jsonb_typeof(x.item -> 'idempotency') = 'object'
      order by l.lock
    loop
      perform pg_advisory_xact_lock(v_lock);
      v_answers[v_no] := idempotency_seen(v_item -> 'idempotency');
    end loop;
  end if;

  -- What is refused for its times comes after what is accepted, whichever hunt is first: none of them may be another call's by then.
  if jsonb_array_length(p_items) > 1 then
    for v_lock in
      select distinct l.lock
      from jsonb_array_elements(p_items) as x (item), hashtextextended(x.item -> 'hunt' ->> 'id', 8) as l (lock)
      where not exists (select from hunts h where h.id = x.item -> 'hunt' ->> 'id')
      order by l.lock
    loop
      perform pg_advisory_xact_lock(v_lock);
    end loop;
  end if;

  if v_plain then
    -- Of those for one hunt the first; what cannot be accepted as it is makes none.
    with given as materialized (
      select distinct on (h.id) x.no, h.*, coalesce(h.expires_at, h.default_expires_at, now() + interval '7 days') as ends_at
      from jsonb_array_elements(p_items) with ordinality as x (item, no),
        jsonb_to_record(x.item -> 'hunt') as h (
          id text, account_id text, priority text, expires_at timestamptz, default_expires_at timestamptz, windows jsonb,
          send_at timestamptz, last_send_at timestamptz
        )
      where v_answers[x.no] is null
      order by h.id, x.no
    ),
    made as (
      insert into hunts (id, account_id, priority, expires_at, windows)
      select g.id, g.account_id, coalesce(g.priority, 'normal'), g.ends_at, nullif(g.windows, 'null')
      from given g join accounts a on a.id = g.account_id
      where a.status <> 'suspended' and g.ends_at > now()
        and (greatest(g.send_at, g.last_send_at) < g.ends_at) is not false
      order by g.id
      on conflict (id) do nothing
      returning id
    )
    select coalesce(array_agg(g.no order by g.no), '{}') into v_accepted from given g join made m on m.id = g.id;

    if v_keyed then
      for v_item, v_no in
        select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
        where x.no = any (v_accepted) and jsonb_typeof(x.item -> 'idempotency') = 'object'
        order by x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key', x.no
      loop
        v_answers[v_no] := idempotency_take(v_item -> 'idempotency', v_item -> 'response');
        if v_answers[v_no] is not null then
          -- What was not accepted says nothing of the hunt: see accept_hunt.
          delete from hunts where id = v_item -> 'hunt' ->> 'id';
          v_accepted := array_remove(v_accepted, v_no);
        end if;
      end loop;
    end if;

    insert into hunt_chunks (job_id, no, size, contacts)
    select (x.item ->> 'job_id')::uuid, (x.item -> 'chunks' -> 0 ->> 'no')::integer, (x.item ->> 'contacts')::integer,
      x.item -> 'chunks' -> 0 -> 'contacts'
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where x.no = any (v_accepted)
    on conflict do nothing;
    insert into hunt_submissions (job_id, hunt_id, contacts, content, send_at)
    select (x.item ->> 'job_id')::uuid, x.item -> 'hunt' ->> 'id', (x.item ->> 'contacts')::integer,
      nullif(x.item -> 'hunt' -> 'content', 'null'), (x.item -> 'hunt' ->> 'send_at')::timestamptz
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where x.no = any (v_accepted)
    on conflict do nothing;
  end if;

  if cardinality(v_accepted) < cardinality(v_answers) then
    for v_item, v_no in
      select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
      where v_answers[x.no] is null and x.no <> all (v_accepted)
      order by x.item -> 'hunt' ->> 'id', x.no
    loop
      v_answers[v_no] := accept_hunt(
        v_item -> 'hunt', (v_item ->> 'job_id')::uuid, (v_item ->> 'contacts')::integer, v_item -> 'chunks',
        v_item -> 'idempotency', v_item -> 'response'
      );
    end loop;
  end if;
  return (
    select jsonb_agg(
      coalesce(v_answers[x.no], jsonb_build_object('result', 'accepted', 'response', x.item -> 'response')) order by x.no
    )
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
  );
end
$$;

-- See accept_messages_raw.
create or replace function accept_hunts_raw(jsonb) returns jsonb
language sql
return accept_hunts($1 -> 'p_items');

revoke all on function accept_hunts, accept_hunts_raw from public, anon, authenticated;
grant execute on function accept_hunts, accept_hunts_raw to service_role;
