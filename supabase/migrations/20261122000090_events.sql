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
  created_at timestamptz not null default now(),
  -- Deliveries that it may have under way. One more with each that it takes quickly, half with one that it refuses, and a single one
  -- while it is silent.
  at_once integer not null default 2 check (at_once > 0),
  -- It gave no answer the last time.
  silent boolean not null default false,
  -- Its first failure since its last success, or since a person turned it on.
  failing_since timestamptz
) with (fillfactor = 50);
-- The digest, because an index holds no address of any length.
create unique index webhook_endpoints_url on webhook_endpoints (account_id, md5(url));
create index webhook_endpoints_enabled on webhook_endpoints (account_id) where enabled;

-- Accounts whose events are read live, and for a while after.
create table event_readers (
  account_id text primary key references accounts (id),
  until timestamptz not null,
  -- The position from which on nothing was left out.
  since bigint not null,
  -- When its events began to be kept, without a gap since.
  began timestamptz not null default now()
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

-- Tells how far hunts are of which something has changed: at most once a second for each, and later where counting takes long.
-- hunt.completed comes only after a hunt.started, also of one to which contacts come after its end, or that ends before it is looked
-- at again. Whoever begins to listen in the middle is told of a start when something ends. Answers how many events it were.
create function report_hunts(p_limit integer) returns integer
language plpgsql
set search_path = public
as $$
declare
  v_report hunt_reports;
  v_counts jsonb;
  v_open bigint;
  v_all bigint;
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
    select jsonb_object_agg(g.status, g.n), coalesce(sum(g.n) filter (where g.status in ('queued', 'sending')), 0),
      sum(g.n), max(g.last)
    into v_counts, v_open, v_all, v_last
    from (
      select m.status, count(*) as n, max(m.settled_at) as last
      from messages m where m.hunt_id = v_report.hunt_id group by 1
    ) g;
    v_planning := exists (
      select 1 from hunt_submissions s where s.hunt_id = v_report.hunt_id and s.planned_at is null
    );
    v_types := '{}';
    -- One that was looked at and is 'new' yet was open then.
    if v_report.state = 'new' and (v_last >= v_report.since or v_report.counts is not null and v_open = 0 and not v_planning)
      or v_report.state = 'completed' and (
        v_planning or v_open > 0
        or v_all > (select coalesce(sum(c.n::bigint), 0) from jsonb_each_text(v_report.counts) as c (status, n))
      )
    then
      v_types := v_types || 'hunt.started'::text;
      v_report.state := 'running';
    end if;
    if v_report.state <> 'completed' and v_open = 0 and not v_planning then
      -- Of one that had ended before it was listened to there is nothing to tell.
      if v_report.state = 'running' then
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
      state = v_report.state, counts = v_counts, dirty = v_planning,
      due_at = clock_timestamp() + greatest(interval '1 second', 20 * (clock_timestamp() - v_started))
    where hunt_id = v_report.hunt_id;
    v_told := v_told + cardinality(v_types);
  end loop;
  return v_told;
end
$$;

-- Triggers look for listeners in the midst of a transaction, which may commit after somebody has begun to listen: then nobody is told
-- of it. So whoever begins waits for those that are under way. Called without a number it answers one, or null where there are
-- none; with that number the same, until all of them have ended.
create function begun_before(p_number text default null) returns text
language sql
set search_path = public
as $$
  select case when pg_snapshot_xmin(s) < x.number then x.number::text end
  from pg_current_snapshot() as s cross join lateral (select coalesce(p_number::xid8, pg_snapshot_xmax(s)) as number) x
$$;

-- From now on, for p_seconds, events of these accounts are kept for live readers. Answers {"head", "tidied", "since": {account:
-- position}, "fresh"}: what an account's events were before its position may not have been kept; fresh: they have been kept for so
-- short a time that changes may be under way that do not know of it.
create function listen_to_events(p_accounts jsonb, p_seconds integer) returns jsonb
language plpgsql
set search_path = public
as $$
declare
  v_since jsonb;
  v_fresh boolean;
begin
  with kept as (
    insert into event_readers as r (account_id, until, since)
    select a.id, now() + make_interval(secs => p_seconds), h.pos
    from jsonb_array_elements_text(p_accounts) as a (id) cross join event_head h
    order by 1
    on conflict (account_id) do update set
      since = case when r.until < now() then excluded.since else r.since end,
      began = case when r.until < now() then excluded.began else r.began end,
      until = excluded.until
    returning r.account_id, r.since, r.began
  )
  select coalesce(jsonb_object_agg(k.account_id, k.since), '{}'), coalesce(bool_or(k.began > now() - interval '1 minute'), false)
  into v_since, v_fresh from kept k;
  return (
    select jsonb_build_object('head', h.pos, 'tidied', h.tidied, 'since', v_since, 'fresh', v_fresh) from event_head h
  );
end
$$;

-- Events of these accounts, or of one hunt of theirs, after a position, in order. head: what comes after it is not in the answer.
-- lost: what came after the position is not known, because the database was restored since or the events were forgotten: there is
-- no more to be had than to go on from head.
create function read_events(p_after bigint, p_accounts jsonb, p_hunt_id text, p_limit integer) returns jsonb
language plpgsql
set search_path = public
as $$
begin
  perform pump_events(p_limit);
  if exists (select 1 from event_head h where p_after > h.pos or p_after < h.tidied) then
    return (select jsonb_build_object('events', '[]'::jsonb, 'head', h.pos, 'lost', true) from event_head h);
  end if;
  return (
    select jsonb_build_object(
      'events', coalesce(jsonb_agg(event_view(x) order by x.pos), '[]'),
      'head', case when count(*) = p_limit then max(x.pos) else greatest(p_after, (select h.pos from event_head h)) end,
      'lost', false
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

-- A database that was restored has given positions that it does not know of. From here on it gives others: farther than it can have
-- come, and whoever is at one of the old is told.
create function pass_over_positions() returns trigger
language plpgsql
set search_path = public
as $$
begin
  update event_head set pos = pos + 1000000000, tidied = pos + 1000000000;
  return null;
end
$$;

create trigger epoch_adopted after update on epoch
  for each row when (old.adopted_at is distinct from new.adopted_at) execute function pass_over_positions();

-- All of it is the service's alone.
alter table webhook_endpoints enable row level security;
alter table event_readers enable row level security;
alter table event_head enable row level security;
alter table events enable row level security;
alter table hunt_reports enable row level security;
revoke all on webhook_endpoints, event_readers, event_head, events, hunt_reports from public, anon, authenticated;
grant all on webhook_endpoints, event_readers, event_head, events, hunt_reports to service_role;
revoke all on sequence events_id_seq from public, anon, authenticated;
revoke all on function somebody_listens, is_listened_to, message_event, note_new_messages, note_messages, note_hunts, note_suppressions,
  reply_event, note_replies, note_readable_reply, session_event, note_sessions, event_view, report_hunts, begun_before, listen_to_events,
  read_events, pass_over_positions from public, anon, authenticated;
grant execute on function somebody_listens, is_listened_to, message_event, note_new_messages, note_messages, note_hunts, note_suppressions,
  reply_event, note_replies, note_readable_reply, session_event, note_sessions, event_view, report_hunts, begun_before, listen_to_events,
  read_events, pass_over_positions to service_role;
