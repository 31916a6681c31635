import type { Fault } from "../core/problem.ts";

/** What decides which sender carries a message. */
export interface LaneKey {
  accountId: string | undefined;
  /** The number to send from, as the caller gave it. */
  sender: string | undefined;
  /** E.164. */
  recipient: string;
}

/** A lane is a queue of its own for one sender, worked by the one process that has the sender. */
export interface LaneDirectory {
  /**
   * The lane for a message: `current` as long as that will do. Undefined when no sender can carry it: any worker may have
   * it then, and `send` says why. Rejects with `UnavailableError`.
   */
  laneOf(message: LaneKey, current: string | undefined): Promise<string | undefined>;
  /** What is wrong with asking for this sender, in words; undefined when nothing is. Rejects with `UnavailableError`. */
  senderFault(message: Pick<LaneKey, "accountId" | "sender">): Promise<Fault | undefined>;
  /** Every lane that there is. Rejects with `UnavailableError`. */
  all(): Promise<string[]>;
}

/** How a provider has a lane worked in this process. */
export interface LaneHost {
  /** Takes up to `concurrency` jobs of the lane at a time, until closed. */
  open(lane: string, concurrency: number): OpenLane;
  /** What was put off in a lane looks again at once. Rejects with `UnavailableError`. */
  wake(lane: string): Promise<void>;
  /**
   * Forgets a lane whose sender is gone, and that nobody works any more; what waits in it goes where it belongs now.
   * Rejects with `UnavailableError`.
   */
  remove(lane: string): Promise<void>;
}

export interface OpenLane {
  setConcurrency(concurrency: number): void;
  /** Takes no new jobs; resolves when the running ones have ended. */
  close(): Promise<void>;
}
