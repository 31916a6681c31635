-- When the messages of hunts may be sent: within windows of the day, and no faster than a limit.

-- The zone, or UTC where this database does not know it: one hunt's must not keep all others waiting.
create function known_zone(p_zone text) returns text
language plpgsql stable
set search_path = ''
as $$
begin
  perform now() at time zone p_zone;
  return p_zone;
exception when invalid_parameter_value then
  return 'UTC';
end
$$;

-- The windows that end after p_at, the next nine days' at least, by the calendar of their own "timeZone", else of p_zone, else of UTC.
create function windows_of(p_windows jsonb, p_zone text, p_at timestamptz, p_days integer default 16)
returns table (opens timestamptz, closes timestamptz)
language sql stable
set search_path = public
as $$
  select greatest(x.opens, p_at), x.closes
  from (select known_zone(coalesce(p_windows ->> 'timeZone', nullif(p_zone, ''), 'UTC')) as zone) z
  cross join generate_series(0, p_days) as d (n)
  cross join lateral (select (p_at at time zone z.zone)::date + d.n as day) t
  cross join lateral (
    select (t.day + (p_windows ->> 'from')::time) at time zone z.zone as opens,
      (t.day + (p_windows ->> 'to')::time) at time zone z.zone as closes
  ) x
  where p_windows -> 'days' @> to_jsonb(extract(isodow from t.day)::integer) and x.closes > p_at and x.opens < x.closes
  order by 1
$$;

-- When the time has come after so many seconds of open windows; null: not within two months.
create function after_open(p_windows jsonb, p_zone text, p_from timestamptz, p_seconds double precision)
returns timestamptz
language sql stable
set search_path = public
as $$
  select case when p_windows is null then p_from + make_interval(secs => p_seconds) else (
    select w.opens + make_interval(secs => p_seconds - w.before)
    from (
      select opens, extract(epoch from closes - opens) as open,
        coalesce(sum(extract(epoch from closes - opens)) over (
          order by opens rows between unbounded preceding and 1 preceding
        ), 0) as before
      from windows_of(p_windows, p_zone, p_from, 62)
    ) w
    where w.before + w.open >= p_seconds
    order by w.opens limit 1
  ) end
$$;

-- Over how much open time from then on a hunt is spread, seconds: until its end, or to the end of the window.
create function open_left(p_windows jsonb, p_zone text, p_from timestamptz) returns double precision
language sql stable
set search_path = public
as $$
  select case when p_windows ->> 'until' is null
    then (
      select extract(epoch from w.closes - w.opens) from windows_of(p_windows, p_zone, p_from) w order by w.opens limit 1
    )
    else (
      select coalesce(sum(extract(epoch from least(w.closes, u.until) - w.opens)), 0)
      from (select (p_windows ->> 'until')::timestamptz as until) u
      cross join lateral windows_of(
        p_windows, p_zone, p_from, greatest(1, least(400, ceil(extract(epoch from u.until - p_from) / 86400)::integer + 1))
      ) w
      where w.opens < u.until
    )
  end
$$;

-- What limits have let through: one row an account and scope, see limits_of. next_at: the next turn; used: on that day.
create table limit_counters (
  account_id text not null,
  scope text not null,
  next_at timestamptz not null default now(),
  day date not null default '-infinity',
  used integer not null default 0,
  primary key (account_id, scope)
) with (fillfactor = 50);

-- The limits that hold for what an account sends through a queue from a sender: of each scope that they count together,
-- how many seconds are between two, how many are allowed a day, and whose day that is. A limit without a channel counts
-- all of them together, with '*' each by itself; and so its sender.
create function limits_of(p_limits jsonb, p_queue text, p_sender text)
returns table (scope text, spacing double precision, per_day integer, zone text)
language sql stable
set search_path = public
as $$
  select case when r.channel is null then '' else p_queue end || '/' || case when r.sender is null then '*' else '=' || p_sender end,
    -- No slower than what an interval can hold, whatever was written here.
    max(greatest(
      1 / case when r."perSecond" is not null then greatest(r."perSecond", 1e-4) end,
      60 / case when r."perMinute" is not null then greatest(r."perMinute", 1e-3) end,
      0
    )), min(r."perDay"), min(known_zone(coalesce(r."timeZone", 'UTC')))
  from jsonb_to_recordset(p_limits) as r (
    channel text, sender text, "perSecond" double precision, "perMinute" double precision, "perDay" integer, "timeZone" text
  )
  where (r.channel is null or r.channel in ('*', p_queue)) and (r.sender is null or r.sender in ('*', p_sender))
  group by 1
$$;

-- Other limits count for what waits as well, also for what was not to be looked at before tomorrow.
create function limits_changed() returns trigger
language plpgsql
set search_path = public
as $$
begin
  update flows f set due_at = greatest(f.send_at, now())
  from hunts h
  where h.id = f.hunt_id and h.account_id = new.id and f.fed_seq < f.last_seq and f.due_at > now();
  return null;
end
$$;

create trigger accounts_limits after update of limits on accounts
  for each row when (new.limits is distinct from old.limits) execute function limits_changed();

-- All of it is the service's alone.
alter table limit_counters enable row level security;
revoke all on limit_counters from public, anon, authenticated;
grant all on limit_counters to service_role;
revoke all on function known_zone, windows_of, after_open, open_left, limits_of, limits_changed from public, anon, authenticated;
grant execute on function known_zone, windows_of, after_open, open_left, limits_of, limits_changed to service_role;
