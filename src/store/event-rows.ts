import type { StoredEvent } from "./events.ts";
import { utc } from "./times.ts";

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

export const toEvent = ({ at, ...rest }: EventRow): StoredEvent => ({ ...rest, timestamp: utc(at) });
