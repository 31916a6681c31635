import type { Recipient } from "./messages.ts";

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

/** A voicemail to one person: a text to speak (1 to 3000 characters) or the http(s) address of a recording. */
export type NewVoicemail = Recipient &
  ({ text: string; audioUrl?: undefined } | { text?: undefined; audioUrl: string });
