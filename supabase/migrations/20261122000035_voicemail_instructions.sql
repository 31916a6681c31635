-- A call that a machine has taken leaves something only if its vendor was told what to say: which is a fact of ours, and not in
-- the vendor's report of the call's end.

-- One attempt at a voicemail whose vendor has asked what to leave. answered: the answer has gone out.
create table voicemail_instructions (
  attempt_id uuid primary key,
  answered boolean not null,
  created_at timestamptz not null default now()
);
create index voicemail_instructions_age on voicemail_instructions (created_at);
alter table voicemail_instructions enable row level security;
revoke all on voicemail_instructions from public, anon, authenticated;
grant all on voicemail_instructions to service_role;

-- Twice, late and in any order: what was answered stays so.
create function record_instructions(p_attempt_id uuid, p_answered boolean) returns void
language sql
set search_path = public
as $$
  insert into voicemail_instructions as i (attempt_id, answered) values (p_attempt_id, p_answered)
  on conflict (attempt_id) do update set answered = true where excluded.answered and not i.answered
$$;

-- null: nobody has asked, as far as is known here.
create function instructions_of(p_attempt_id uuid) returns text
language sql stable
set search_path = public
as $$
  select case when i.answered then 'answered' else 'asked' end from voicemail_instructions i
  where i.attempt_id = p_attempt_id
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
revoke all on function instructions_of(uuid) from public, anon, authenticated;
grant execute on function instructions_of(uuid) to service_role;
revoke all on function tidy_instructions() from public, anon, authenticated;
grant execute on function tidy_instructions() to service_role;
