/** What goes in and out of the service's API. test/service/client.test.ts keeps these the server's own shapes. */

/** A way to reach a person. */
export type Channel =
  | "whatsapp_text"
  | "whatsapp_image"
  | "whatsapp_video"
  | "whatsapp_audio"
  | "whatsapp_document"
  | "whatsapp_location"
  | "whatsapp_contact"
  | "whatsapp_poll"
  | "sms"
  | "ringless_voice";

/**
 * Where a message is: `queued` → `sending` → `sent` (the provider took it) → `delivered` → `read`, or at its end `failed`
 * (with a code), `skipped` (with a reason), `cancelled`, or `unknown` (it may have been sent; a person decides).
 */
export type MessageStatus =
  | "queued"
  | "sending"
  | "sent"
  | "delivered"
  | "read"
  | "failed"
  | "skipped"
  | "cancelled"
  | "unknown";

/** Messages by status; they sum to the total. */
export type Counts = Record<MessageStatus, number>;

/** What came of a variant. */
export interface VariantCounts extends Counts {
  /** Messages that were answered. */
  replied: number;
}

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
  /** Default `normal`. */
  priority?: "high" | "normal" | "low" | undefined;
  /** ISO 8601 with a zone; nothing is sent after it. Default: in seven days. */
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
  /** Only within these hours. The hunt's first submission's count. */
  windows?: Windows | undefined;
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

/** A text of an account's own, for its hunts. */
export interface NewTemplate {
  accountId: string;
  /** For people; 1 to 200 characters. */
  name: string;
  /** Default: every channel that carries a text. */
  channel?: Channel | null | undefined;
  /** In Liquid, at most 10,000 characters. */
  text: string;
}

/** A template in its newest version. Times are ISO 8601, in UTC. */
export interface Template {
  templateId: string;
  accountId: string;
  name: string;
  channel: string | null;
  version: number;
  text: string;
  createdAt: string;
  updatedAt: string;
  /** No hunt may use it from then on. */
  archivedAt: string | null;
}

/** With its versions, the newest first, at most 100. */
export interface TemplateWithVersions extends Template {
  versions: { version: number; text: string; createdAt: string }[];
}

export interface TemplatePage {
  templates: Template[];
  nextCursor: string | null;
}

/** The version that a text has become. */
export interface PutTemplate {
  templateId: string;
  version: number;
}

/** A hunt that comes again. */
export interface NewRecurrence {
  accountId: string;
  /** For people; 1 to 200 characters. */
  name: string;
  /** Minute, hour, day of the month, month, day of the week: `0 9 * * 1-5`. */
  cron: string;
  /** Of the pattern, IANA. */
  timeZone: string;
  /** ISO 8601 with a zone; no run after it. Default: endless. */
  until?: string | undefined;
  /** Runs at the most. Default: endless. */
  count?: number | undefined;
  /** From when a run begins until nothing of it is sent any more. Default: seven days. */
  expiresAfterSeconds?: number | undefined;
  /** Each run's, a hunt of its own: `<recurrenceId>:<time>`. */
  hunt: Omit<NewHunt, "huntId" | "accountId" | "sendAt" | "timeZone" | "expiresAt">;
}

/** The receipt for a recurrence. */
export interface AcceptedRecurrence {
  recurrenceId: string;
  contacts: number;
  nextRunAt: string;
}

/** A recurrence as it is now. Times are ISO 8601, in UTC. */
export interface Recurrence {
  recurrenceId: string;
  accountId: string;
  name: string;
  cron: string;
  timeZone: string;
  until: string | null;
  count: number | null;
  contacts: number;
  /** So far. */
  runs: number;
  /** For when the last one was planned. */
  lastRunAt: string | null;
  /** null: it is paused, or over. */
  nextRunAt: string | null;
  pausedAt: string | null;
  createdAt: string;
}

export interface RecurrencePage {
  recurrences: Recurrence[];
  nextCursor: string | null;
}

