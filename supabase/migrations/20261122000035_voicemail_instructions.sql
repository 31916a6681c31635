-- A call that a machine has taken leaves something only if its vendor was told what to say: which is a fact of ours, and not in
-- the vendor's report of the call's end.

-- One attempt at a voicemail whose vendor has asked what to leave. answered: the answer has gone out; ended: the report of its
-- call's end, if it came before that was known.
create table voicemail_instructions (
  attempt_id uuid primary key,
  answered boolean not null,
  ended jsonb,
  created_at timestamptz not null default now()
);
create index voicemail_instructions_age on voicemail_instructions (created_at);
alter table voicemail_instructions enable row level security;
revoke all on voicemail_instructions from public, anon, authenticated;
grant all on voicemail_instructions to service_role;

-- Twice, late and in any order: what was answered stays so, and has a report that waited for it count.
create function record_instructions(p_attempt_id uuid, p_answered boolean) returns void
language plpgsql
set search_path = public
as $$
declare
  v_ended jsonb;
begin
  insert into voicemail_instructions as i (attempt_id, answered) values (p_attempt_id, p_answered)
  on conflict (attempt_id) do update set answered = i.answered or excluded.answered
  returning case when i.answered then i.ended end into v_ended;
  if v_ended is not null then
    perform record_receipts(jsonb_build_array(v_ended));
  end if;
end
$$;

-- How far it came when the call ended; null: nobody has asked, as far as is known here. p_ended, see record_receipts, counts
-- later if the answer turns out to have gone out.
create function instructions_of(p_attempt_id uuid, p_ended jsonb) returns text
language plpgsql
set search_path = public
as $$
begin
  update voicemail_instructions i set ended = p_ended where i.attempt_id = p_attempt_id and not i.answered;
  if found then
    return 'asked';
  end if;
  return (select 'answered' from voicemail_instructions i where i.attempt_id = p_attempt_id);
end
$$;

-- The address that a vendor asks at is valid for two days.
create function tidy_instructions() returns void
language sql
set search_path = public
as $$
  delete from voicemail_instructions where created_at < now() - interval '7 days'
$$;

revoke all on function record_instructions(uuid, boolean) from public, anon, authenticated;
grant execute on function record_instructions(uuid, boolean) to service_role;
revoke all on function instructions_of(uuid, jsonb) from public, anon, authenticated;
grant execute on function instructions_of(uuid, jsonb) to service_role;
revoke all on function tidy_instructions() from public, anon, authenticated;
grant execute on function tidy_instructions() to service_role;
