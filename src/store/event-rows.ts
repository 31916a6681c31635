import type { StoredEvent } from "./events.ts";
import { utc, withUtc } from "./times.ts";

/** An event as the database's functions answer it. */
export interface EventRow {
  pos: number;
  id: string;
  accountId: string;
  huntId: string | null;
  type: string;
  at: string;
  data: Record<string, unknown>;
}

/** The times in events' data: what triggers write there is Postgres' own spelling. */
const TIMES = ["pausedAt", "cancelledAt", "repliedAt"];

export const toEvent = ({ at, data, ...rest }: EventRow): StoredEvent => ({
  ...rest,
  timestamp: utc(at),
  data: withUtc(data, TIMES),
});
