-- What happened, for those who listen: an outbox that is written in the transaction of the change itself, by triggers, so that no
-- event is lost and none is invented. Only for accounts that somebody listens to; nothing of what was written to or by people is
-- in it, nor their numbers: event_view adds these when an event leaves, so that an erasure holds.

create table webhook_endpoints (
  id uuid primary key default gen_random_uuid(),
  account_id text not null references accounts (id),
  url text not null,
  description text,
  -- Types, or groups such as 'message.*'; null: all of them.
  events text[],
  enabled boolean not null default true,
  -- Why the service has turned it off; null where a person did.
  disabled_because text,
  -- What deliveries are signed with; those before it sign as well for a while, [{"secret", "until"}], and the last of them until
  -- old_secret_until. Sealed by the service where it has a key.
  secret text not null,
  old_secrets jsonb not null default '[]',
  old_secret_until timestamptz,
  -- Attempts that failed since the last that did not.
  failures integer not null default 0,
  last_delivered_at timestamptz,
  created_at timestamptz not null default now()
) with (fillfactor = 50);
-- The digest, because an index holds no address of any length.
create unique index webhook_endpoints_url on webhook_endpoints (account_id, md5(url));
create index webhook_endpoints_enabled on webhook_endpoints (account_id) where enabled;

-- Accounts whose events are read live, and for a while after. since: the position from which on nothing was left out.
create table event_readers (
  account_id text primary key references accounts (id),
  until timestamptz not null,
  since bigint not null
) with (fillfactor = 50);

-- pos: the last position that was given. tidied: events up to there may be gone.
create table event_head (
  one boolean primary key default true check (one),
  pos bigint not null default 0,
  tidied bigint not null default 0
) with (fillfactor = 10);
insert into event_head default values;

-- pos: its place in the order in which readers see events. Ids are given before a transaction commits, so that a reader who
-- followed them would pass over one that commits late; positions are given afterwards, by one at a time (see pump_events).
create table events (
  id bigint generated always as identity primary key,
  uid uuid not null default gen_random_uuid(),
  account_id text not null,
  hunt_id text,
  -- Whose events keep their order when they are delivered: a message, hunt or session. null: that of none.
  subject text,
  type text not null,
  data jsonb not null,
  at timestamptz not null default now(),
  pos bigint
) with (fillfactor = 80);
create index events_new on events (id) where pos is null;
create unique index events_pos on events (pos) where pos is not null;
create index events_account on events (account_id, pos) where pos is not null;

-- An event's way to an endpoint. next_at 'infinity': it waits for the one before it about the same subject.
create table webhook_deliveries (
  id bigint generated always as identity primary key,
  endpoint_id uuid not null references webhook_endpoints (id) on delete cascade,
  event_id bigint not null references events (id) on delete cascade,
  type text not null,
  subject text,
  pos bigint not null,
  state text not null default 'pending' check (state in ('pending', 'delivered', 'failed')),
  attempts integer not null default 0,
  -- Somebody asked for it once more.
  replayed boolean not null default false,
  next_at timestamptz not null default now(),
  -- It is in the queue, or (claim) with a worker, who has until then.
  held_until timestamptz,
  claim uuid,
  -- The last attempts, [{"at", "status", "durationMs", "error", "answer"}].
  log jsonb not null default '[]',
  created_at timestamptz not null default now(),
  ended_at timestamptz,
  unique (event_id, endpoint_id)
) with (fillfactor = 60);
create index webhook_deliveries_endpoint on webhook_deliveries (endpoint_id, id);
create index webhook_deliveries_due on webhook_deliveries (endpoint_id, next_at) where state = 'pending';
create index webhook_deliveries_held on webhook_deliveries (endpoint_id, held_until)
  where state = 'pending' and held_until is not null;
create index webhook_deliveries_subject on webhook_deliveries (endpoint_id, subject, pos)
  where state = 'pending' and subject is not null;
create index webhook_deliveries_progress on webhook_deliveries (event_id)
  where state = 'pending' and type = 'hunt.progress';

-- How far each hunt that is listened to was when it was last told. dirty: something of it has changed since. since: when it was
-- first seen; what it came to before that is not told.
create table hunt_reports (
  hunt_id text primary key,
  account_id text not null,
  state text not null default 'new' check (state in ('new', 'running', 'completed')),
  counts jsonb,
  since timestamptz not null,
  dirty boolean not null default true,
  due_at timestamptz not null default now()
) with (fillfactor = 50);
create index hunt_reports_dirty on hunt_reports (due_at) where dirty;

