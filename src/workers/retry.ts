import { assertNever, PermanentError, RateLimitedError, TransientError } from "../core/errors.ts";

/**
 * Calls of a provider that a message may cost in all. Being rate-limited does not use up the job's attempts, so
 * something else has to end a message that is put off for ever. One whose sender is busy is ended by its expiry alone:
 * it is called again only in its sender's own time, and nothing is wrong with it.
 */
const MAX_CALLS = 50;

/** What a failed call means for the ledger (`result`) and for the job (`next`). */
export type Decision =
  | { result: "failed"; next: "fail" }
  | { result: "not_sent"; next: "retry" }
  | { result: "not_sent"; next: "delay"; delayMs: number }
  | { result: "ambiguous"; next: "reconcile" };

export interface Tries {
  /** The job's, this one included. */
  attempt: number;
  maxAttempts: number;
  /** Calls of the provider for this message, this one included. */
  calls: number;
}

/** The one place where the error taxonomy becomes behaviour of the queue. */
export function decide(error: unknown, { attempt, maxAttempts, calls }: Tries): Decision {
  if (error instanceof PermanentError) return { result: "failed", next: "fail" };
  if (error instanceof RateLimitedError) {
    if (error.scope === "message" && calls >= MAX_CALLS) return { result: "failed", next: "fail" };
    return { result: "not_sent", next: "delay", delayMs: error.retryAfterMs };
  }
  if (error instanceof TransientError) {
    switch (error.delivery) {
      case "unknown":
        return { result: "ambiguous", next: "reconcile" };
      case "not_sent":
        return attempt >= maxAttempts || calls >= MAX_CALLS
          ? { result: "failed", next: "fail" }
          : { result: "not_sent", next: "retry" };
      default:
        return assertNever(error.delivery);
    }
  }
  // A provider must not throw anything else; until it is mended, assume the worst: the message may have left.
  return { result: "ambiguous", next: "reconcile" };
}
