import type { Cap, OpenHours } from "../core/rules.ts";

export const MESSAGE_STATUSES = [
  "queued",
  "sending",
  "sent",
  "delivered",
  "read",
  "failed",
  "skipped",
  "cancelled",
  "unknown",
] as const;
export type MessageStatus = (typeof MESSAGE_STATUSES)[number];
export type Counts = Record<MessageStatus, number>;

/** A ledger row to be. `id` is the message's for good: writing it again changes nothing. */
export interface PlannedMessage {
  id: string;
  accountId: string | undefined;
  huntId: string | undefined;
  adId: string | undefined;
  /** 0, or 1, 2, … for a contact that a submission gave again: always skipped. */
  copy: number;
  channel: string;
  queue: string;
  /** E.164, or what the caller gave where that is not a number (then `skip` is set). */
  recipient: string;
  sender: string | undefined;
  content: unknown;
  /** ISO 8601; the database's default is seven days. */
  expiresAt: string | undefined;
  /** Not before it, ISO 8601; absent: as soon as can be. */
  sendAt?: string | undefined;
  /** The recipient's time zone, where the hunt's windows are by that. */
  zone?: string | undefined;
  /** Why it is not to be sent, decided before the database was asked. */
  skip: string | undefined;
  detail: string | undefined;
  /** Marketing is held to the account's policy. */
  category?: "marketing" | undefined;
  /** How often the person may be written to. */
  caps?: readonly Cap[] | undefined;
  /** The contact's messages on all of its channels, its own too: it is left out when the hunt has one that was not skipped. */
  siblings?: readonly string[] | undefined;
  /** Of a contact who has several: it is skipped when the hunt has the number over one of them. */
  channels?: readonly string[] | undefined;
  /** Takes its place when this one turns out not to reach the person. */
  next?: PlannedMessage | undefined;
  /** Of a `next`: also when the one before is not delivered so soon after it was sent. */
  afterSeconds?: number | undefined;
  /** Which of the hunt's variants made its text. */
  variant?: string | undefined;
}

export interface StoredMessage {
  messageId: string;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  channel: string;
  queue: string;
  recipientPhone: string;
  senderPhone: string | null;
  /** Which of the hunt's variants made its text. */
  variant: string | null;
  status: MessageStatus;
  /** Why it was skipped, or with what code it failed. */
  code: string | null;
  detail: string | null;
  provider: string | null;
  providerMessageId: string | null;
  /** Of an SMS: as its provider counted, else as we did. */
  segments: number | null;
  /** What its provider charged, where it said so. */
  price: number | null;
  currency: string | null;
  attempts: number;
  createdAt: string;
  sentAt: string | null;
  deliveredAt: string | null;
  readAt: string | null;
  updatedAt: string;
}

export interface MessagePage {
  messages: StoredMessage[];
  /** Give it back to go on; absent on the last page. */
  nextCursor: string | undefined;
}

/** A message that should have a job, for the sweeper. */
export interface OpenMessage {
  id: string;
  seq: number;
  queue: string;
  channel: string;
  recipient: string;
  sender: string | null;
  content: unknown;
  accountId: string | null;
  huntId: string | null;
  adId: string | null;
  category: "marketing" | null;
  /** The hours of its hunt; null: any. */
  windows: OpenHours | null;
  /** For how long its attempt still belongs to a worker, milliseconds; 0 when nobody holds it. */
  retryInMs: number;
}

/** A message as the sweeper finds it. */
export interface SweptMessage extends OpenMessage {
  /** It is to have no job now: it is still to be fed, or its hunt is paused. */
  held: boolean;
}