do $$
declare
  t text;
begin
  foreach t in array array[
    'webhook_endpoints', 'event_readers', 'event_head', 'events', 'webhook_deliveries', 'hunt_reports'
  ] loop
    execute format('alter table public.%I enable row level security', t);
    execute format('revoke all on public.%I from anon, authenticated', t);
    execute format('grant all on public.%I to service_role', t);
  end loop;
  foreach t in array array['events_id_seq', 'webhook_deliveries_id_seq'] loop
    execute format('revoke all on sequence public.%I from anon, authenticated', t);
  end loop;
end
$$;

-- The triggers below run after every statement on the tables of the hot path: first of all they ask this, of two tables that are
-- empty, or nearly, where nobody listens.
create function somebody_listens() returns boolean
language sql stable
return exists (select 1 from webhook_endpoints w where w.enabled)
  or exists (select 1 from event_readers r where r.until > now());

create function is_listened_to(p_account_id text) returns boolean
language sql stable
return exists (select 1 from webhook_endpoints w where w.account_id = p_account_id and w.enabled)
  or exists (select 1 from event_readers r where r.account_id = p_account_id and r.until > now());

create function message_event(m messages) returns jsonb
language sql immutable
return jsonb_build_object(
  'accountId', m.account_id, 'huntId', m.hunt_id, 'adId', m.ad_id, 'messageId', m.id, 'channel', m.channel,
  'status', m.status,
  'reason', case when m.status = 'skipped' then m.code end,
  'code', case when m.status <> 'skipped' then m.code end,
  'provider', m.provider
);

create function note_new_messages() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    insert into events (account_id, hunt_id, subject, type, data)
    select n.account_id, n.hunt_id, n.id::text, 'message.' || n.status, message_event(n::messages)
    from changed n
    where n.status not in ('queued', 'sending') and n.account_id is not null and is_listened_to(n.account_id);
  end if;
  return null;
end
$$;

create function note_messages() returns trigger
language plpgsql
set search_path = public
-- Its callers have turned these off, for rows that are found by key. Here there is none.
set enable_hashjoin = on
set enable_mergejoin = on
as $$
begin
  if somebody_listens() then
    insert into events (account_id, hunt_id, subject, type, data)
    select n.account_id, n.hunt_id, n.id::text, 'message.' || n.status, message_event(n::messages)
    from changed n join before o on o.id = n.id
    where n.status <> o.status and n.status not in ('queued', 'sending')
      and n.account_id is not null and is_listened_to(n.account_id);
  end if;
  return null;
end
$$;

create trigger messages_new_event after insert on messages
  referencing new table as changed for each statement execute function note_new_messages();
create trigger messages_event after update on messages
  referencing old table as before new table as changed for each statement execute function note_messages();

create function note_hunts() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    insert into events (account_id, hunt_id, subject, type, data)
    select n.account_id, n.id, n.id, x.type, jsonb_build_object(
      'accountId', n.account_id, 'huntId', n.id, 'pausedAt', n.paused_at, 'cancelledAt', n.cancelled_at
    )
    from changed n join before o on o.id = n.id
    cross join lateral (
      select case
        when n.cancelled_at is not null and o.cancelled_at is null then 'hunt.cancelled'
        when n.paused_at is not null and o.paused_at is null then 'hunt.paused'
        when n.paused_at is null and o.paused_at is not null then 'hunt.resumed'
      end as type
    ) x
    where x.type is not null and is_listened_to(n.account_id);
  end if;
  return null;
end
$$;

create trigger hunts_event after update on hunts
  referencing old table as before new table as changed for each statement execute function note_hunts();

-- A number of one account's list; those that hold for everybody are nobody's to be told.
create function note_suppressions() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    insert into events (account_id, subject, type, data)
    select n.account_id, null, 'suppression.added', jsonb_build_object(
      'accountId', n.account_id, 'suppressionId', n.id::text,
      'source', case
        when n.reason = 'stop' then 'reply'
        when n.reason in ('carrier', 'import') then n.reason
        when n.reason = 'erased' then 'erasure'
        else 'manual'
      end
    )
    from changed n where n.account_id is not null and is_listened_to(n.account_id);
  end if;
  return null;
