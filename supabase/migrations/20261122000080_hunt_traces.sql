-- The traces that hunts were submitted in, so that their messages go on with them whenever they are sent. Written only where traces
-- are configured.

-- No foreign keys: what is left of a submission that came to nothing goes like all others.
create table hunt_traces (
  job_id uuid primary key,
  hunt_id text not null,
  -- W3C trace context: traceparent, tracestate.
  carrier jsonb not null,
  -- Of the submission's messages, those whose spans are recorded.
  share real not null check (share between 0 and 1),
  created_at timestamptz not null default now()
);
create index hunt_traces_hunt on hunt_traces (hunt_id, created_at desc);

create function keep_hunt_trace(p_job_id uuid, p_hunt_id text, p_carrier jsonb, p_share real) returns void
language plpgsql
set search_path = public
as $$
begin
  insert into hunt_traces (job_id, hunt_id, carrier, share) values (p_job_id, p_hunt_id, p_carrier, p_share)
  on conflict do nothing;
  -- Nothing of a hunt is sent once it has expired. Looked for now and then: there is nothing to be gained by doing so each time.
  if random() < 0.01 then
    delete from hunt_traces t
    where t.job_id in (
      select o.job_id from hunt_traces o
      where o.job_id <> p_job_id and o.created_at < now() - interval '1 day'
        and not exists (select 1 from hunts h where h.id = o.hunt_id and h.expires_at > now())
      for update skip locked
    );
  end if;
end
$$;

-- The last of each hunt.
create function hunt_traces_of(p_hunt_ids text[]) returns jsonb
language sql
stable
set search_path = public
as $$
  select coalesce(jsonb_agg(x.trace), '[]')
  from unnest(p_hunt_ids) as i (hunt_id)
  cross join lateral (
    select jsonb_build_object('huntId', t.hunt_id, 'carrier', t.carrier, 'share', t.share) as trace
    from hunt_traces t
    where t.hunt_id = i.hunt_id
    order by t.created_at desc
    limit 1
  ) x
$$;

alter table hunt_traces enable row level security;
revoke all on hunt_traces from anon, authenticated;
grant all on hunt_traces to service_role;
revoke all on function keep_hunt_trace(uuid, text, jsonb, real) from public, anon, authenticated;
grant execute on function keep_hunt_trace(uuid, text, jsonb, real) to service_role;
revoke all on function hunt_traces_of(text[]) from public, anon, authenticated;
grant execute on function hunt_traces_of(text[]) to service_role;
