import type { CallOptions } from "./calls.ts";
import type { Windows } from "./hunts.ts";
import type { Counts, MessageStatus } from "./messages.ts";

/** What came of a variant. */
export interface VariantCounts extends Counts {
  /** Messages that were answered. */
  replied: number;
}

/** How far a hunt is. Times are ISO 8601, in UTC. */
export interface HuntStatus {
  jobId: string;
  huntId: string;
  accountId: string;
  /**
   * `finished`, and `cancelled` with a `finishedAt`: no message is queued or being sent any more; receipts may still come.
   */
  state: "planning" | "scheduled" | "running" | "paused" | "cancelled" | "finished";
  total: number;
  counts: Counts;
  byChannel: Record<string, Counts>;
  /** Of contacts whose text came from one of the hunt's variants, once they are planned. */
  byVariant: Record<string, VariantCounts>;
  pausedAt: string | null;
  cancelledAt: string | null;
  /** When it begins or goes on, where nothing of it may be sent now. */
  scheduledAt: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  /** By what holds it back, else at the pace at which each sender goes now; null while that is not known, 0 at the end. */
  etaSeconds: number | null;
}

/** A hunt that was paused, cancelled, or goes on. */
export interface Steered {
  huntId: string;
  accountId: string;
  pausedAt: string | null;
  cancelledAt: string | null;
}

/** A hunt in the list of all of them. Times are ISO 8601, in UTC. */
export interface Hunt extends Omit<HuntStatus, "byChannel" | "byVariant"> {
  /** Its last submission. */
  jobId: string;
  priority: "high" | "normal" | "low";
  createdAt: string;
  /** Nothing is sent after it. */
  expiresAt: string;
}

export interface HuntPage {
  hunts: Hunt[];
  nextCursor: string | null;
}

export interface HuntWithReasons extends Hunt {
  /** Nothing of it is sent before, as it was changed last; null: as it was submitted. */
  sendAt: string | null;
  windows: Windows | null;
  /** Why messages were skipped, or with what code they failed: the hundred most frequent. */
  reasons: { status: MessageStatus; reason: string; count: number }[];
}

/** How many of a hunt's messages were in which state, at moments of equal distance. */
export interface HuntTimeline {
  huntId: string;
  from: string;
  /** Now; or of a hunt that has settled, when the last thing happened. */
  to: string;
  /** The oldest first. What is being sent counts as queued. */
  points: { at: string; counts: Record<MessageStatus, number> }[];
}

export interface HuntsOptions extends CallOptions {
  accountId?: string | undefined;
  /** A `nextCursor`; default: from the newest. */
  cursor?: string | undefined;
  /** 1 to 100; default 20. */
  limit?: number | undefined;
}

export interface WaitOptions extends CallOptions {
  /** Between two looks, milliseconds; default 1000. */
  pollMs?: number | undefined;
  /** For how long faults that may pass (the service restarts) are put up with, milliseconds; default 60,000. */
  patienceMs?: number | undefined;
  /** Told after each look. What it throws ends the wait. */
  onStatus?: ((status: HuntStatus) => void) | undefined;
}
