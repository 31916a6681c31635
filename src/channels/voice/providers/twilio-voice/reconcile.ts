import type { OpenAttempt, Reconciliation } from "../../../channel.ts";
import type { VoiceContent } from "../../content.ts";

/** What a call in Twilio's list says of itself. */
export interface ListedCall {
  sid: string;
  to: string;
  from: string;
  direction: string;
  dateCreated: Date;
}

/** Twilio's times have whole seconds, and its clock and ours differ a little. */
const CLOCK_SLACK_MS = 5_000;
/** How long after our time-out Twilio may still create the call. */
const LATE_MS = 60_000;

interface Search {
  attempt: OpenAttempt<VoiceContent>;
  /** The number that was called from. */
  from: string;
  timeoutMs: number;
  /** The attempt that a call is already known to come from. */
  ownerOf: (sid: string) => string | undefined;
}

/**
 * Whether one of the listed calls is that of the attempt: from our number to this recipient, created between the attempt's
 * start and a minute after its time-out, and not known to be another attempt's. A call has no text to compare, so this is
 * weaker than for an SMS; should it be another message's call after all, the ledger sees that its id is taken.
 *
 * The conclusive answer comes by itself: Twilio asks for the TwiML, and reports the end, at an address that names the
 * attempt. None proves nothing: the list lags behind.
 */
export function reconcile(calls: readonly ListedCall[], { attempt, from, timeoutMs, ownerOf }: Search): Reconciliation {
  const earliest = attempt.startedAt - CLOCK_SLACK_MS;
  const latest = attempt.startedAt + timeoutMs + LATE_MS;
  const candidates = calls.filter((call) => {
    const created = call.dateCreated.getTime();
    return (
      call.direction === "outbound-api" &&
      call.to === attempt.to &&
      call.from === from &&
      created >= earliest &&
      created <= latest &&
      (ownerOf(call.sid) ?? attempt.attemptId) === attempt.attemptId
    );
  });
  const own = candidates.find(({ sid }) => ownerOf(sid) === attempt.attemptId) ?? candidates[0];
  if (own === undefined || (candidates.length > 1 && ownerOf(own.sid) === undefined)) return { result: "inconclusive" };
  return { result: "accepted", providerMessageId: own.sid };
}
