-- Hunts: the submissions that make them, the contacts of these until they are planned, the templates that they say, and the traces that
-- they were submitted in.

create table hunts (
  id text primary key check (length(id) between 1 and 200),
  account_id text not null references accounts (id),
  priority text not null default 'normal' check (priority in ('high', 'normal', 'low')),
  -- Nothing is sent after it, so that a restored backup cannot wake an old hunt.
  expires_at timestamptz not null default now() + interval '7 days',
  created_at timestamptz not null default now(),
  paused_at timestamptz,
  cancelled_at timestamptz,
  -- Of a cancelled hunt some messages may still say queued.
  cancelling boolean not null default false,
  -- {"days": [1 to 7], "from": "09:00", "to": "18:00", "timeZone"?: the recipient's, "spread"?: true, "until"?: of the spreading,
  -- else the end of the window}.
  windows jsonb,
  -- Since when it goes as it goes now: how fast it was before says nothing. null: since its beginning.
  steady_since timestamptz,
  -- In place of what the submissions said that were accepted up to send_at_set; null: as they said.
  send_at timestamptz,
  send_at_set timestamptz,
  -- From then on its messages end with the hunt, and not when they were planned to.
  rescheduled_at timestamptz
);
create index hunts_cancelling on hunts (id) where cancelling;
create index hunts_newest on hunts (created_at desc, id desc);
create index hunts_newest_of on hunts (account_id, created_at desc, id desc);

-- One accepted call of POST /api/hunt/execute. A hunt may be added to by further ones.
create table hunt_submissions (
  job_id uuid primary key,
  hunt_id text not null references hunts (id),
  contacts integer not null check (contacts > 0),
  accepted_at timestamptz not null default now(),
  planned_at timestamptz,
  -- The database was restored from a backup while this was open: it may have been sent since.
  suspect boolean not null default false,
  -- What it says to contacts without a message of their own, with the texts of its templates as they were then.
  content jsonb,
  -- Of contacts without a time of their own.
  send_at timestamptz
);
create index hunt_submissions_hunt on hunt_submissions (hunt_id);
create index hunt_submissions_open on hunt_submissions (accepted_at) where planned_at is null;

-- The contacts of a submission until they are planned, or of a recurrence under its id. Staged before the submission is accepted, so
-- no foreign key.
create table hunt_chunks (
  job_id uuid not null,
  no integer not null,
  size integer not null,
  contacts jsonb,
  created_at timestamptz not null default now(),
  planned_at timestamptz,
  primary key (job_id, no)
);

-- The account's own texts. version: the newest.
create table templates (
  id uuid primary key,
  account_id text not null references accounts (id),
  name text not null,
  -- null: for every channel that carries a text.
  channel text,
  version integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  -- No further hunt may use it. Those that were accepted have its text.
  archived_at timestamptz
);
create index templates_account on templates (account_id, created_at, id);

create table template_versions (
  template_id uuid not null references templates (id),
  version integer not null,
  text text not null,
  created_at timestamptz not null default now(),
  primary key (template_id, version)
);

-- Makes a template, or, where p_template has an "id" that is the account's, its next version; the same again changes nothing.
-- p_template: {"id", "new_id", "name", "channel", "text"}. Answers {"result": "done" | "replay" | "conflict" |
-- "unknown_account" | "missing", "response": {"templateId", "version"}}.
create function put_template(p_account_id text, p_template jsonb, p_idempotency jsonb) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_answer jsonb := idempotency_seen(p_idempotency);
  v_response jsonb;
  v_template templates;
begin
  if v_answer is not null then
    return v_answer;
  end if;
  if not exists (select 1 from accounts where id = p_account_id) then
    return jsonb_build_object('result', 'unknown_account');
  end if;
  if p_template ->> 'id' is null then
    insert into templates (id, account_id, name, channel)
    values ((p_template ->> 'new_id')::uuid, p_account_id, p_template ->> 'name', p_template ->> 'channel')
    returning * into v_template;
  else
    select * into v_template from templates
    where id = (p_template ->> 'id')::uuid and account_id = p_account_id and archived_at is null for update;
    if not found then
      return jsonb_build_object('result', 'missing');
    end if;
    update templates t set
      name = p_template ->> 'name', channel = p_template ->> 'channel', updated_at = now(),
      version = version + case when exists (
        select 1 from template_versions v
        where v.template_id = t.id and v.version = t.version and v.text = p_template ->> 'text'
      ) then 0 else 1 end
    where id = v_template.id returning * into v_template;
  end if;
  v_response := jsonb_build_object('templateId', v_template.id, 'version', v_template.version);
  v_answer := idempotency_take(p_idempotency, v_response);
  if v_answer is not null then
    -- The same request won the race: undo everything.
    raise exception 'idempotency key taken meanwhile' using errcode = 'serialization_failure';
  end if;
  insert into template_versions (template_id, version, text)
  values (v_template.id, v_template.version, p_template ->> 'text')
  on conflict do nothing;
  return jsonb_build_object('result', 'done', 'response', v_response);
end
$$;

-- The traces that hunts were submitted in, so that their messages go on with them whenever they are sent. Written only where traces
-- are configured. No foreign keys: what is left of a submission that came to nothing goes like all others.
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

-- Keeps a submission's trace, once.
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

-- The last of each hunt that has any: [{"huntId", "carrier", "share"}].
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

-- All of it is the service's alone.
alter table hunts enable row level security;
alter table hunt_submissions enable row level security;
alter table hunt_chunks enable row level security;
alter table templates enable row level security;
alter table template_versions enable row level security;
alter table hunt_traces enable row level security;
revoke all on hunts, hunt_submissions, hunt_chunks, templates, template_versions, hunt_traces from public, anon, authenticated;
grant all on hunts, hunt_submissions, hunt_chunks, templates, template_versions, hunt_traces to service_role;
revoke all on function put_template, keep_hunt_trace, hunt_traces_of from public, anon, authenticated;
grant execute on function put_template, keep_hunt_trace, hunt_traces_of to service_role;
