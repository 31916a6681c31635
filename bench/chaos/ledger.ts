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
  sent: boolean;
}

export const LEDGER = `select id, hunt_id, account_id, channel, recipient, status, code, credit, attempts, attempt_id, provider,
  extract(epoch from attempt_started_at)::float * 1000 as started_at, sent_at is not null as sent from messages`;

export const settled = ({ status }: Row): boolean => status !== "queued" && status !== "sending";

export const words = ({ id, channel, status, code, attempts, provider }: Row): string =>
  `${channel} ${id}: ${status}${code ? ` (${code})` : ""}, ${attempts} attempts, ${provider ?? "nobody"}`;
