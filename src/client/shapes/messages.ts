import type { CallOptions } from "./calls.ts";

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

/** The receipt for a single message: it is safe in the database. */
export interface AcceptedMessage {
  jobId: string;
  /** The queue that the job is in, for `job` and `retryJob`. */
  queue: string;
  messageId: string;
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

export interface MessagesOptions extends CallOptions {
  /** Only messages of this status. */
  status?: MessageStatus | undefined;
  /** Only those skipped for this reason, or failed with this code. */
  reason?: string | undefined;
}

export interface PageOptions extends MessagesOptions {
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000; default 100. */
  limit?: number | undefined;
}

/** Messages that want a person. */
export interface AttentionOptions extends CallOptions {
  status: "unknown" | "failed";
  accountId?: string | undefined;
  /** A `nextCursor`; default: from the start. */
  cursor?: string | undefined;
  /** 1 to 1000; default 100. */
  limit?: number | undefined;
}

/** What a person says became of a message. */
export type Resolution = "sent" | "not_sent" | "resend";
