import type { Database } from "./database.ts";
import type { Counts, MessageStatus } from "./messages.ts";

/** How far the hunt of a submission is. */
export interface HuntStatus {
  huntId: string;
  accountId: string;
  createdAt: string;
  /** The database's clock, for durations. */
  now: string;
  startedAt: string | null;
  lastSettledAt: string | null;
  /** Messages that were attempted and have come to an end. */
  attempted: number;
  pausedAt: string | null;
  cancelledAt: string | null;
  /** When it goes on, where nothing of it may be sent now. */
  scheduledAt: string | null;
  /** When it will be over, as far as can be told. */
  endsAt: string | null;
  /** Contacts that wait to be planned, by channel. */
  pending: Record<string, number>;
  channels: Record<string, Partial<Counts>>;
  /** By the hunt's variants; `replied`: messages that were answered. */
  variants?: Record<string, Partial<Counts> & { replied: number }>;
}

/** A hunt and how far it is, by the database's clock. */
export interface HuntProgress {
  huntId: string;
  accountId: string;
  /** Its last submission. */
  jobId: string;
  priority: "high" | "normal" | "low";
  createdAt: string;
  expiresAt: string;
  now: string;
  pausedAt: string | null;
  cancelledAt: string | null;
  /** When it goes on, where nothing of it may be sent now. */
  scheduledAt: string | null;
  /** When it will be over, as far as can be told. */
  endsAt: string | null;
  /** Contacts that wait to be planned. */
  pending: number;
  startedAt: string | null;
  lastSettledAt: string | null;
  /** Messages that were attempted and have come to an end. */
  attempted: number;
  counts: Partial<Counts>;
  /** The most frequent first; of a list's hunts none. */
  reasons: { status: MessageStatus; reason: string; count: number }[];
}

export interface HuntTimeline {
  from: string;
  to: string;
  points: { at: string; counts: Partial<Counts> }[];
}

/** Hunts as a whole. All methods reject with `UnavailableError` while the database does not answer. */
export interface HuntStore {
  /** The newest first, those older than `before`, the id of a hunt. */
  list(filter: { accountId: string | undefined; before: string | undefined; limit: number }): Promise<HuntProgress[]>;
  exists(huntId: string): Promise<boolean>;
  /** undefined when there is none. */
  read(huntId: string): Promise<HuntProgress | undefined>;
  /** In so many points of equal distance; undefined when there is no such hunt. */
  timeline(huntId: string, points: number): Promise<HuntTimeline | undefined>;
  /** Keeps the counts of hunts that are over for `list`; looks at so many hunts at most, and answers how many were counted. */
  keepTallies(limit: number): Promise<number>;
}

/** @param limits of accounts without their own, as the ledger takes them. */
export function createHuntStore(database: Database, limits: readonly unknown[]): HuntStore {
  return {
    list: ({ accountId, before, limit }) =>
      database.rpc("list_hunts", {
        p_account_id: accountId ?? null,
        p_before: before ?? null,
        p_limit: limit,
        p_limits: limits,
      }),
    async exists(huntId) {
      const query = database.client.from("hunts").select("id").eq("id", huntId).maybeSingle();
      return (await database.run("hunt", query)) !== null;
    },
    async read(huntId) {
      return (
        (await database.rpc<HuntProgress | null>("read_hunt", { p_hunt_id: huntId, p_limits: limits })) ?? undefined
      );
    },
    async timeline(huntId, points) {
      const args = { p_hunt_id: huntId, p_points: points };
      return (await database.rpc<HuntTimeline | null>("hunt_timeline", args)) ?? undefined;
    },
    keepTallies: (limit) => database.rpc("tally_hunts", { p_limit: limit }),
  };
}
