import type { Database } from "./database.ts";
import { toOpenMessage, type OpenMessageRow } from "./message-rows.ts";
import type { OpenMessage, Windows } from "./store.ts";

export type Steering = "pause" | "resume" | "cancel";

export type SteeringAnswer =
  | { result: "done"; accountId: string; pausedAt: string | null; cancelledAt: string | null }
  | { result: "missing" | "cancelled" };

/** A message whose turn has come. */
export interface FedMessage extends OpenMessage {
  /** A job that has ended may stand in the way of its new one. */
  again: boolean;
}

/**
 * The waiting messages of hunts, by flow: what of a hunt goes through one queue from one sender, from one time
 * on, to people of one zone where its windows are by that. All methods reject with
 * `UnavailableError` while the database does not answer.
 */
export interface FlowStore {
  /**
   * The next messages for a queue, in turns by weight, of each flow no more than `window` under way. From then on they
   * are to be in the queue, after `retryInMs` where something slows it down: the sweeper makes up for whoever fails to put them there.
   */
  feed(queue: string, limit: number, window: number): Promise<FedMessage[]>;
  /** The hours of a hunt; undefined: any. */
  windows(huntId: string): Promise<Windows | undefined>;
  /** Each may be said again. `cancelled`: it is over, and can be neither paused nor resumed. */
  steer(huntId: string, action: Steering): Promise<SteeringAnswer>;
  /** Cancels some of what waits in cancelled hunts; answers how many it were: less than `limit` when all is done. */
  continueCancelling(limit: number): Promise<number>;
}

export function createFlowStore(database: Database, limits: readonly object[]): FlowStore {
  return {
    async feed(queue, limit, window) {
      const args = { p_queue: queue, p_limit: limit, p_window: window, p_limits: limits };
      const rows = await database.rpc<(OpenMessageRow & { again: boolean })[]>("feed", args);
      return rows.map((row) => ({ ...toOpenMessage(row), again: row.again }));
    },
    async windows(huntId) {
      const query = database.client.from("hunts").select("windows").eq("id", huntId);
      return (await database.run("hunt", query.maybeSingle<{ windows: Windows | null }>()))?.windows ?? undefined;
    },
    steer: (huntId, action) => database.rpc("steer_hunt", { p_hunt_id: huntId, p_action: action }),
    continueCancelling: (limit) => database.rpc("continue_cancelling", { p_limit: limit }),
  };
}
