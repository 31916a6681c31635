/**
 * How often a person may be written to: at most `max` marketing messages of an account within a time that ends now. Spans and no
 * moments, because the database that counts has a clock of its own.
 */
export interface Cap {
  withinMs: number;
  max: number;
  /** What the account's policy allows, for people. */
  words: string;
}

/** What an account's policy says of one marketing message at one moment. */
export interface Ruling {
  /** It will never be allowed: it ends `skipped`, with this reason. */
  skip: { code: string; detail: string } | undefined;
  /** Not before that time has passed, milliseconds, and why; undefined: now. */
  opensInMs: number | undefined;
  why: string | undefined;
  caps: Cap[];
  /** A text has to say how to stop further ones: in the service's words (true), or in these. */
  stopNotice?: true | string | undefined;
}

/** Hours of some days of the week. */
export interface OpenHours {
  /** 1 is Monday, 7 Sunday. */
  days: number[];
  /** `09:00`; included. */
  from: string;
  /** `18:00`, or `24:00`; not included. */
  to: string;
  /** IANA; default: each recipient's own. */
  timeZone?: string | undefined;
}

export interface Ruled {
  /** The account's policy as the ledger has it: a name, its own values, or null for the service's default. */
  policy: unknown;
  /** Whether the person has agreed to be contacted; undefined: this is not asked (any more). */
  consent: boolean | undefined;
  /** E.164. */
  recipient: string;
  /** When it would be sent, milliseconds since the epoch; default: now. */
  at?: number | undefined;
  /** The hunt's own, beside the account's; undefined: any. */
  windows?: OpenHours | undefined;
  /** The queue that carries it: all its channels are of one kind. */
  kind: "whatsapp" | "sms" | "voice";
}

/** The `stopNotice` of a policy, as the ledger has it, for recipients of a country. */
export type StopNoticeOf = (policy: unknown, country: string | undefined) => true | string | undefined;

/** Says when a marketing message may be sent; made by the compliance room, used wherever messages are planned and sent. */
export type Rules = (message: Ruled) => Ruling;
