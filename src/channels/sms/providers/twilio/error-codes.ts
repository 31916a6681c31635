import type { VendorCode } from "../../../providers/vendor-errors.ts";
import { ACCOUNT_CODES } from "../../../twilio/error-codes.ts";

/** Each is documented at https://www.twilio.com/docs/api/errors/<code>. */
export const TWILIO_CODES: Readonly<Record<number, VendorCode>> = {
  ...ACCOUNT_CODES,

  21266: { kind: "permanent", words: "Recipient and sender are the same number." },
  21612: { kind: "permanent", words: "The recipient cannot be reached from this sender." },
  21614: { kind: "permanent", words: "The recipient's number is not a mobile number." },
  21635: { kind: "permanent", words: "The recipient's number is a landline." },
  30005: { kind: "permanent", words: "The recipient's number is unknown to its network." },
  30006: { kind: "permanent", words: "The recipient's number is a landline or its carrier cannot be reached." },

  21610: { kind: "suppress", words: "The recipient has unsubscribed from this sender with STOP." },

  21602: { kind: "content", words: "The message has no text." },
  21617: { kind: "content", words: "The message is longer than 1600 characters." },
  30004: { kind: "content", words: "The recipient or its carrier blocks this message." },
  30007: { kind: "content", words: "A carrier filtered the message as spam." },

  21212: { kind: "configuration", scope: "sender", words: "The sender is not a valid number or name." },
  21408: {
    kind: "configuration",
    scope: "message",
    words: "The Twilio account may not send to this country: enable it under Geo permissions.",
  },
  21603: {
    kind: "configuration",
    scope: "sender",
    words: "No sender was given: set TWILIO_FROM or TWILIO_MESSAGING_SERVICE_SID.",
  },
  21606: {
    kind: "configuration",
    scope: "sender",
    words: "The sender is not a number of this Twilio account that can send SMS.",
  },
  21608: {
    kind: "configuration",
    scope: "message",
    words: "A trial account sends only to verified numbers: upgrade it or verify this one.",
  },
  21659: {
    kind: "configuration",
    scope: "sender",
    words: "The sender is not a Twilio number, or its short code is of another country.",
  },
  21660: { kind: "configuration", scope: "sender", words: "The sender belongs to another Twilio account." },
  30002: { kind: "configuration", scope: "sender", words: "The Twilio account is suspended." },
  30018: {
    kind: "configuration",
    scope: "message",
    words: "The recipient's carrier wants this sender registered first.",
  },

  // The queue of one sender holds ten hours of messages, so a minute frees 60 places even at one message a second.
  21611: { kind: "busy", scope: "sender", retryAfterMs: 60_000, words: "The sender's queue at Twilio is full." },
  63017: {
    kind: "busy",
    scope: "provider",
    retryAfterMs: 2_000,
    words: "The account sends faster than Twilio allows.",
  },
  63038: {
    kind: "busy",
    scope: "provider",
    retryAfterMs: 3_600_000,
    words: "The account's daily limit of messages is reached.",
  },

  30001: { kind: "failed_later", words: "Twilio's queue overflowed." },
  30003: { kind: "failed_later", words: "The recipient's phone could not be reached." },
  30008: { kind: "failed_later", words: "The carrier gave no reason." },
  30036: { kind: "failed_later", words: "The message waited in Twilio's queue for longer than its validity." },
  30047: { kind: "failed_later", words: "Twilio could not reschedule the message into permitted hours." },
  30500: { kind: "failed_later", words: "An internal error of Twilio's." },

  20500: { kind: "ambiguous", words: "An internal error of Twilio's; the message may have been sent." },
};