/** How much an account's hunts may send, of all that an entry fits together. */
export interface Limit {
  /** All channels of this kind together; `*`: each kind by itself; absent: all kinds together. */
  channel?: "whatsapp" | "sms" | "voice" | "*" | undefined;
  /** As contacts name it in `senderPhone`; `*`: each by itself; absent: all senders together. */
  sender?: string | undefined;
  /** Evenly apart. */
  perSecond?: number | undefined;
  /** Evenly apart. */
  perMinute?: number | undefined;
  perDay?: number | undefined;
  /** Whose day it is, IANA; default UTC. */
  timeZone?: string | undefined;
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

/** The receipt for a hunt: its contacts are safe in the database. */
export interface AcceptedHunt {
  /** Of this submission, for `huntStatus` and `waitForHunt`. */
  jobId: string;
  huntId: string;
  /** Contacts taken. */
  accepted: number;
}

/** How far a hunt is. Times are ISO 8601, in UTC. */
export interface HuntStatus {
  jobId: string;
  huntId: string;
  accountId: string;
  /**
   * `finished`, and `cancelled` with a `finishedAt`: no message is queued or being sent any more; receipts may still come.
   */
  state: "planning" | "scheduled" | "running" | "paused" | "cancelled" | "finished";
  total: number;
  counts: Counts;
  byChannel: Record<string, Counts>;
  /** Of contacts whose text came from one of the hunt's variants, once they are planned. */
  byVariant: Record<string, VariantCounts>;
  pausedAt: string | null;
  cancelledAt: string | null;
  /** When it begins or goes on, where nothing of it may be sent now. */
  scheduledAt: string | null;
  startedAt: string | null;
  finishedAt: string | null;
  /** By what holds it back, else at the pace of its last minute; null before its first message, 0 at the end. */
  etaSeconds: number | null;
}

/** A hunt that was paused, cancelled, or goes on. */
export interface Steered {
  huntId: string;
  accountId: string;
  pausedAt: string | null;
  cancelledAt: string | null;
}

/** What became of a message. Times are ISO 8601, in UTC. */
export interface Message {
  messageId: string;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  channel: string;
  /** E.164, or what was given where that is not a number. */
  recipientPhone: string;
  senderPhone: string | null;
  /** Which of the hunt's variants made its text. */
  variant: string | null;
  status: MessageStatus;
  /** Why it was skipped: `invalid_number`, `duplicate`, `suppressed`, `no_consent`, `missing_variable` (named in `detail`), … */
  reason: string | null;
  /** With what code it failed or became unknown. */
  code: string | null;
  /** The reason or code in words; while it is queued: what it waits for. */
  detail: string | null;
  provider: string | null;
  providerMessageId: string | null;
  /** Of an SMS: as its provider counted, else as the service did. */
  segments: number | null;
  /** What its provider charged, where it says so. */
  price: number | null;
  /** Of the price, by ISO 4217. */
  currency: string | null;
  /** Calls of a provider. */
  attempts: number;
  createdAt: string | null;
  sentAt: string | null;
  deliveredAt: string | null;
  readAt: string | null;
  updatedAt: string | null;
}

/** Messages in the order in which they were planned. */
export interface MessagePage {
  messages: Message[];
  /** Give it as `cursor` to go on; null at the end. */
  nextCursor: string | null;
}

/** To whom a single message goes. */
export interface Recipient {
  /** E.164, or the account's national format (without an account: French). */
  recipientPhone: string;
  /** Number to send from; default: the provider's. */
  senderPhone?: string | undefined;
  /** Whose suppressions and credits apply; default: nobody's. */
  accountId?: string | undefined;
  /** Holds the message to the account's policy, as every hunt's. Default: the person has asked for it. */
  category?: "marketing" | undefined;
  /** For marketing: the person has agreed to be contacted. */
  consent?: boolean | undefined;
}

/** A text to one person: 1 to 4096 characters over WhatsApp, 1 to 1600 by SMS. */
export interface NewText extends Recipient {
  message: string;
}

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

/** A voicemail to one person: a text to speak (1 to 3000 characters) or the http(s) address of a recording. */
export type NewVoicemail = Recipient &
  ({ text: string; audioUrl?: undefined } | { text?: undefined; audioUrl: string });

/** Hours of some days of the week, on the recipient's clock. */
export interface PolicyHours {
  /** 1 is Monday, 7 Sunday. */
  days: number[];
  /** `09:00`; included. */
  from: string;
  /** `20:00`, or `24:00`; not included. */
  to: string;
}

export type PolicyName = "country" | "marketing-fr" | "marketing-eu" | "marketing-us" | "none";

type ByKind<T> = { [Kind in "whatsapp" | "sms" | "voice"]?: T | undefined };

/** When, how often and to whom marketing may be sent; what is absent is as in `base`. */
export interface Policy {
  /** Default: `none`. */
  base?: PolicyName | undefined;
  /** `[]` is never. */
  hours?: ByKind<"any" | PolicyHours[]> | undefined;
  holidays?: "none" | "fr" | "fr-alsace-moselle" | undefined;
  /** For one person over all channels; null: any number. */
  perDay?: number | null | undefined;
  per30Days?: number | null | undefined;
  /** Whether the person must have agreed before. */
  consent?: ByKind<boolean> | undefined;
  /** What an SMS says of how to stop further ones: `true` the service's words, or these; `false` nothing. */
  stopNotice?: boolean | string | undefined;
}

export interface AccountSettings {
  /** `suspended`: nothing is sent, not even what is queued. Default: `active`. */
  status?: "active" | "suspended" | undefined;
  /** ISO 3166-1 alpha-2: how numbers in national format are read. Default: `FR`. */
  defaultCountry?: string | undefined;
  /** null, the default: the service's `DEFAULT_POLICY`. */
  policy?: PolicyName | Policy | null | undefined;
  /** How fast hunts are sent: each entry that fits holds. `[]`: no limits; null: the service's. Default: null. */
  limits?: Limit[] | null | undefined;
  /** Everybody whom the account contacts has agreed. Default: false. */
  consentDeclared?: boolean | undefined;
  /** What becomes `unknown` is sent again, once. Default: false. */
  resendUnknown?: boolean | undefined;
}

/** What an account has on a metered channel; each message takes one. */
export interface Credits {
  channel: string;
  /** What can still be reserved. */
  balance: number;
  /** For messages that wait. */
  reserved: number;
  spent: number;
}

/** A tenant. */
export interface Account {
  accountId: string;
  status: "active" | "suspended";
  defaultCountry: string;
  /** As it was given; whoever writes to the database by hand may have put anything there. */
  policy?: unknown;
  /** As they were given. */
  limits?: unknown;
  consentDeclared: boolean;
  resendUnknown: boolean;
  /** ISO 8601, in UTC. */
  createdAt: string;
  /** By channel; one that is missing is not metered. */
  credits: Credits[];
}

/** Who must not be contacted. */
export interface Suppression {
  /** Whose messages are held back; null: everybody's. */
  accountId: string | null;
  /** E.164; null for somebody who was erased. */
  phone: string | null;
  /** `reply`: the person wrote STOP, and START takes it back. */
  source: "reply" | "carrier" | "manual" | "import" | "erasure";
  reason: string | null;
  /** ISO 8601, in UTC. */
  createdAt: string;
}

export interface NewSuppression {
  /** E.164, or the account's national format (without an account: French). */
  phone: string;
  /** Default: every account. */
  accountId?: string | undefined;
  /** At most 500 characters. */
  reason?: string | undefined;
}

export interface SuppressionsOptions extends CallOptions {
  /** Only what this account has on the list itself; with `phone` also what holds for every account. */
  accountId?: string | undefined;
  /** `true`: only what holds for every account. */
  everybody?: boolean | undefined;
  phone?: string | undefined;
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000, default 100; of a file 1 to 10,000, default 10,000. */
  limit?: number | undefined;
}

export interface SuppressionPage {
  suppressions: Suppression[];
  nextCursor: string | null;
}

/** What became of a file's lines. */
export interface ImportedSuppressions {
  /** Good lines. */
  taken: number;
  /** Of these, numbers that were not on the list before. */
  added: number;
  /** Every line that was not taken; the first line of the file is 1. */
  faults: { line: number; detail: string }[];
}

/** Part of a file; only the first part has the line of names. */
export interface FilePage {
  text: string;
  /** Give it as `cursor` to go on; null at the end. */
  nextCursor: string | null;
}

/** How much there was about a person who was erased. */
export interface Erased {
  messages: number;
  replies: number;
  leads: number;
  /** Contacts of hunts that were not planned yet. */
  contacts: number;
}

/** The receipt for a single message: it is safe in the database. */
export interface AcceptedMessage {
  jobId: string;
  /** The queue that the job is in, for `job` and `retryJob`. */
  queue: string;
  messageId: string;
}

/** A job of a queue. Times are ISO 8601, in UTC. */
export interface Job {
  jobId: string;
  queue: string;
  name: string;
  state: string;
  progress?: unknown;
  /** Tries that have ended. */
  attempts: number;
  maxAttempts: number;
  /** Why tries failed, the last one last. */
  errors: string[];
  result?: unknown;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
}

/** A queue's jobs by state. */
export interface QueueStats {
  name: string;
  /** Prioritised jobs included. */
  waiting: number;
  active: number;
  completed: number;
  failed: number;
  delayed: number;
  prioritized: number;
  paused: boolean;
}

/** A hunt in the list of all of them. Times are ISO 8601, in UTC. */
export interface Hunt extends Omit<HuntStatus, "byChannel" | "byVariant"> {
  /** Its last submission. */
  jobId: string;
  priority: "high" | "normal" | "low";
  createdAt: string;
  /** Nothing is sent after it. */
  expiresAt: string;
}

export interface HuntPage {
  hunts: Hunt[];
  nextCursor: string | null;
}

export interface HuntWithReasons extends Hunt {
  /** Why messages were skipped, or with what code they failed: the hundred most frequent. */
  reasons: { status: MessageStatus; reason: string; count: number }[];
}

/** How many of a hunt's messages were in which state, at moments of equal distance. */
export interface HuntTimeline {
  huntId: string;
  from: string;
  /** Now; or of a hunt that has settled, when the last thing happened. */
  to: string;
  /** The oldest first. What is being sent counts as queued. */
  points: { at: string; counts: Record<MessageStatus, number> }[];
}

export interface HuntsOptions extends CallOptions {
  accountId?: string | undefined;
  /** A `nextCursor`; default: from the newest. */
  cursor?: string | undefined;
  /** 1 to 100; default 20. */
  limit?: number | undefined;
}

/** A failed job of a queue, and whether its message can be tried again. */
export interface FailedJob {
  jobId: string;
  queue: string;
  name: string;
  /** Null: it is not a message's job. */
  messageId: string | null;
  accountId: string | null;
  huntId: string | null;
  channel: string | null;
  /** Tries that have ended. */
  attempts: number;
  failedAt: string | null;
  code: string | null;
  /** Why it failed, in words. */
  why: string;
  /** Trying it again is safe, and possible now. */
  retryable: boolean;
  /** Why it cannot be tried again, in words. */
  whyNot: string | null;
}

export interface FailedJobPage {
  jobs: FailedJob[];
  nextCursor: string | null;
}

export interface FailedJobsOptions extends CallOptions {
  /** A `nextCursor`; default: from the last to fail. */
  cursor?: string | undefined;
  /** Of a page 1 to 200, default 50; of what is tried again 1 to 1000, default 500. */
  limit?: number | undefined;
}

/** What trying failed messages again came to. */
export interface RetriedJobs {
  /** Queued again. */
  retried: number;
  refused: { whyNot: string; count: number }[];
  /** Give it as `cursor` to go on with the others. */
  nextCursor: string | null;
}

/** How fast a sender sends now, as learned from its provider. */
export interface Sender {
  provider: string;
  /** Number, name or service; `account` where the limit is that of all senders together. */
  sender: string;
  /** Messages a second that it sends now at most. */
  perSecond: number;
  minPerSecond: number;
  maxPerSecond: number;
  /** The provider wants to hear nothing from it before then, ISO 8601. */
  heldUntil: string | null;
  /** The provider's last refusal for going too fast, or for a fault of the sender's own. */
  lastRefusal: { code: string; at: string } | null;
  /** Messages that have a place within the next half minute; more may wait behind them. */
  placed: number;
  /** How long a message would wait that comes now. */
  waitSeconds: number;
}

/** What a webhook's body is, and the data of a live event. */
export interface EventBody {
  /** The same wherever and however often it comes: whoever has seen it does nothing. Also the header `webhook-id`. */
  id: string;
  /** `message.sent`, `hunt.progress`, …: docs/events.md lists them. */
  type: string;
  /** When it happened, ISO 8601, in UTC. */
  timestamp: string;
  data: Record<string, unknown>;
}

/** An event as it happens. `reset`, which has only a type and a position: events may be missing before it. */
export interface LiveEvent extends EventBody {
  /** For `lastEventId`. */
  position: string;
}

export interface EventsOptions extends CallOptions {
  /** This, `huntId`, or both. */
  accountId?: string | undefined;
  huntId?: string | undefined;
  /** The `position` after which to go on; default: from now. */
  lastEventId?: string | undefined;
  /** For how long faults that may pass (the service restarts) are put up with, milliseconds; default 60,000. */
  patienceMs?: number | undefined;
}

/** Where an account is told of events. */
export interface WebhookEndpoint {
  endpointId: string;
  accountId: string;
  url: string;
  description: string | null;
  /** Types, and groups such as `message.*`; null: all. */
  events: string[] | null;
  enabled: boolean;
  /** `gone`: it has answered 410; `failing`: it has taken nothing for five days. null where a person turned it off. */
  disabledBecause: string | null;
  /** Until then the secrets before this one sign as well. */
  oldSecretUntil: string | null;
  lastDeliveredAt: string | null;
  /** Attempts that have failed since. */
  failures: number;
  createdAt: string;
}

/** With what deliveries are signed with, which is shown this once. */
export interface WebhookEndpointWithSecret extends WebhookEndpoint {
  secret: string;
}

export interface NewWebhookEndpoint {
  accountId: string;
  /** https, on a public server. */
  url: string;
  description?: string | null | undefined;
  /** Default: all. */
  events?: string[] | null | undefined;
}

export interface WebhookEndpointChanges {
  url?: string | undefined;
  description?: string | null | undefined;
  events?: string[] | null | undefined;
  enabled?: boolean | undefined;
}

/** One event's way to an endpoint. */
export interface WebhookDelivery {
  deliveryId: string;
  endpointId: string;
  eventId: string;
  type: string;
  /** `failed`: not tried any more, but may be replayed. */
  state: "pending" | "delivered" | "failed";
  attempts: number;
  nextAttemptAt: string | null;
  createdAt: string;
  endedAt: string | null;
  /** The last 20 attempts. */
  log: {
    at: string;
    status: number | null;
    durationMs: number;
    error: string | null;
    answer: string | null;
  }[];
}

export interface DeliveriesOptions extends CallOptions {
  state?: WebhookDelivery["state"] | undefined;
  /** A `nextCursor`; default: from the newest. */
  cursor?: string | undefined;
  /** 1 to 500; default 100. */
  limit?: number | undefined;
}

/** The process is alive. */
export interface Health {
  status: "ok";
  version: string;
  uptimeSeconds: number;
}

/** Whether the service can do its work, and if not, which check says so and why. */
export interface Readiness {
  ready: boolean;
  checks: Record<string, { ok: boolean; detail?: string | undefined }>;
}

/** One thing that is wrong with a request. */
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

export interface Fault {
  /** JSON pointer (RFC 6901) into the body, `/query/<name>`, `/path/<name>` or `/header/<name>`. */
  pointer: string;
  detail: string;
}

export interface CallOptions {
  /** Ends the call, its retries included, with the code `aborted`. What was sent may still be carried out. */
  signal?: AbortSignal | undefined;
}

export interface PostOptions extends CallOptions {
  /**
   * 1 to 255 printable ASCII characters. The same key and body within 24 hours are the same request. Default: a random
   * one for each call, under which its retries are one request. Give your own where your process may repeat the call.
   */
  idempotencyKey?: string | undefined;
}

export interface MessagesOptions extends CallOptions {
  /** Only messages of this status. */
  status?: MessageStatus | undefined;
  /** Only those skipped for this reason, or failed with this code. */
  reason?: string | undefined;
}

/** What a person says became of a message. */
export type Resolution = "sent" | "not_sent" | "resend";

/** Messages that want a person. */
export interface AttentionOptions extends CallOptions {
  status: "unknown" | "failed";
  accountId?: string | undefined;
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000; default 100. */
  limit?: number | undefined;
}

export interface PageOptions extends MessagesOptions {
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000; default 100. */
  limit?: number | undefined;
}

export interface WaitOptions extends CallOptions {
  /** Between two looks, milliseconds; default 1000. */
  pollMs?: number | undefined;
  /** For how long faults that may pass (the service restarts) are put up with, milliseconds; default 60,000. */
  patienceMs?: number | undefined;
  /** Told after each look. What it throws ends the wait. */
  onStatus?: ((status: HuntStatus) => void) | undefined;
}

/** An SMS of which one wants to know what it would cost. */
export interface NewSmsPreview {
  message: string;
  /** Marketing says how to stop it, where the account's policy asks for that. */
  category?: "marketing" | undefined;
  /** Whose policy. Default: the service's. */
  accountId?: string | undefined;
  /** Whose country. Default: the account's. */
  recipientPhone?: string | undefined;
  /** Default: the provider's. */
  senderPhone?: string | undefined;
}

export interface SmsPreview {
  /** As it would be sent. */
  text: string;
  /** What was put at its end. */
  stopNotice: string | null;
  encoding: "GSM-7" | "UCS-2";
  /** Messages that are charged. */
  segments: number;
  characters: number;
  /** Characters that each segment holds. */
  perSegment: number;
  /** More are refused. */
  maxSegments: number;
  allowed: boolean;
  /** Why it is not allowed. */
  detail: string | null;
}
