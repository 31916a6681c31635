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

export type PolicyName = "country" | "marketing-fr" | "marketing-eu" | "marketing-us" | "none";

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

/** Hours of some days of the week, on the recipient's clock. */
export interface PolicyHours {
  /** 1 is Monday, 7 Sunday. */
  days: number[];
  /** `09:00`; included. */
  from: string;
  /** `20:00`, or `24:00`; not included. */
  to: string;
}

type ByKind<T> = { [Kind in "whatsapp" | "sms" | "voice"]?: T | undefined };

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
