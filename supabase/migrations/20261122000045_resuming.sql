-- What of a hunt was fed and has not begun no longer counts for limits a day: it is fed again. Its flows are locked by whoever
-- calls, before the counters, as feed has it, so that neither waits for the other in a circle. p_limits: of accounts without
-- their own.
create function uncount_fed(p_hunt hunts, p_limits jsonb) returns void
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_back jsonb;
begin
  select jsonb_agg(to_jsonb(x)) into v_back from (
    select l.scope, (now() at time zone l.zone)::date as day, sum(a.n)::integer as n
    from (
      select f.queue, f.sender, count(*) as n
      from flows f
      join messages m on m.hunt_id = p_hunt.id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
        and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
      where f.hunt_id = p_hunt.id
      group by 1, 2
    ) a
    cross join lateral limits_of(
      coalesce((select c.limits from accounts c where c.id = p_hunt.account_id), p_limits), a.queue, a.sender
    ) l
    -- What another day has counted is sent today, and counts today.
    where (coalesce(p_hunt.paused_at, now()) at time zone l.zone)::date = (now() at time zone l.zone)::date
    group by 1, 2
  ) x;
  if v_back is null then
    return;
  end if;
  perform 1 from limit_counters c
  where c.account_id = p_hunt.account_id and c.scope in (select b.scope from jsonb_to_recordset(v_back) as b (scope text))
  order by c.account_id, c.scope
  for update;
  update limit_counters c set used = greatest(0, c.used - b.n)
  from jsonb_to_recordset(v_back) as b (scope text, day date, n integer)
  where c.account_id = p_hunt.account_id and c.scope = b.scope and c.day = b.day;
end
$$;

drop function steer_hunt(text, text);

-- As before; what a pause has sent back unsent counts for limits a day once only. p_limits: of accounts without their own.
create function steer_hunt(p_hunt_id text, p_action text, p_limits jsonb default '[]') returns jsonb
language plpgsql
set search_path = public
set enable_seqscan = off
as $$
declare
  v_hunt hunts;
begin
  select * into v_hunt from hunts where id = p_hunt_id for no key update;
  if not found then
    return jsonb_build_object('result', 'missing');
  end if;
  if v_hunt.cancelled_at is not null and p_action <> 'cancel' then
    return jsonb_build_object('result', 'cancelled');
  end if;
  case p_action
    when 'pause' then
      update hunts set paused_at = coalesce(paused_at, now()) where id = p_hunt_id returning * into v_hunt;
    when 'cancel' then
      update hunts set cancelled_at = coalesce(cancelled_at, now()), cancelling = true, paused_at = null
      where id = p_hunt_id returning * into v_hunt;
    when 'resume' then
      if v_hunt.paused_at is not null then
        perform 1 from flows f where f.hunt_id = p_hunt_id for update;
        perform uncount_fed(v_hunt, p_limits);
        with again as (
          select f.queue, f.sender, f.send_at, f.zone, min(m.seq) as first
          from flows f
          join messages m on m.hunt_id = p_hunt_id and m.seq <= f.fed_seq and m.settled_at is null and m.status = 'queued'
            and m.queue = f.queue and coalesce(m.sender, '') = f.sender and m.send_at = f.send_at and m.zone = f.zone
          where f.hunt_id = p_hunt_id
          group by 1, 2, 3, 4
        )
        update flows f set
          again_seq = greatest(f.again_seq, f.fed_seq), due_at = greatest(f.send_at, now()),
          fed_seq = coalesce((
            select a.first - 1 from again a
            where a.queue = f.queue and a.sender = f.sender and a.send_at = f.send_at and a.zone = f.zone
          ), f.fed_seq)
        where f.hunt_id = p_hunt_id;
      end if;
      update hunts set paused_at = null where id = p_hunt_id returning * into v_hunt;
  end case;
  return jsonb_build_object(
    'result', 'done', 'accountId', v_hunt.account_id, 'pausedAt', v_hunt.paused_at, 'cancelledAt', v_hunt.cancelled_at
  );
end
$$;

revoke all on function steer_hunt(text, text, jsonb), uncount_fed(hunts, jsonb) from public, anon, authenticated;
grant execute on function steer_hunt(text, text, jsonb), uncount_fed(hunts, jsonb) to service_role;
