import type { NewText, Recipient } from "./messages.ts";

/** What every message over WhatsApp may have. */
export interface Quoting {
  /** The message to quote: one of ours by its `messageId`, or an inbound reply by its id. */
  replyTo?: string | undefined;
}

/** A text to one person over WhatsApp: 1 to 4096 characters. */
export type NewWhatsAppText = NewText & Quoting;

/** Where a file is: the http(s) address on a public server from which it is fetched, or an upload of the same account. */
export type MediaSource =
  | { mediaUrl: string; mediaId?: undefined }
  | { mediaUrl?: undefined; mediaId: string; accountId: string };

/** A picture or a video to one person over WhatsApp, with a caption of at most 1024 characters. */
export type NewPicture = Recipient & Quoting & MediaSource & { message?: string | undefined };

/** A recording to one person over WhatsApp; as a voice note it is shown as spoken just now, and wants Ogg with Opus. */
export type NewRecording = Recipient & Quoting & MediaSource & { voiceNote?: boolean | undefined };

/** A document to one person over WhatsApp, with a caption and the name that the recipient sees. */
export type NewDocument = NewPicture & { fileName?: string | undefined };

/** A place on the map to one person over WhatsApp; degrees. */
export interface NewLocation extends Recipient, Quoting {
  latitude: number;
  longitude: number;
  placeName?: string | undefined;
  placeAddress?: string | undefined;
}

/** A contact's card to one person over WhatsApp. */
export interface NewContactCard extends Recipient, Quoting {
  contactName: string;
  /** E.164. */
  contactPhone: string;
}

/** A question to one person over WhatsApp: up to 255 characters, and 2 to 12 different answers of up to 100. */
export interface NewPoll extends Recipient, Quoting {
  question: string;
  options: string[];
  /** Several answers may be chosen. Default: false. */
  multipleAnswers?: boolean | undefined;
}

/** A file to be sent later, at most 16 MiB. */
export interface NewUpload {
  accountId: string;
  data: Blob | Uint8Array;
  /** What it is, e.g. `image/jpeg`; the service looks whether its bytes agree. */
  contentType: string;
  /** The name under which a document is shown to its recipient; at most 200 characters. */
  fileName?: string | undefined;
}

/** The receipt for an upload. */
export interface Upload {
  /** For messages of the same account, in place of a `mediaUrl`. */
  mediaId: string;
  /** Bytes. */
  size: number;
  contentType: string;
  /** ISO 8601, in UTC. */
  expiresAt: string;
}

/** How a WhatsApp number is: only `open` sends; `logged-out`, `banned` and `stopped` want a person. */
export type WhatsAppSessionState =
  | "pairing"
  | "connecting"
  | "open"
  | "backing-off"
  | "logged-out"
  | "banned"
  | "stopped";

export interface NewPairing {
  accountId: string;
  /** Whose phone will be linked: E.164, or French national format. */
  phone: string;
  /** Scan a picture (the default), or type a code in. */
  method?: "qr" | "code" | undefined;
}

/** A session's own pace; what is absent is as the service's environment says. null: no limit. */
export interface WhatsAppPace {
  messagesPerMinute?: number | null | undefined;
  minGapMs?: number | undefined;
  maxGapMs?: number | undefined;
  typing?: boolean | undefined;
  newContactsPerDay?: number | null | undefined;
  warmUpDays?: number | undefined;
}

/** A paired WhatsApp number. */
export interface WhatsAppSession {
  id: string;
  accountId: string;
  /** E.164. */
  phone: string;
  method: "qr" | "code";
  state: WhatsAppSessionState;
  /** When it came into this state, ISO 8601. */
  since: string;
  /** While pairing: the text of the QR code, which changes every 20 to 60 seconds. */
  qr?: string | undefined;
  /** While pairing: what to type in on the phone. */
  pairingCode?: string | undefined;
  /** The last thing that went wrong, in words. */
  lastError?: string | undefined;
  pairedAt: string | null;
  /** WhatsApp has restricted it: no first contacts before then. */
  coldPausedUntil: string | null;
  settings: WhatsAppPace;
  /** What its pace is now, as last reported. */
  pace: Record<string, unknown>;
  createdAt: string;
}
