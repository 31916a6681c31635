import type { Reconciliation } from "../../../provider.ts";
import type { TextContent } from "../../../text.ts";
import { findOwn, type Search } from "../../../twilio/evidence.ts";

/** What a message in Twilio's list says of itself. */
interface ListedMessage {
  sid: string;
  to: string;
  body: string;
  direction: string;
  messagingServiceSid: string | null;
  dateCreated: Date;
}

interface MessageSearch extends Search<TextContent> {
  messagingServiceSid: string | undefined;
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
export function reconcile(messages: readonly ListedMessage[], search: MessageSearch): Reconciliation {
  const { attempt, messagingServiceSid } = search;
  return findOwn(
    messages,
    search,
    (message) =>
      message.direction.startsWith("outbound") &&
      message.body === attempt.content.text &&
      (messagingServiceSid === undefined || message.messagingServiceSid === messagingServiceSid),
  );
}
