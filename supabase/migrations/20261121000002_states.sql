-- The two pure functions have a body in standard SQL and no settings, so that the triggers' conditions inline them.

-- What may follow what. Workers, receipts and people may come late or twice: a state never moves back by them.

create function message_may_become(old_status text, new_status text, proven_not_sent boolean) returns boolean
language sql immutable parallel safe
return case old_status
    -- sent, unknown: the ledger was set back to an older state and learns what happened since.
    when 'queued' then new_status in ('sending', 'sent', 'unknown', 'failed', 'skipped', 'cancelled')
    -- Back to queued: the provider has proven that it did not accept the attempt.
    when 'sending' then new_status in ('queued', 'sent', 'failed', 'unknown')
    when 'unknown' then new_status in ('queued', 'sent', 'delivered', 'read', 'failed')
    when 'sent' then new_status in ('delivered', 'read', 'failed')
    when 'delivered' then new_status = 'read'
    -- A person asked for another try, and nothing was sent.
    when 'failed' then new_status = 'queued' and proven_not_sent
    else false
  end;

create function check_message_transition() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  raise exception 'message % cannot go from % to %', old.id, old.status, new.status
    using errcode = 'check_violation';
end
$$;

create trigger messages_transition before update of status on messages
for each row when (
  old.status is distinct from new.status and not message_may_become(old.status, new.status, old.retryable)
)
execute function check_message_transition();

create function lead_stage_rank(stage text) returns integer
language sql immutable parallel safe
return array_position(array['new', 'contacted', 'replied', 'qualified', 'won', 'lost'], stage);

create function keep_lead_stage() returns trigger
language plpgsql
set search_path = ''
as $$
begin
  if public.lead_stage_rank(new.stage) < public.lead_stage_rank(old.stage) then
    new.stage := old.stage;
  end if;
  new.updated_at := now();
  return new;
end
$$;

create trigger leads_stage before update on leads
for each row when (
  lead_stage_rank(new.stage) < lead_stage_rank(old.stage) or old.updated_at is not distinct from new.updated_at
)
execute function keep_lead_stage();
