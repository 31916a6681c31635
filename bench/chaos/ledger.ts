/** A message as the ledger has it at the end. */
export interface Row {
  id: string;
  hunt_id: string | null;
  account_id: string | null;
  channel: string;
  recipient: string;
  status: string;
  code: string | null;
  credit: string;
  attempts: number;
  attempt_id: string | null;
  provider: string | null;
  /** Milliseconds since the epoch. */
  started_at: number;
  /** When its last attempt's call came back without a clear answer, milliseconds since the epoch. */
  answered_at: number | null;
  sent: boolean;
}

export const LEDGER = `select id, hunt_id, account_id, channel, recipient, status, code, credit, attempts, attempt_id, provider,
  extract(epoch from attempt_started_at)::float * 1000 as started_at, sent_at is not null as sent,
  (select extract(epoch from min(e.at))::float * 1000 from message_events e
    where e.message_id = m.id and e.attempt_id = m.attempt_id and e.kind = 'ambiguous') as answered_at
  from messages m`;

/** What happened to it, each with its second of the day: for one that nobody can explain. */
export const HISTORY = `select coalesce(string_agg(
    concat_ws(' ', to_char(at at time zone 'UTC', 'HH24:MI:SS.MS'), kind, code, left(attempt_id::text, 8)), '; ' order by id
  ), '') as history from message_events where message_id = $1`;

export const settled = ({ status }: Row): boolean => status !== "queued" && status !== "sending";

export const words = ({ id, channel, status, code, attempts, provider }: Row): string =>
  `${channel} ${id}: ${status}${code ? ` (${code})` : ""}, ${attempts} attempts, ${provider ?? "nobody"}`;
