import type { Database } from "./database.ts";
import { withUtc } from "./times.ts";
import type { Windows } from "./submissions.ts";
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

/** One hunt, and when it is sent as it was given, or changed, last. */
export interface HuntRead extends HuntProgress {
  /** null: as it was submitted. */
  sendAt: string | null;
  windows: Windows | null;
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
  read(huntId: string): Promise<HuntRead | undefined>;
  /** In so many points of equal distance; undefined when there is no such hunt. */
  timeline(huntId: string, points: number): Promise<HuntTimeline | undefined>;
  /** Keeps the counts of hunts that are over for `list`; looks at so many hunts at most, and answers how many were counted. */
  keepTallies(limit: number): Promise<number>;
}

/** What is a time of a hunt's status. */
export const STATUS_TIMES = [
  "createdAt",
  "now",
  "startedAt",
  "lastSettledAt",
  "pausedAt",
  "cancelledAt",
  "scheduledAt",
  "endsAt",
] as const satisfies readonly (keyof HuntStatus & keyof HuntProgress)[];

/** @param limits of accounts without their own, as the ledger takes them. */
export function createHuntStore(database: Database, limits: readonly unknown[]): HuntStore {
  return {
    async list({ accountId, before, limit }) {
      const found = await database.rpc<HuntProgress[]>("list_hunts", {
        p_account_id: accountId ?? null,
        p_before: before ?? null,
        p_limit: limit,
        p_limits: limits,
      });
      return found.map((hunt) => withUtc(hunt, [...STATUS_TIMES, "expiresAt"]));
    },
    async exists(huntId) {
      const query = database.client.from("hunts").select("id").eq("id", huntId).maybeSingle();
      return (await database.run("hunt", query)) !== null;
    },
    async read(huntId) {
      const hunt = await database.rpc<HuntRead | null>("read_hunt", { p_hunt_id: huntId, p_limits: limits });
      return hunt ? withUtc(hunt, [...STATUS_TIMES, "expiresAt", "sendAt"]) : undefined;
    },
    async timeline(huntId, count) {
      const args = { p_hunt_id: huntId, p_points: count };
      const timeline = await database.rpc<HuntTimeline | null>("hunt_timeline", args);
      if (!timeline) return undefined;
      const points = timeline.points.map((point) => withUtc(point, ["at"]));
      return { ...withUtc(timeline, ["from", "to"]), points };
    },
    keepTallies: (limit) => database.rpc("tally_hunts", { p_limit: limit }),
  };
}
