import type { OpenAttempt, Reconciliation } from "../../../channel.ts";
import type { TextContent } from "../../../text.ts";

/** What a message in Twilio's list says of itself. */
interface ListedMessage {
  sid: string;
  to: string;
  body: string;
  direction: string;
  messagingServiceSid: string | null;
  dateCreated: Date;
}

/** Twilio's times have whole seconds, and its clock and ours differ a little. */
const CLOCK_SLACK_MS = 5_000;
/** How long after our time-out Twilio may still create the message. */
const LATE_MS = 60_000;

interface Search {
  attempt: OpenAttempt<TextContent>;
  timeoutMs: number;
  messagingServiceSid: string | undefined;
  /** The attempt that a message is already known to come from. */
  ownerOf: (sid: string) => string | undefined;
}

/**
 * Whether one of the listed messages is that of the attempt: same recipient, same text, outbound, created between the
 * attempt's start and a minute after its time-out, and not known to be another attempt's.
 *
 * Twilio takes no idempotency key and its list has no field of ours, so the evidence is indirect. Exactly one candidate
 * is taken for it: should it be another process' message after all, then that recipient got this very text within
 * the same minute. Several cannot be told apart. None proves nothing: the list lags behind, Twilio may still be
 * working on the request, and an account that redacts bodies or adds a trial notice never matches.
 */
export function reconcile(messages: readonly ListedMessage[], search: Search): Reconciliation {
  const { attempt, timeoutMs, messagingServiceSid, ownerOf } = search;
  const from = attempt.startedAt - CLOCK_SLACK_MS;
  const until = attempt.startedAt + timeoutMs + LATE_MS;
  const candidates = messages.filter((message) => {
    const created = message.dateCreated.getTime();
    return (
      message.direction.startsWith("outbound") &&
      message.to === attempt.to &&
      message.body === attempt.content.text &&
      (messagingServiceSid === undefined || message.messagingServiceSid === messagingServiceSid) &&
      created >= from &&
      created <= until &&
      (ownerOf(message.sid) ?? attempt.attemptId) === attempt.attemptId
    );
  });
  const own = candidates.find(({ sid }) => ownerOf(sid) === attempt.attemptId) ?? candidates[0];
  if (own === undefined || (candidates.length > 1 && ownerOf(own.sid) === undefined)) return { result: "inconclusive" };
  return { result: "accepted", providerMessageId: own.sid };
}
