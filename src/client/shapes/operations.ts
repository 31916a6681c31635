import type { CallOptions } from "./calls.ts";

/** A job of a queue. Times are ISO 8601, in UTC. */
export interface Job {
  jobId: string;
  queue: string;
  name: string;
  state: string;
  progress?: unknown;
  /** Tries that have ended. */
  attempts: number;
  maxAttempts: number;
  /** Why tries failed, the last one last. */
  errors: string[];
  result?: unknown;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

/** A queue's jobs by state. */
export interface QueueStats {
  name: string;
  /** Prioritised jobs included. */
  waiting: number;
  active: number;
  completed: number;
  failed: number;
  delayed: number;
  prioritized: number;
  paused: boolean;
}

/** A failed job of a queue, and whether its message can be tried again. */
export interface FailedJob {
  jobId: string;
  queue: string;
  name: string;
  /** Null: it is not a message's job. */
  messageId: string | null;
  accountId: string | null;
  huntId: string | null;
  channel: string | null;
  /** Tries that have ended. */
  attempts: number;
  failedAt: string | null;
  code: string | null;
  /** Why it failed, in words. */
  why: string;
  /** Trying it again is safe, and possible now. */
  retryable: boolean;
  /** Why it cannot be tried again, in words. */
  whyNot: string | null;
}

export interface FailedJobPage {
  jobs: FailedJob[];
  nextCursor: string | null;
}

export interface FailedJobsOptions extends CallOptions {
  /** A `nextCursor`; default: from the last to fail. */
  cursor?: string | undefined;
  /** Of a page 1 to 200, default 50; of what is tried again 1 to 1000, default 500. */
  limit?: number | undefined;
}

/** What trying failed messages again came to. */
export interface RetriedJobs {
  /** Queued again. */
  retried: number;
  refused: { whyNot: string; count: number }[];
  /** Give it as `cursor` to go on with the others. */
  nextCursor: string | null;
}

/** How fast a sender sends now, as learned from its provider. */
export interface Sender {
  provider: string;
  /** Number, name or service; `account` where the limit is that of all senders together. */
  sender: string;
  /** Messages a second that it sends now at most. */
  perSecond: number;
  minPerSecond: number;
  maxPerSecond: number;
  /** The provider wants to hear nothing from it before then, ISO 8601. */
  heldUntil: string | null;
  /** The provider's last refusal for going too fast, or for a fault of the sender's own. */
  lastRefusal: { code: string; at: string } | null;
  /** Messages that have a place within the next half minute; more may wait behind them. */
  placed: number;
  /** How long a message would wait that comes now. */
  waitSeconds: number;
}

/** The process is alive. */
export interface Health {
  status: "ok";
  version: string;
  uptimeSeconds: number;
}

/** Whether the service can do its work, and if not, which check says so and why. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, { ok: boolean; detail?: string | undefined }>;
}
