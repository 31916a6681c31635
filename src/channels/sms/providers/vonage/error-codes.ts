import type { VendorCode } from "../../../providers/vendor-errors.ts";

const ACCOUNT = "Look at the account in Vonage's dashboard.";

/**
 * Each is explained at https://developer.vonage.com/api-errors/messages. They come as an answer, and in receipts. Codes that
 * only other channels of the Messages API know (Viber, Facebook) are left out.
 */
export const VONAGE_CODES: Readonly<Record<number, VendorCode>> = {
  1040: { kind: "permanent", words: "The recipient's number has a prefix that Vonage does not know." },
  1050: { kind: "permanent", words: "The recipient's number may not receive messages from Vonage." },
  1170: { kind: "permanent", words: "The recipient's number is not valid." },
  1190: { kind: "permanent", words: "The recipient's number is no longer in use." },
  1200: {
    kind: "permanent",
    words: "The recipient's number was ported, and their carrier does not take messages for it.",
  },
  1250: { kind: "permanent", words: "The recipient's network cannot be reached." },
  1251: { kind: "permanent", words: "Vonage routes nothing to the recipient's network." },
  1260: { kind: "permanent", words: "The recipient's number cannot be reached." },
  1280: { kind: "permanent", words: "The recipient's carrier blocks messages to this number." },
  1310: { kind: "permanent", words: "The recipient's device cannot receive the message." },
  1430: { kind: "permanent", words: "The recipient's number cannot receive SMS." },

  1240: { kind: "suppress", words: "The recipient has unsubscribed with STOP." },

  1010: { kind: "content", words: "Vonage misses something in the request." },
  1020: {
    kind: "content",
    words: "Vonage does not take something in the request; an SMS has 1000 characters at most.",
  },
  1090: { kind: "content", words: "The message is too long." },
  1210: { kind: "content", words: "A carrier filtered the message as spam." },
  1270: { kind: "content", words: "The carrier holds the message unfit for the recipient's age." },
  1282: { kind: "content", words: "The carrier has blocked this message." },
  1473: {
    kind: "content",
    words: "Vonage's Fraud Defender has rejected the message as artificially inflated traffic.",
  },
  1484: { kind: "content", words: "A regulation of the recipient's country forbids the message." },

  1060: { kind: "configuration", scope: "sender", words: `The Vonage account is barred. ${ACCOUNT}` },
  1070: { kind: "configuration", scope: "sender", words: `The Vonage account has no credit left. ${ACCOUNT}` },
  1080: { kind: "configuration", scope: "sender", words: `The Vonage account may not use this API. ${ACCOUNT}` },
  1140: { kind: "configuration", scope: "sender", words: `Something is not enabled on the Vonage account. ${ACCOUNT}` },
  1420: { kind: "configuration", scope: "sender", words: "The sender is not valid for SMS: check VONAGE_FROM." },
  1120: { kind: "configuration", scope: "message", words: "The recipient's country does not allow this sender." },
  1160: {
    kind: "configuration",
    scope: "message",
    words: "A trial account sends only to numbers on its list: upgrade it or add this one.",
  },
  1470: { kind: "configuration", scope: "message", words: "A traffic rule of Fraud Defender blocks this prefix." },
  1480: { kind: "configuration", scope: "message", words: "The recipient's country wants a registered entity." },
  1481: { kind: "configuration", scope: "message", words: "The recipient's country wants a registered sender." },
  1482: { kind: "configuration", scope: "message", words: "The recipient's country wants registered content." },
  1483: { kind: "configuration", scope: "message", words: "The recipient's country wants a registered consent." },

  1000: { kind: "busy", scope: "provider", retryAfterMs: 1_000, words: "The account sends faster than Vonage allows." },
  1241: {
    kind: "busy",
    scope: "message",
    retryAfterMs: 60_000,
    words: "This number was written to too often just now.",
  },
  1460: { kind: "busy", scope: "provider", retryAfterMs: 3_600_000, words: "The daily limit of messages is reached." },
  1472: { kind: "busy", scope: "provider", retryAfterMs: 60_000, words: "Fraud Defender limits bursts of messages." },

  1100: { kind: "failed_later", words: "Vonage could not reach the carrier, and has not submitted the message." },
  1180: { kind: "failed_later", words: "The recipient's phone could not be reached." },
  1220: { kind: "failed_later", words: "The recipient's phone was busy." },
  1230: { kind: "failed_later", words: "The recipient's network failed." },
  1290: { kind: "failed_later", words: "The recipient's prepaid account has too little credit to receive it." },
  1330: { kind: "failed_later", words: "The carrier gave no reason." },
  1331: { kind: "failed_later", words: "The carrier does not answer." },
  1360: { kind: "failed_later", words: "The message was not delivered within its validity." },

  1030: { kind: "ambiguous", words: "An internal error of Vonage's; the message may have been sent." },
  1320: { kind: "ambiguous", words: "Vonage says that it has sent this message already." },
};
