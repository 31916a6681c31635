-- Messages have their senders in E.164 from now on, and a limit of one sender is for the same spelling. Those that accounts
-- have given before: without what sets digits apart; 00 dials abroad, and the 0 of a French account's national numbers is +33.
-- The old spelling stays beside the new one, for messages that were planned with it.
update accounts a
set limits = (
  select jsonb_agg(x.one order by e.place, x.n)
  from jsonb_array_elements(a.limits) with ordinality as e (one, place)
  cross join lateral (select regexp_replace(e.one ->> 'sender', '[[:space:]().-]', '', 'g') as digits) d
  cross join lateral (
    select case
      when e.one ->> 'sender' is null or e.one ->> 'sender' ~ '[[:alpha:]]' then e.one
      else jsonb_set(e.one, '{sender}', to_jsonb(
        case
          when d.digits ~ '^00' then '+' || substr(d.digits, 3)
          when a.default_country = 'FR' and d.digits ~ '^0[1-9][0-9]{8}$' then '+33' || substr(d.digits, 2)
          else d.digits
        end
      ))
    end as one
  ) w
  cross join lateral (select 1 as n, w.one union all select 2, e.one where e.one <> w.one) x
)
where jsonb_typeof(a.limits) = 'array' and jsonb_array_length(a.limits) > 0
  and exists (select 1 from jsonb_array_elements(a.limits) e (one) where e.one ->> 'sender' <> '*');
