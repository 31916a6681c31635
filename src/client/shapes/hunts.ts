import type { Channel } from "./messages.ts";

/** One person of a hunt. */
export interface Contact {
  /** The advert or business, in your own words; 1 to 200 characters. A hunt contacts it once over each channel. */
  adId: string;
  /** E.164, or the account's national format. A number that cannot be dialled is skipped, not refused. */
  recipientPhone: string;
  /** This, or `channels`. */
  channel?: Channel | undefined;
  /**
   * Instead of `channel`, 1 to 5 in order: the next one is used where the one before does not reach the person, because it
   * is off, the account's policy never allows it, the number is not on WhatsApp, the provider refuses it for good or reports it
   * as not delivered. `senderPhone` is for the first.
   */
  channels?: Channel[] | undefined;
  /**
   * The text, for `ringless_voice` what is spoken, for pictures, videos and documents the caption. At most 1600 (sms),
   * 4096 (whatsapp_text), 3000 (ringless_voice) or 1024 characters (a caption). Default: what the hunt's template says.
   */
  message?: string | undefined;
  /** For the hunt's templates, by name: up to 50, texts of up to 1000 characters. null is as absent. */
  variables?: Record<string, string | number | boolean | null> | undefined;
  /** Number to send from; default: the provider's. */
  senderPhone?: string | undefined;
  /** Instead of the hunt's, to the next full minute: ISO 8601 with an offset, or local time with `timeZone`. */
  sendAt?: string | undefined;
  /** IANA, of its `sendAt`; default: the hunt's. */
  timeZone?: string | undefined;
  /** The person has agreed to be contacted; where the account's policy wants it, whoever has not is skipped. */
  consent?: boolean | undefined;
  /** `ringless_voice` only: the http(s) address of a recording to play instead of `message`. */
  audioUrl?: string | undefined;
  /**
   * `whatsapp_image`, `_video`, `_audio`, `_document` only: the http(s) address, on a public server, of the file, which is
   * fetched when it is sent; at most 16 MiB.
   */
  mediaUrl?: string | undefined;
  /** Instead of `mediaUrl`: an upload of the same account. */
  mediaId?: string | undefined;
  /** `whatsapp_audio` only: shown as spoken just now; wants Ogg with Opus. */
  voiceNote?: boolean | undefined;
  /** `whatsapp_document` only: the name that the recipient sees. */
  fileName?: string | undefined;
  /** `whatsapp_location` only, and wanted there: degrees, -90 to 90. */
  latitude?: number | undefined;
  /** `whatsapp_location` only, and wanted there: degrees, -180 to 180. */
  longitude?: number | undefined;
  placeName?: string | undefined;
  placeAddress?: string | undefined;
  /** `whatsapp_contact` only, and wanted there: the name on the card that is shared. */
  contactName?: string | undefined;
  /** `whatsapp_contact` only, and wanted there: the number on the card, E.164. */
  contactPhone?: string | undefined;
  /** `whatsapp_poll` only, and wanted there: 1 to 255 characters. */
  question?: string | undefined;
  /** `whatsapp_poll` only, and wanted there: 2 to 12 different answers of 1 to 100 characters. */
  options?: string[] | undefined;
  /** `whatsapp_poll` only: several answers may be chosen. */
  multipleAnswers?: boolean | undefined;
  /** WhatsApp only: the message to quote, ours by its `messageId` or an inbound reply by its id. */
  replyTo?: string | undefined;
}

/** Where a hunt's text comes from: one of these. Contacts with a `message` of their own get that. */
export interface TextSource {
  /** In Liquid: `Bonjour {{ name }}`. A contact without a variable that it names is skipped, with the name. */
  template?: string | undefined;
  /** Instead of `template`, by channel. */
  templates?: Partial<Record<Channel, string | undefined>> | undefined;
  /** Instead of `template`, one of the account's. */
  templateId?: string | undefined;
  /** Of `templateId`; default: the newest when the hunt is accepted. */
  templateVersion?: number | undefined;
}

/** One of several texts, to compare them. */
export interface Variant extends TextSource {
  /** 1 to 50 characters. */
  name: string;
  /** Against the other variants'; default 1. */
  weight?: number | undefined;
}

