import type { VendorCode } from "../providers/vendor-errors.ts";

/** Where a code is explained. */
export const pageOf = (code: number): string => `https://www.twilio.com/docs/api/errors/${code}`;

/** Codes that mean the same whatever was asked for. */
export const ACCOUNT_CODES: Readonly<Record<number, VendorCode>> = {
  10001: { kind: "configuration", scope: "sender", words: "The Twilio account is not active (balance or policy)." },
  20003: {
    kind: "configuration",
    scope: "sender",
    words: "Twilio refuses the credentials: check TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN.",
  },
  20005: { kind: "configuration", scope: "sender", words: "The Twilio account is not active (balance or trial)." },
  20429: { kind: "busy", scope: "provider", retryAfterMs: 2_000, words: "Too many concurrent requests to Twilio." },
  21211: { kind: "permanent", words: "The recipient's number is not valid." },
};
