-- An endpoint that has failed for days without one success is turned off, and says why.

alter table webhook_endpoints
  -- Its first failure since its last success, or since a person turned it on.
  add column failing_since timestamptz;

-- It answers something now.
drop function record_deliveries(jsonb);

-- As before, and turns off what has failed for so long. Answers the endpoints that it has turned off and why, {id: "gone" |
-- "failing"}.
create function record_deliveries(p_items jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  -- Attempts that are kept.
  c_log constant integer := 20;
  -- An endpoint that takes longer for what it takes, milliseconds, does not get more at once.
  c_quick_ms constant integer := 2000;
  -- One that takes so long, whatever it says then, holds its slots like one that says nothing.
  c_slow_ms constant integer := 5000;
  c_most constant integer := 20;
  c_patience constant interval := '5 days';
  v_off jsonb;
  v_ended jsonb;
begin
  perform 1 from webhook_endpoints w
  where w.id in (
    select d.endpoint_id from jsonb_to_recordset(p_items) as i (id bigint) join webhook_deliveries d on d.id = i.id
  )
  order by w.id for no key update;
  with recorded as (
    update webhook_deliveries d set
      -- What we could not even sign says nothing of the endpoint, and costs none of its attempts.
      attempts = d.attempts + case when i.ours then 0 else 1 end, claim = null, held_until = null,
      log = case when jsonb_array_length(d.log) >= c_log then d.log - 0 else d.log end || i.entry,
      state = case when i.delivered then 'delivered' when i.retry_in_ms is null then 'failed' else 'pending' end,
      ended_at = case when i.delivered or i.retry_in_ms is null then now() end,
      next_at = case
        when i.delivered or i.retry_in_ms is null then d.next_at
        else now() + make_interval(secs => i.retry_in_ms / 1000.0)
      end
    from jsonb_to_recordset(p_items) as i (
      id bigint, claim uuid, delivered boolean, gone boolean, ours boolean, retry_in_ms bigint, entry jsonb
    )
    where d.id = i.id and d.claim = i.claim and d.state = 'pending'
    returning d.id, d.endpoint_id, d.subject, d.state, i.delivered, i.gone, coalesce(i.ours, false) as ours,
      i.delivered and (i.entry ->> 'durationMs')::integer <= c_quick_ms as quick, i.entry ->> 'status' is null or (i.entry ->> 'durationMs')::integer > c_slow_ms as silent
  ),
  sums as (
    select r.endpoint_id, bool_or(r.delivered) as any_delivered, count(*) filter (where not r.delivered and not r.ours) as failed,
      bool_or(r.gone) as gone, count(*) filter (where r.quick) as quick, bool_or(r.silent and not r.ours) as silent
    from recorded r group by 1 having not bool_and(r.ours)
  ),
  judged as (
    select s.*, w.enabled as was_on, not s.any_delivered and coalesce(w.failing_since < now() - c_patience, false) as failing
    from sums s join webhook_endpoints w on w.id = s.endpoint_id
  ),
  endpoints as (
    update webhook_endpoints w set
      failures = case when s.any_delivered then 0 else w.failures + s.failed end,
      last_delivered_at = case when s.any_delivered then now() else w.last_delivered_at end,
      silent = s.silent,
      at_once = case
        when s.silent then 1
        when s.failed > 0 then greatest(2, w.at_once / 2)
        else least(c_most, w.at_once + s.quick)
      end,
      failing_since = case when not s.any_delivered then coalesce(w.failing_since, now()) end,
      enabled = w.enabled and not s.gone and not s.failing,
      disabled_because = case
        when w.enabled and s.gone then 'gone'
        when w.enabled and s.failing then 'failing'
        else w.disabled_because
      end
    from judged s where w.id = s.endpoint_id
  )
  select
    (
      select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', r.endpoint_id, 'subject', r.subject)), '[]')
      from recorded r where r.state <> 'pending'
    ),
    (
      select coalesce(jsonb_object_agg(j.endpoint_id, case when j.gone then 'gone' else 'failing' end), '{}')
      from judged j where j.was_on and (j.gone or j.failing)
    )
  into v_ended, v_off;
  perform release_deliveries(v_ended);
  return v_off;
end
$$;

revoke all on function record_deliveries(jsonb) from public, anon, authenticated;
grant execute on function record_deliveries(jsonb) to service_role;