end
$$;

create trigger suppressions_event after insert on suppressions
  referencing new table as changed for each statement execute function note_suppressions();

create function reply_event(r replies) returns void
language sql
set search_path = public
as $$
  insert into events (account_id, hunt_id, subject, type, data)
  select r.account_id, m.hunt_id, m.id::text, 'message.reply', jsonb_build_object(
    'accountId', r.account_id, 'huntId', m.hunt_id, 'adId', m.ad_id, 'messageId', m.id, 'channel', m.channel,
    'replyId', r.id::text, 'provider', r.provider, 'wish', r.wish, 'repliedAt', r.at
  )
  from (select 1) x left join messages m on m.id = r.message_id
  where r.account_id is not null and is_listened_to(r.account_id)
$$;

create function note_replies() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    perform reply_event(n::replies) from changed n;
  end if;
  return null;
end
$$;

create trigger replies_event after insert on replies
  referencing new table as changed for each statement execute function note_replies();

-- One that could not be read at first: it is told again, with what it says.
create function note_readable_reply() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    perform reply_event(new);
  end if;
  return null;
end
$$;

create trigger replies_readable_event after update of text on replies
  for each row when (old.text = '' and new.text <> '' and new.phone <> 'erased') execute function note_readable_reply();

create function session_event(s whatsapp_sessions, p_type text) returns void
language sql
set search_path = public
as $$
  insert into events (account_id, subject, type, data)
  select s.account_id, s.id::text, p_type, jsonb_build_object(
    'accountId', s.account_id, 'sessionId', s.id, 'state', case p_type when 'session.removed' then null else s.state end
  )
  where is_listened_to(s.account_id)
$$;

create function note_sessions() returns trigger
language plpgsql
set search_path = public
as $$
begin
  if somebody_listens() then
    case tg_op
      when 'DELETE' then perform session_event(old, 'session.removed');
      else perform session_event(new, 'session.' || replace(new.state, '-', '_'));
    end case;
  end if;
  return null;
end
$$;

create trigger whatsapp_sessions_new_event after insert or delete on whatsapp_sessions
  for each row execute function note_sessions();
create trigger whatsapp_sessions_event after update on whatsapp_sessions
  for each row when (old.state is distinct from new.state) execute function note_sessions();

-- An event as it leaves. What a person wrote, and their number, is read now: null where it was erased since.
create function event_view(e events) returns jsonb
language sql stable
set search_path = public
as $$
  select jsonb_build_object(
    'pos', e.pos, 'id', 'evt_' || replace(e.uid::text, '-', ''), 'accountId', e.account_id, 'huntId', e.hunt_id,
    'type', e.type, 'at', e.at,
    'data', e.data || case e.type
      when 'message.reply' then jsonb_build_object(
        'phone', (select nullif(r.phone, 'erased') from replies r where r.id = (e.data ->> 'replyId')::bigint),
        'text', (
          select r.text from replies r where r.id = (e.data ->> 'replyId')::bigint and r.phone <> 'erased'
        )
      )
      when 'suppression.added' then jsonb_build_object(
        'phone', (
          select s.phone from suppressions s
          where s.id = (e.data ->> 'suppressionId')::bigint and s.reason <> 'erased'
        )
      )
      else '{}'
    end
  )
$$;

