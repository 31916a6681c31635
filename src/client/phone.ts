import type { Calls } from "./calls.ts";
import type { Result } from "./result.ts";
import type {
  AcceptedMessage,
  CallOptions,
  NewSmsPreview,
  NewText,
  NewVoicemail,
  PostOptions,
  SmsPreview,
} from "./shapes.ts";

/** Single SMS and voicemails. */
export interface PhoneCalls {
  /** Sends one SMS. Errors: as `sendWhatsAppText`. */
  sendSms(text: NewText, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Counts the segments of an SMS, each of which is charged; sends nothing. Errors: `invalid_request`. */
  previewSms(text: NewSmsPreview, options?: CallOptions): Promise<Result<SmsPreview>>;
  /** Leaves one ringless voicemail. Errors: as `sendWhatsAppText`. */
  sendRinglessVoice(voicemail: NewVoicemail, options?: PostOptions): Promise<Result<AcceptedMessage>>;
}

export function phoneCalls({ call, post }: Calls): PhoneCalls {
  return {
    sendSms: (text, options) => post("/api/phone/sms", text, options),
    previewSms: (text, { signal } = {}) => call({ method: "POST", path: "/api/phone/sms/preview", body: text, signal }),
    sendRinglessVoice: (voicemail, options) => post("/api/phone/ringless-voice", voicemail, options),
  };
}
