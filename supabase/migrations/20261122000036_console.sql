-- What the console asks, answered rightly: who must not be contacted, and what can be tried again.

-- A page of the list in the order of its making, after p_after. p_filter: "account_id", "everybody" (true: only what holds for
-- every account), "phones" (a number and its hash). Of an account: what it has on the list itself; with "phones" also what holds
-- for every account, so that an empty answer means that the number is not held back. One value, because rows would be cut off at the
-- API's limit (1000 on Supabase) without a word.
create or replace function list_suppressions(p_filter jsonb, p_after bigint, p_limit integer) returns jsonb
language sql stable
set search_path = public
as $$
  select coalesce(jsonb_agg(to_jsonb(x) order by x.id), '[]') from (
    select * from suppressions s
    where s.id > p_after
      and (
        p_filter ->> 'account_id' is null or s.account_id = p_filter ->> 'account_id'
        or (s.account_id is null and p_filter -> 'phones' is not null)
      )
      and (not coalesce((p_filter ->> 'everybody')::boolean, false) or s.account_id is null)
      and (p_filter -> 'phones' is null or s.phone in (select jsonb_array_elements_text(p_filter -> 'phones')))
    order by s.id limit p_limit
  ) x
$$;
