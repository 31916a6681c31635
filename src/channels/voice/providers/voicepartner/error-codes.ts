/**
 * What an error code of VoicePartner's means. Its documentation has none for drops: 10 and 400/404 are of its other
 * requests (https://www.docpartner.dev/api/voice-partner/credits), the rest of its sister API for SMS, which answers in the
 * same form (https://www.docpartner.dev/api/sms-partner). A code that is not in here is a refusal of this message.
 *
 * - `permanent`: this recipient or recording;
 * - `configuration`: our account; contacts are kept until somebody has put it right;
 * - `constraint`: a field was refused, and `errors[].elementId` says which.
 */
export type VoicePartnerCode = { kind: "permanent" | "configuration" | "constraint"; words: string };

export const VOICEPARTNER_CODES: Readonly<Record<number, VoicePartnerCode>> = {
  1: { kind: "configuration", words: "VoicePartner wants a key: set VOICEPARTNER_API_KEY." },
  2: { kind: "permanent", words: "VoicePartner was given no number." },
  4: { kind: "configuration", words: "The VoicePartner account may not do this." },
  9: { kind: "constraint", words: "VoicePartner refuses a field of the request." },
  10: { kind: "configuration", words: "VoicePartner refuses the key: check VOICEPARTNER_API_KEY." },
  11: { kind: "configuration", words: "The VoicePartner account has no credit left." },
};

/** What a field that was refused means (`children[phoneNumbers].data`). */
export const REFUSED_FIELDS: Readonly<Record<string, VoicePartnerCode & { code: string }>> = {
  phoneNumbers: {
    kind: "permanent",
    code: "voicepartner_invalid_number",
    words: "VoicePartner does not take the recipient's number.",
  },
  tokenAudio: {
    kind: "permanent",
    code: "voicepartner_invalid_recording",
    words: "VoicePartner does not take the recording: it has to be uploaded and validated there.",
  },
  sender: {
    kind: "configuration",
    code: "voicepartner_invalid_sender",
    words: "VoicePartner does not take the sender: check VOICEPARTNER_SENDER, which has to be validated there.",
  },
  emailForNotification: {
    kind: "configuration",
    code: "voicepartner_invalid_email",
    words: "VoicePartner does not take the address for notifications: check VOICEPARTNER_EMAIL.",
  },
  notifyUrl: {
    kind: "configuration",
    code: "voicepartner_invalid_notify_url",
    words: "VoicePartner does not take the address that it is to report to: check PUBLIC_URL.",
  },
};