-- Tells how far hunts are of which something has changed: at most once a second for each, and later where counting takes long.
create function report_hunts(p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_report hunt_reports;
  v_counts jsonb;
  v_open bigint;
  v_first timestamptz;
  v_last timestamptz;
  v_planning boolean;
  v_started timestamptz;
  v_types text[];
  v_told integer := 0;
begin
  for v_report in
    select * from hunt_reports where dirty and due_at <= now() order by due_at limit p_limit for update skip locked
  loop
    v_started := clock_timestamp();
    select jsonb_object_agg(g.status, g.n), sum(g.n) filter (where g.status in ('queued', 'sending')),
      min(g.first), max(g.last)
    into v_counts, v_open, v_first, v_last
    from (
      select m.status, count(*) as n, min(m.settled_at) as first, max(m.settled_at) as last
      from messages m where m.hunt_id = v_report.hunt_id group by 1
    ) g;
    v_planning := exists (
      select 1 from hunt_submissions s where s.hunt_id = v_report.hunt_id and s.planned_at is null
    );
    v_types := '{}';
    if v_report.state = 'new' and v_first >= v_report.since
      or v_report.state = 'completed' and (v_planning or v_open > 0) then
      v_types := v_types || 'hunt.started'::text;
      v_report.state := 'running';
    end if;
    if v_report.state <> 'completed' and coalesce(v_open, 0) = 0 and not v_planning then
      if v_report.state = 'running' or v_last >= v_report.since then
        v_types := v_types || 'hunt.completed'::text;
      end if;
      v_report.state := 'completed';
    elsif v_counts is distinct from v_report.counts then
      v_types := v_types || 'hunt.progress'::text;
    end if;
    if is_listened_to(v_report.account_id) then
      insert into events (account_id, hunt_id, subject, type, data)
      select v_report.account_id, v_report.hunt_id, case t.type when 'hunt.progress' then null else v_report.hunt_id end, t.type,
        jsonb_build_object(
          'accountId', v_report.account_id, 'huntId', v_report.hunt_id, 'counts', coalesce(v_counts, '{}'),
          'planning', v_planning, 'pausedAt', h.paused_at, 'cancelledAt', h.cancelled_at
        )
      from unnest(v_types) with ordinality as t (type, no) join hunts h on h.id = v_report.hunt_id
      order by t.no;
    end if;
    update hunt_reports set
      state = case when v_report.state = 'new' and v_first is not null then 'running' else v_report.state end, counts = v_counts, dirty = v_planning,
      due_at = clock_timestamp() + greatest(interval '1 second', 20 * (clock_timestamp() - v_started))
    where hunt_id = v_report.hunt_id;
    v_told := v_told + cardinality(v_types);
  end loop;
  return v_told;
end
$$;

-- Gives what has committed its positions, one caller at a time, and makes a delivery of each event for each endpoint that wants
-- it. Whoever sees a position sees every smaller one. Answers how many events it were.
create function pump_events(p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_head bigint;
  v_n integer;
begin
  if not exists (select 1 from events where pos is null) then
    return 0;
  end if;
  select pos into v_head from event_head for update skip locked;
  if not found then
    return 0;
  end if;
  with picked as (
    select x.id, row_number() over (order by x.id) as no
    from (select e.id from events e where e.pos is null order by e.id limit p_limit) x
  )
  update events e set pos = v_head + p.no from picked p where e.id = p.id;
  get diagnostics v_n = row_count;
  update event_head set pos = v_head + v_n;

  -- Before looking what is pending: record_deliveries locks them as well, so that what ends meanwhile is seen.
  perform 1 from webhook_endpoints w
  where w.enabled and w.account_id in (select e.account_id from events e where e.pos > v_head)
  order by w.id for share;
  -- Of a hunt's progress only the last is worth telling, to an endpoint that is given the later one below.
  delete from webhook_deliveries d using events o
  where d.state = 'pending' and d.type = 'hunt.progress' and not d.replayed and coalesce(d.held_until <= now(), true)
    and o.id = d.event_id
    and exists (
      select 1 from events e
      join webhook_endpoints w on w.id = d.endpoint_id and w.account_id = e.account_id and w.enabled
        and (w.events is null or e.type = any (w.events) or split_part(e.type, '.', 1) || '.*' = any (w.events))
      where e.pos > v_head and e.hunt_id = o.hunt_id and e.type in ('hunt.progress', 'hunt.completed')
    );
  insert into webhook_deliveries (endpoint_id, event_id, type, subject, pos, next_at)
  select x.endpoint_id, x.id, x.type, x.subject, x.pos,
    case
      when x.subject is not null and (x.place > 1 or exists (
        select 1 from webhook_deliveries p
        where p.endpoint_id = x.endpoint_id and p.subject = x.subject and p.state = 'pending'
      )) then 'infinity'::timestamptz
      else now()
    end
  from (
    select w.id as endpoint_id, e.id, e.type, e.subject, e.pos,
      row_number() over (partition by w.id, e.subject order by e.pos) as place
    from events e
    join webhook_endpoints w on w.account_id = e.account_id and w.enabled
      and (w.events is null or e.type = any (w.events) or split_part(e.type, '.', 1) || '.*' = any (w.events))
    where e.pos > v_head and e.type <> 'webhook.test'
  ) x
  order by x.pos
  on conflict do nothing;

  insert into hunt_reports (hunt_id, account_id, since)
  select e.hunt_id, e.account_id, min(e.at) from events e
  where e.pos > v_head and e.hunt_id is not null and e.type not in ('hunt.started', 'hunt.progress', 'hunt.completed')
  group by 1, 2 order by 1
  on conflict (hunt_id) do update set dirty = true where not hunt_reports.dirty;
  return v_n;
end
$$;

-- What the services do all the time: tells hunts' progress, gives positions, and hands out deliveries that are due for
-- p_hold_ms. An endpoint has p_most under way at once, and one that fails all the time a single one, so that it does not keep
-- the others waiting. Answers {"moved", "due": [ids], "listened"}.
create function run_events(p_limit integer, p_most integer, p_hold_ms integer) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_moved integer;
  v_due jsonb;
begin
  if not somebody_listens() then
    return jsonb_build_object('moved', 0, 'due', '[]'::jsonb, 'listened', false);
  end if;
  perform report_hunts(5);
  v_moved := pump_events(p_limit);
  with due as materialized (
    select d.id
    from webhook_endpoints w
    cross join lateral (
      select count(*) as n from (
        select 1 from webhook_deliveries h
        where h.endpoint_id = w.id and h.state = 'pending' and h.held_until > now() limit p_most
      ) x
    ) busy
    cross join lateral (
      select d.id from webhook_deliveries d
      where d.endpoint_id = w.id and d.state = 'pending' and d.next_at <= now() and coalesce(d.held_until <= now(), true)
      order by d.next_at, d.pos
      limit greatest(0, case when w.failures >= 5 then 1 else p_most end - busy.n)
      for update skip locked
    ) d
    where w.enabled
    limit p_limit
  ),
  held as (
    update webhook_deliveries d set held_until = now() + make_interval(secs => p_hold_ms / 1000.0), claim = null
    from due where d.id = due.id
  )
  select coalesce(jsonb_agg(due.id), '[]') into v_due from due;
  return jsonb_build_object('moved', v_moved, 'due', v_due, 'listened', true);
end
$$;

-- A worker takes deliveries, [{"id", "claim"}], for p_hold_ms. Answers what is to be sent where; not those that are not due, or
-- are somebody else's: one whose time is over is handed out again, which ends its claim (see run_events).
create function begin_deliveries(p_items jsonb, p_hold_ms integer) returns jsonb
language sql
set search_path = public
as $$
  with begun as (
    update webhook_deliveries d set claim = i.claim, held_until = now() + make_interval(secs => p_hold_ms / 1000.0)
    from jsonb_to_recordset(p_items) as i (id bigint, claim uuid), webhook_endpoints w
    where d.id = i.id and d.state = 'pending' and d.next_at <= now() and d.claim is null
      and w.id = d.endpoint_id and w.enabled
    returning d.id, d.claim, d.event_id, d.attempts, w.id as endpoint_id, w.url, (
      select jsonb_build_array(w.secret) || coalesce(jsonb_agg(o ->> 'secret'), '[]')
      from jsonb_array_elements(w.old_secrets) as o where (o ->> 'until')::timestamptz > now()
    ) as secrets
  )
  select coalesce(jsonb_agg(to_jsonb(b) || jsonb_build_object('event', event_view(e))), '[]')
  from begun b join events e on e.id = b.event_id
$$;

-- Lets those go that waited for the end of another one, [{"endpoint_id", "subject"}].
create function release_deliveries(p_ended jsonb) returns void
language sql
set search_path = public
as $$
  update webhook_deliveries d set next_at = now()
  from (
    select distinct i.endpoint_id, i.subject from jsonb_to_recordset(p_ended) as i (endpoint_id uuid, subject text)
    where i.subject is not null
  ) i
  cross join lateral (
    select p.id from webhook_deliveries p
    where p.endpoint_id = i.endpoint_id and p.subject = i.subject and p.state = 'pending' order by p.pos limit 1
  ) first
  where d.id = first.id and d.next_at = 'infinity'
$$;

-- What attempts came to, [{"id", "claim", "delivered", "gone", "retry_in_ms", "entry"}]: retry_in_ms null: there is no further one.
-- gone: the endpoint wants nothing any more.
create function record_deliveries(p_items jsonb) returns void
language plpgsql
set search_path = public
as $$
declare
  -- Attempts that are kept.
  c_log constant integer := 20;
  v_ended jsonb;
begin
  perform 1 from webhook_endpoints w
  where w.id in (
    select d.endpoint_id from jsonb_to_recordset(p_items) as i (id bigint) join webhook_deliveries d on d.id = i.id
  )
  order by w.id for no key update;
  with recorded as (
    update webhook_deliveries d set
      attempts = d.attempts + 1, claim = null, held_until = null,
      log = case when jsonb_array_length(d.log) >= c_log then d.log - 0 else d.log end || i.entry,
      state = case when i.delivered then 'delivered' when i.retry_in_ms is null then 'failed' else 'pending' end,
      ended_at = case when i.delivered or i.retry_in_ms is null then now() end,
      next_at = case
        when i.delivered or i.retry_in_ms is null then d.next_at
        else now() + make_interval(secs => i.retry_in_ms / 1000.0)
      end
    from jsonb_to_recordset(p_items) as i (
      id bigint, claim uuid, delivered boolean, gone boolean, retry_in_ms bigint, entry jsonb
    )
    where d.id = i.id and d.claim = i.claim and d.state = 'pending'
    returning d.id, d.endpoint_id, d.subject, d.state, i.delivered, i.gone
  ),
  sums as (
    select r.endpoint_id, bool_or(r.delivered) as any_delivered, count(*) filter (where not r.delivered) as failed,
      bool_or(r.gone) as gone
    from recorded r group by 1
  ),
  endpoints as (
    update webhook_endpoints w set
      failures = case when s.any_delivered then 0 else w.failures + s.failed end,
      last_delivered_at = case when s.any_delivered then now() else w.last_delivered_at end,
      enabled = w.enabled and not s.gone,
      disabled_because = case when w.enabled and s.gone then 'gone' else w.disabled_because end
    from sums s where w.id = s.endpoint_id
  )
  select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', r.endpoint_id, 'subject', r.subject)), '[]') into v_ended
  from recorded r where r.state <> 'pending';
  perform release_deliveries(v_ended);
end
$$;

-- From now on, for p_seconds, events of these accounts are kept for live readers. Answers {"head", "tidied", "since": {account:
-- position}}: what an account's events were before its position may not have been kept.
create function listen_to_events(p_accounts jsonb, p_seconds integer) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_since jsonb;
begin
  with kept as (
    insert into event_readers as r (account_id, until, since)
    select a.id, now() + make_interval(secs => p_seconds), h.pos
    from jsonb_array_elements_text(p_accounts) as a (id) cross join event_head h
    order by 1
    on conflict (account_id) do update set
      since = case when r.until < now() then excluded.since else r.since end, until = excluded.until
    returning r.account_id, r.since
  )
  select coalesce(jsonb_object_agg(k.account_id, k.since), '{}') into v_since from kept k;
  return (select jsonb_build_object('head', h.pos, 'tidied', h.tidied, 'since', v_since) from event_head h);
end
$$;

-- Events of these accounts, or of one hunt of theirs, after a position, in order. head: what comes after it is not in the answer.
create function read_events(p_after bigint, p_accounts jsonb, p_hunt_id text, p_limit integer) returns jsonb
language plpgsql
set search_path = public
as $$
begin
  perform pump_events(p_limit);
  return (
    select jsonb_build_object(
      'events', coalesce(jsonb_agg(event_view(x) order by x.pos), '[]'),
      'head', case when count(*) = p_limit then max(x.pos) else greatest(p_after, (select h.pos from event_head h)) end
    )
    from (
      select e.* from events e
      where e.pos > p_after and e.account_id in (select jsonb_array_elements_text(p_accounts))
        and (p_hunt_id is null or e.hunt_id = p_hunt_id) and e.type <> 'webhook.test'
      order by e.pos limit p_limit
    ) x
  );
end
$$;

-- Makes a delivery that only tries an endpoint out; answers its id, or null where there is no such endpoint or it is off.
create function test_endpoint(p_id uuid) returns bigint
language plpgsql
set search_path = public
as $$
declare
  v_event bigint;
  v_delivery bigint;
begin
  insert into events (account_id, type, data)
  select w.account_id, 'webhook.test', jsonb_build_object('accountId', w.account_id, 'endpointId', w.id)
  from webhook_endpoints w where w.id = p_id and w.enabled
  returning id into v_event;
  if v_event is not null then
    insert into webhook_deliveries (endpoint_id, event_id, type, pos) values (p_id, v_event, 'webhook.test', 0)
    returning id into v_delivery;
  end if;
  return v_delivery;
end
$$;

-- A new secret; those so far sign as well for so long, or (0) no more. Several, because an answer that is lost is asked for again:
-- what receivers know must not become void by that. Answers the endpoint, or null where there is none.
create function rotate_endpoint_secret(p_id uuid, p_secret text, p_overlap_seconds integer) returns jsonb
language sql
set search_path = public
as $$
  update webhook_endpoints w set
    secret = p_secret,
    old_secrets = case when p_overlap_seconds = 0 then '[]' else coalesce((
      select jsonb_agg(x.o order by x.no) from (
        select o, no from jsonb_array_elements(
          jsonb_build_array(jsonb_build_object('secret', w.secret, 'until', now() + make_interval(secs => p_overlap_seconds)))
          || w.old_secrets
        ) with ordinality as e (o, no)
        where (o ->> 'until')::timestamptz > now() order by no limit 5
      ) x
    ), '[]') end,
    old_secret_until = case
      when p_overlap_seconds > 0 then greatest(w.old_secret_until, now() + make_interval(secs => p_overlap_seconds))
    end
  where w.id = p_id
  returning to_jsonb(w) - 'secret' - 'old_secrets'
$$;

-- Once more, whatever became of it. Answers 'missing', 'pending' (it is on its way) or 'again'. It stands in no order any more, so
-- that nothing newer waits for it.
create function replay_delivery(p_endpoint_id uuid, p_id bigint) returns text
language plpgsql
set search_path = public
as $$
begin
  update webhook_deliveries set
    state = 'pending', subject = null, replayed = true, attempts = 0, next_at = now(), held_until = null, claim = null, ended_at = null
  where id = p_id and endpoint_id = p_endpoint_id and state <> 'pending';
  if found then
    return 'again';
  end if;
  return case
    when exists (select 1 from webhook_deliveries where id = p_id and endpoint_id = p_endpoint_id) then 'pending'
    else 'missing'
  end;
end
$$;

-- Forgets events that are so old, with their deliveries. Answers how many: as many as p_limit, there may be more.
create function tidy_events(p_keep_seconds integer, p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_ids bigint[];
  v_last bigint;
  v_ended jsonb;
begin
  select array_agg(x.id), max(x.pos) into v_ids, v_last
  from (select e.id, e.pos, e.at from events e order by e.id limit p_limit) x
  where x.at < now() - make_interval(secs => p_keep_seconds);
  if v_ids is not null then
    update event_head set tidied = greatest(tidied, v_last) where v_last is not null;
    with gone as (
      delete from webhook_deliveries d where d.event_id = any (v_ids)
      returning d.endpoint_id, d.subject, d.state
    )
    select coalesce(jsonb_agg(jsonb_build_object('endpoint_id', g.endpoint_id, 'subject', g.subject)), '[]') into v_ended
    from gone g where g.state = 'pending';
    delete from events where id = any (v_ids);
    perform release_deliveries(v_ended);
  end if;
  delete from event_readers where until < now() - interval '1 day';
  delete from hunt_reports where not dirty and due_at < now() - interval '30 days';
  return coalesce(cardinality(v_ids), 0);
end
$$;

do $$
declare
  f regprocedure;
begin
  for f in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'public'::regnamespace
      and p.proname in (
        'somebody_listens', 'is_listened_to', 'message_event', 'reply_event', 'session_event', 'event_view', 'note_new_messages',
        'note_messages', 'note_hunts', 'note_suppressions', 'note_replies', 'note_readable_reply', 'note_sessions',
        'report_hunts', 'pump_events', 'run_events', 'begin_deliveries', 'release_deliveries', 'record_deliveries',
        'listen_to_events', 'read_events', 'test_endpoint', 'rotate_endpoint_secret', 'replay_delivery', 'tidy_events'
      )
  loop
    execute format('revoke all on function %s from public, anon, authenticated', f);
    execute format('grant execute on function %s to service_role', f);
  end loop;
end
$$;
