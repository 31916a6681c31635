-- Single sends, all of a call at once: each statement counts for as many as there are.

-- Tells whether what decides about an account's messages is as it was when somebody looked.
create function account_stamp(p_account accounts) returns text
language sql stable
return md5(concat_ws('|', p_account.default_country, p_account.consent_declared, p_account.policy));

-- As before. "account_stamp"?: what the caller knew of the row's account when it decided, empty: that there is none; where it is
-- otherwise now, nothing is written and the answer is {"result": "stale", "account": {…} | null}, with what decides now.
create or replace function accept_messages(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $$
declare
  v_answers jsonb[];
  v_item jsonb;
  v_no integer;
  v_answer jsonb;
  v_rows jsonb;
begin
  -- What does not get in, by its place.
  select array_agg(case
    when x.item -> 'row' ->> 'account_id' is null then null
    when x.item ->> 'account_stamp' <> case when a.id is null then '' else account_stamp(a) end then jsonb_build_object('result', 'stale', 'account',
      case when a.id is not null then jsonb_build_object(
        'id', a.id, 'status', a.status, 'default_country', a.default_country, 'policy', a.policy,
        'consent_declared', a.consent_declared, 'account_stamp', account_stamp(a)
      ) end)
    when a.id is null then '{"result": "unknown_account"}'
    when a.status = 'suspended' then '{"result": "suspended_account"}'
  end order by x.no)
  into v_answers
  from jsonb_array_elements(p_items) with ordinality as x (item, no)
  left join accounts a on a.id = x.item -> 'row' ->> 'account_id';

  -- In the order of the keys, so that two calls never wait for each other.
  for v_item, v_no in
    select x.item, x.no from jsonb_array_elements(p_items) with ordinality as x (item, no)
    where jsonb_typeof(x.item -> 'idempotency') = 'object'
    order by x.item -> 'idempotency' ->> 'scope', x.item -> 'idempotency' ->> 'key', x.no
  loop
    v_answer := idempotency_seen(v_item -> 'idempotency');
    if v_answer is null and v_answers[v_no] is null then
      v_answer := idempotency_take(v_item -> 'idempotency', v_item -> 'response');
    end if;
    if v_answer is not null then
      v_answers[v_no] := v_answer;
    end if;
  end loop;

  select jsonb_agg(x.item -> 'row' order by x.no) into v_rows
  from jsonb_array_elements(p_items) with ordinality as x (item, no)
  where v_answers[x.no] is null;
  if v_rows is not null then
    perform insert_messages(v_rows);
  end if;
  return (
    select jsonb_agg(
      coalesce(v_answers[x.no], jsonb_build_object('result', 'accepted', 'response', x.item -> 'response')) order by x.no
    )
    from jsonb_array_elements(p_items) with ordinality as x (item, no)
  );
end
$$;

revoke all on function account_stamp(accounts) from public, anon, authenticated;
grant execute on function account_stamp(accounts) to service_role;
