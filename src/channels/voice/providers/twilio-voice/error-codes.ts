import type { VendorCode } from "../../../providers/vendor-errors.ts";
import { ACCOUNT_CODES } from "../../../twilio/error-codes.ts";

/**
 * Of calls; each is documented at https://www.twilio.com/docs/api/errors/<code>. One that was accepted fails without a
 * code: see `outcomes.ts`.
 */
export const TWILIO_VOICE_CODES: Readonly<Record<number, VendorCode>> = {
  ...ACCOUNT_CODES,

  21201: { kind: "permanent", words: "No recipient was given." },
  21202: { kind: "permanent", words: "The recipient's number is a premium number." },
  21214: { kind: "permanent", words: "The recipient's number cannot be reached." },
  21217: { kind: "permanent", words: "The recipient's number does not appear to be valid." },

  10005: { kind: "configuration", scope: "sender", words: "The Twilio account may not make calls." },
  21203: {
    kind: "configuration",
    scope: "message",
    words: "The Twilio account may not call abroad: enable it under Voice Geo permissions.",
  },
  21205: {
    kind: "configuration",
    scope: "sender",
    words: "Twilio refuses our address: check PUBLIC_URL, which must be reachable from outside.",
  },
  21210: {
    kind: "configuration",
    scope: "sender",
    words: "The sender is neither a number of this Twilio account nor one that it has verified.",
  },
  21212: { kind: "configuration", scope: "sender", words: "The sender is not a valid number." },
  21213: { kind: "configuration", scope: "sender", words: "No sender was given: set TWILIO_VOICE_FROM." },
  21215: {
    kind: "configuration",
    scope: "message",
    words: "The Twilio account may not call this country: enable it under Voice Geo permissions.",
  },
  21216: { kind: "configuration", scope: "message", words: "The Twilio account may not call this number." },
  21219: {
    kind: "configuration",
    scope: "message",
    words: "A trial account calls only verified numbers: upgrade it or verify this one.",
  },

  10004: { kind: "busy", scope: "provider", retryAfterMs: 30_000, words: "The account has too many calls at once." },

  20500: { kind: "ambiguous", words: "An internal error of Twilio's; the call may have been made." },
};
