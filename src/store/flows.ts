import type { Database } from "./database.ts";
import { toOpenMessage, type OpenMessageRow } from "./message-rows.ts";
import type { OpenMessage } from "./messages.ts";
import { utc } from "./times.ts";
import type { Windows } from "./submissions.ts";

export type Steering = "pause" | "resume" | "cancel";

export type SteeringAnswer =
  | { result: "done"; accountId: string; pausedAt: string | null; cancelledAt: string | null }
  | { result: "missing" | "cancelled" };

/** Messages that name no sender: each account has its own for them, or they share the provider's. */
export type PacedSenders = "own" | "shared";

/** What is absent stays as it is. Times are ISO 8601 in UTC; null takes `sendAt`, or `windows`, away. */
export interface HuntChanges {
  priority: "high" | "normal" | "low" | undefined;
  expiresAt: string | undefined;
  sendAt: string | null | undefined;
  windows: Windows | null | undefined;
}

export interface Rescheduled {
  result: "done";
  accountId: string;
  priority: "high" | "normal" | "low";
  expiresAt: string;
  sendAt: string | null;
  windows: Windows | null;
  /** Messages whose jobs wait in their queues for the old hours: without their jobs they are fed again. */
  back: { messageId: string; queue: string }[];
}

/** `zoneless`: windows by the recipients' own clocks, which this hunt was planned without. */
export type RescheduleAnswer = Rescheduled | { result: "missing" | "cancelled" | "sends_too_late" | "zoneless" };

/** A message whose turn has come. */
export interface FedMessage extends OpenMessage {
  /** A job that has ended may stand in the way of its new one. */
  again: boolean;
}

/**
 * The waiting messages of hunts, by flow: what of a hunt goes through one queue from one sender, from one time on, to people of
 * one zone where its windows are by that. All methods reject with `UnavailableError` while the database does not answer.
 */
export interface FlowStore {
  /**
   * The next messages for a queue, in turns by weight; of each flow at first `least` wait in the queue, and up to `most` when
   * they begin fast; where `senders` are paced, of all flows of one together no more than a second and a half of what it sends.
   * From then on they are to be in the queue, after `retryInMs` where something slows them down: the sweeper makes up for whoever
   * fails to put them there.
   */
  feed(
    queue: string,
    limit: number,
    queued: { least: number; most: number; senders?: PacedSenders | undefined },
  ): Promise<FedMessage[]>;
  /** Each may be said again. `cancelled`: it is over, and can be neither paused nor resumed. */
  steer(huntId: string, action: Steering): Promise<SteeringAnswer>;
  /** Counts at once for what has not begun, also for what is in the queues. May be said again. */
  reschedule(huntId: string, changes: HuntChanges): Promise<RescheduleAnswer>;
  /** Cancels some of what waits in cancelled hunts; answers how many it were: less than `limit` when all is done. */
  continueCancelling(limit: number): Promise<number>;
  /** Goes on over the next channel with contacts who were not reached in time; answers how many were looked at. */
  continueFallbacks(limit: number): Promise<number>;
}

export function createFlowStore(database: Database, limits: readonly object[]): FlowStore {
  return {
    async feed(queue, limit, { least, most, senders }) {
      const given = { p_queue: queue, p_limit: limit, p_least: least, p_most: most };
      const args = { ...given, p_limits: limits, p_senders: senders ?? null };
      const rows = await database.rpc<(OpenMessageRow & { again: boolean })[]>("feed", args);
      return rows.map((row) => ({ ...toOpenMessage(row), again: row.again }));
    },
    async steer(huntId, action) {
      const args = { p_hunt_id: huntId, p_action: action, p_limits: limits };
      const answer = await database.rpc<SteeringAnswer>("steer_hunt", args);
      if (answer.result !== "done") return answer;
      const { pausedAt, cancelledAt } = answer;
      return { ...answer, pausedAt: pausedAt && utc(pausedAt), cancelledAt: cancelledAt && utc(cancelledAt) };
    },
    async reschedule(huntId, { priority, expiresAt, sendAt, windows }) {
      const changes = { priority, expires_at: expiresAt, send_at: sendAt, windows };
      const args = { p_hunt_id: huntId, p_changes: changes, p_limits: limits };
      const answer = await database.rpc<RescheduleAnswer>("reschedule_hunt", args);
      if (answer.result !== "done") return answer;
      return { ...answer, expiresAt: utc(answer.expiresAt), sendAt: answer.sendAt && utc(answer.sendAt) };
    },
    continueCancelling: (limit) => database.rpc("continue_cancelling", { p_limit: limit }),
    continueFallbacks: (limit) => database.rpc("continue_fallbacks", { p_limit: limit }),
  };
}
