import type { Reconciliation } from "../../../provider.ts";
import { findOwn, type Search } from "../../../twilio/evidence.ts";
import type { VoiceContent } from "../../content.ts";

/** What a call in Twilio's list says of itself. */
export interface ListedCall {
  sid: string;
  to: string;
  from: string;
  direction: string;
  dateCreated: Date;
}

interface CallSearch extends Search<VoiceContent> {
  /** The number that was called from. */
  from: string;
}

/**
 * Whether one of the listed calls is that of the attempt: from our number to this recipient, created between the attempt's
 * start and a minute after its time-out, and not known to be another attempt's. A call has no text to compare, so this is
 * weaker than for an SMS; should it be another message's call after all, the ledger sees that its id is taken.
 *
 * The conclusive answer comes by itself: Twilio asks for the TwiML, and reports the end, at an address that names the
 * attempt. None proves nothing: the list lags behind.
 */
export function reconcile(calls: readonly ListedCall[], search: CallSearch): Reconciliation {
  return findOwn(calls, search, (call) => call.direction === "outbound-api" && call.from === search.from);
}