/** A hunt to be carried out. */
export interface NewHunt extends TextSource {
  /** The hunt, in your own words. Submitting it again adds contacts to it. */
  huntId: string;
  accountId: string;
  contacts: Contact[];
  /** The hunt's, `normal` if it has none; a further submission that gives another is refused (`hunt_differs`). */
  priority?: "high" | "normal" | "low" | undefined;
  /** ISO 8601 with a zone; nothing is sent after it. Default: in seven days. As `priority`. */
  expiresAt?: string | undefined;
  /** Instead of `template`: each contact gets one of up to 10, by weight, and always the same. */
  variants?: Variant[] | undefined;
  /**
   * Seconds, up to seven days. For contacts with several `channels`: the next one is used too when a sent message is not
   * delivered within this time. Default: only when it is reported as not delivered.
   */
  fallbackAfterSeconds?: number | undefined;
  /** Nothing of this submission is sent before it: ISO 8601 with an offset, or local time with `timeZone`. */
  sendAt?: string | undefined;
  /** IANA, of times without an offset. */
  timeZone?: string | undefined;
  /** Only within these hours. As `priority`. */
  windows?: Windows | undefined;
}

/** Hours of some days of the week. */
export interface Windows {
  /** 1 is Monday, 7 Sunday. */
  days: number[];
  /** `09:00`; included. */
  from: string;
  /** `18:00`, or `24:00`; not included. */
  to: string;
  /** IANA. Default: each recipient's own. */
  timeZone?: string | undefined;
  /** Evenly over the open time until `expiresAt`; without that, until the window that is open closes. */
  spread?: boolean | undefined;
}

/** What is to change of a hunt; what is absent stays as it is. */
export interface HuntChanges {
  priority?: "high" | "normal" | "low" | undefined;
  /** ISO 8601 with an offset. What has expired already stays so. */
  expiresAt?: string | undefined;
  /**
   * Nothing of the hunt is sent before it, and what waits is sent at it; a contact's own time counts where it is later. In
   * the past: at once. null: as it was submitted.
   */
  sendAt?: string | null | undefined;
  /** IANA, of a `sendAt` without an offset. */
  timeZone?: string | undefined;
  /** In place of the hunt's; null takes them away. */
  windows?: Windows | null | undefined;
}

/** When a hunt is sent. Times are ISO 8601, in UTC. */
export interface HuntSchedule {
  huntId: string;
  accountId: string;
  priority: "high" | "normal" | "low";
  expiresAt: string;
  /** As it was changed last; null: as it was submitted. */
  sendAt: string | null;
  windows: Windows | null;
}

/** The receipt for a hunt: its contacts are safe in the database. */
export interface AcceptedHunt {
  /** Of this submission, for `huntStatus` and `waitForHunt`. */
  jobId: string;
  huntId: string;
  /** Contacts taken. */
  accepted: number;
}

/** What a hunt would do on one channel. */
export interface PreviewedChannel {
  send: number;
  skipped: number;
  /** Contacts who would be tried over it if they are not reached before. */
  standby: number;
  /** SMS only: of all messages, and the most of one. */
  segments: { total: number; most: number } | null;
  /** null: the account is not metered on this channel. */
  credits: { needed: number; available: number } | null;
}

/** What a hunt would do if it was submitted now. Phone numbers are masked; times are ISO 8601, in UTC. */
export interface HuntPreview {
  huntId: string;
  accountId: string;
  contacts: number;
  /** Contacts who would be written to. */
  send: number;
  skipped: number;
  byChannel: Record<string, PreviewedChannel>;
  byVariant: Record<string, { send: number; skipped: number }>;
  /** Contacts skipped, by reason; `already_planned`: the hunt has them already. */
  reasons: Record<string, number>;
  /** The first 100 who would be skipped. */
  skips: { adId: string; channel: string; recipientPhone: string; reason: string; detail: string | null }[];
  /** The first three of each channel and variant, as they would be sent. */
  samples: {
    adId: string;
    channel: string;
    recipientPhone: string;
    variant: string | null;
    text: string | null;
    segments: number | null;
  }[];
  startsAt: string | null;
  /** By the account's hours and the providers' rates; null: nobody can tell. */
  endsAt: string | null;
  etaSeconds: number | null;
}
