import type { Calls } from "./calls.ts";
import { part, queryOf } from "./paths.ts";
import type { Result } from "./result.ts";
import type {
  AcceptedMessage,
  CallOptions,
  NewContactCard,
  NewDocument,
  NewLocation,
  NewPairing,
  NewPicture,
  NewPoll,
  NewRecording,
  NewUpload,
  NewWhatsAppText,
  PostOptions,
  Upload,
  WhatsAppPace,
  WhatsAppSession,
} from "./shapes.ts";

const SESSIONS = "/api/whatsapp/sessions";

/** Single messages over WhatsApp, their files, and the numbers that send. */
export interface WhatsAppCalls {
  /** Sends one WhatsApp text. Errors: as `executeHunt`, and `channel_off`. */
  sendWhatsAppText(text: NewWhatsAppText, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /** Sends one picture over WhatsApp. Errors, here and for all that follow over WhatsApp: as `sendWhatsAppText`. */
  sendWhatsAppImage(picture: NewPicture, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppVideo(video: NewPicture, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppAudio(recording: NewRecording, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppDocument(document: NewDocument, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppLocation(place: NewLocation, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppContact(card: NewContactCard, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  sendWhatsAppPoll(poll: NewPoll, options?: PostOptions): Promise<Result<AcceptedMessage>>;
  /**
   * Uploads a file for messages of the account. Errors: `invalid_request`, `unsupported_media_type`, `media_mismatch`,
   * `body_too_large`, `unknown_account`, `suspended_account`.
   */
  uploadMedia(file: NewUpload, options?: CallOptions): Promise<Result<Upload>>;
  /** Starts pairing a WhatsApp number. Errors: `invalid_request`, `number_taken`, `session_leaving`, `sessions_off`. */
  pairWhatsApp(pairing: NewPairing, options?: PostOptions): Promise<Result<WhatsAppSession>>;
  /** A WhatsApp number: while it is being paired, what to scan or to type. Errors: `not_found`. */
  whatsAppSession(sessionId: string, options?: CallOptions): Promise<Result<WhatsAppSession>>;
  /** `off`: why no session can be connected there, and which variables to set; absent where they can. */
  whatsAppSessions(
    options?: CallOptions & { accountId?: string | undefined },
  ): Promise<Result<{ sessions: WhatsAppSession[]; off?: string }>>;
  /** Replaces a session's own pace. Errors: `invalid_request`, `not_found`. */
  setWhatsAppPace(sessionId: string, pace: WhatsAppPace, options?: PostOptions): Promise<Result<WhatsAppSession>>;
  /** Unlinks the device on the phone and forgets the session. Errors: `not_found`. */
  removeWhatsAppSession(sessionId: string, options?: CallOptions): Promise<Result<{ id: string }>>;
}

export function whatsAppCalls({ call, get, post }: Calls): WhatsAppCalls {
  return {
    sendWhatsAppText: (text, options) => post("/api/whatsapp/text", text, options),
    sendWhatsAppImage: (picture, options) => post("/api/whatsapp/image", picture, options),
    sendWhatsAppVideo: (video, options) => post("/api/whatsapp/video", video, options),
    sendWhatsAppAudio: (recording, options) => post("/api/whatsapp/audio", recording, options),
    sendWhatsAppDocument: (document, options) => post("/api/whatsapp/document", document, options),
    sendWhatsAppLocation: (place, options) => post("/api/whatsapp/location", place, options),
    sendWhatsAppContact: (card, options) => post("/api/whatsapp/contact", card, options),
    sendWhatsAppPoll: (poll, options) => post("/api/whatsapp/poll", poll, options),
    uploadMedia(file, { signal } = {}) {
      const query = new URLSearchParams({ accountId: file.accountId });
      if (file.fileName !== undefined) query.set("fileName", file.fileName);
      return call({ method: "POST", path: `/api/media?${query.toString()}`, file, signal });
    },
    pairWhatsApp: (pairing, options) => post(SESSIONS, pairing, options),
    whatsAppSession: (sessionId, options) => get(`${SESSIONS}/${part(sessionId)}`, options),
    whatsAppSessions: ({ signal, ...filter } = {}) => get(`${SESSIONS}${queryOf(filter)}`, { signal }),
    setWhatsAppPace: (sessionId, pace, options) => post(`${SESSIONS}/${part(sessionId)}/settings`, pace, options),
    removeWhatsAppSession: (sessionId, { signal } = {}) =>
      call({ method: "DELETE", path: `${SESSIONS}/${part(sessionId)}`, signal }),
  };
}
