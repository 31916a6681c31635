import type { Database } from "./database.ts";
import type { SessionState } from "./sessions.ts";

/** What the ledger knows that an operator wants to see. */
export interface LedgerFigures {
  /** Messages of which nobody can tell whether they were sent. */
  unknown: number;
  /** Flows of hunts whose messages wait in the database, by queue. */
  flows: Record<string, number>;
  /** WhatsApp sessions by state. */
  sessions: Partial<Record<SessionState, number>>;
  /** Paired sessions that are not open, or that WhatsApp keeps from writing first (`held`); 100 at most. */
  troubled: { id: string; accountId: string; state: SessionState; forSeconds: number; held: boolean }[];
  /** Balances below the given one; 100 at most. */
  low: { accountId: string; channel: string; balance: number }[];
}

/** For those who look after the service. Rejects with `UnavailableError` or `DatabaseError`. */
export interface OperationsStore {
  figures(creditsBelow?: number): Promise<LedgerFigures>;
}

export function createOperationsStore(database: Pick<Database, "rpc">): OperationsStore {
  return {
    figures: (creditsBelow = 0) => database.rpc("figures", { p_credits_below: creditsBelow }),
  };
}
