/**
 * pairing ─▶ connecting ─▶ open ─▶ backing-off ─▶ connecting …
 *                 │          └──▶ logged-out (paired again: pairing), banned, stopped
 */
export const SESSION_STATES = [
  "pairing",
  "connecting",
  "open",
  "backing-off",
  "logged-out",
  "banned",
  "stopped",
] as const;
export type SessionState = (typeof SESSION_STATES)[number];

/** A paired WhatsApp number, as the ledger has it. */
export interface Session {
  id: string;
  accountId: string;
  /** E.164. */
  phone: string;
  method: "qr" | "code";
  state: SessionState;
  /** When it came into this state, ISO 8601. */
  since: string;
  qr: string | null;
  pairingCode: string | null;
  lastError: string | null;
  pairedAt: string | null;
  jid: string | null;
  lid: string | null;
  /** Its own values for the variables about pace. */
  settings: Record<string, unknown>;
  /** What its owner last said about its pace. */
  pace: Record<string, unknown>;
  coldPausedUntil: string | null;
  /** gone: to be logged out, wiped and forgotten. */
  wanted: "on" | "gone";
  /** Counts up each time that it changes hands: what an earlier owner writes is refused. */
  epoch: number;
  /** Until when it belongs to the process that has it. */
  leasedUntil: string | null;
  createdAt: string;
}

/** What an owner reports; only the given fields change. */
export interface SessionReport {
  state?: SessionState;
  qr?: string | null;
  pairingCode?: string | null;
  lastError?: string | null;
  pairedAt?: string | null;
  jid?: string;
  lid?: string;
  pace?: Record<string, unknown>;
  coldPausedUntil?: string | null;
  /** Gives the lease back. */
  release?: true;
}

/** The right to connect a session, as of one claim. */
export interface Lease {
  id: string;
  epoch: number;
}

/** A Signal key or the credentials, sealed; null deletes it. */
export interface SealedKey {
  type: string;
  id: string;
  sealed: string | null;
}

/** A sent message, sealed, so that it can be given again to a recipient that could not decrypt it. */
export interface SentMessage {
  /** WhatsApp's id of the message. */
  id: string;
  sessionId: string;
  jid: string;
  /** E.164. */
  phone: string;
  sealed: string;
}

export type SealedSent = Pick<SentMessage, "id" | "sealed">;

/** A number as WhatsApp knows it; jid null: it is not there. */
export interface KnownNumber {
  phone: string;
  jid: string | null;
  lid: string | null;
  checkedAt: string;
}

/** For how long an upload is kept: a day longer than a hunt lasts. `tidy` of the database knows it too. */
export const MEDIA_LIFETIME_MS = 8 * 86_400_000;

export interface UploadedMedia {
  id: string;
  accountId: string;
  contentType: string;
  fileName: string | undefined;
  data: Buffer;
}

export type PairAnswer =
  | { result: "created" | "again" | "paired"; session: Session }
  | { result: "taken" | "leaving" | "unknown_account" };

/** What sessions have sent, and to whom. */
export interface SentStore {
  /** Keeps what is about to be sent, and counts its recipient as contacted. */
  keepSent(message: SentMessage): Promise<void>;
  /** What was kept within the last 30 days; without a `sessionId` it is the id alone, because the session is gone. */
  sent(id: string): Promise<{ sessionId: string | undefined; jid: string; sealed: string } | undefined>;
  /** Sent messages whose sealed form does not begin with `mark`, with ids after `after`. */
  staleSent(sessionId: string, mark: string, after: string, limit: number): Promise<SealedSent[]>;
  resealSent(sessionId: string, messages: readonly SealedSent[]): Promise<void>;
  /** It was not written to after all: the next message to it is a first contact. */
  forgetContact(sessionId: string, phone: string): Promise<void>;
  /** Whether the session has written to this number before. */
  hasContacted(sessionId: string, phone: string): Promise<boolean>;
  /** First contacts of a session since a moment, milliseconds since the epoch. */
  contactsSince(sessionId: string, since: number): Promise<number>;
}

/** Which numbers are on WhatsApp, and under which addresses. */
export interface NumberStore {
  number(phone: string): Promise<KnownNumber | undefined>;
  keepNumber(number: { phone: string; jid: string | null; lid: string | null }): Promise<void>;
  /** The numbers under which somebody has been written to who writes from these addresses. */
  phonesOf(addresses: { jid: string | undefined; lid: string | undefined }): Promise<string[]>;
}

/** Files that accounts have uploaded to be sent. */
export interface MediaStore {
  keepMedia(media: UploadedMedia): Promise<void>;
  /** undefined: never there, another account's, or too old. */
  media(id: string, accountId: string): Promise<UploadedMedia | undefined>;
}

/**
 * Sessions and what belongs to them. Each is connected from one process at a time: whoever has claimed it, for as long
 * as the lease is renewed. Methods that take a `Lease` answer false when it has been lost, and change nothing then.
 * All reject with `UnavailableError` while the database does not answer.
 */
export interface SessionStore extends SentStore, NumberStore, MediaStore {
  pair(accountId: string, phone: string, method: "qr" | "code"): Promise<PairAnswer>;
  /** Whether there is such an account. */
  knowsAccount(accountId: string): Promise<boolean>;
  session(id: string): Promise<Session | undefined>;
  /** In the order of creation. */
  sessions(filter: { accountId?: string | undefined }): Promise<Session[]>;
  /** Asks its owner to log it out, wipe and forget it. False: there is none. */
  dismiss(id: string): Promise<boolean>;
  /** Its own values for the pace; undefined: there is none. */
  setSettings(id: string, settings: Record<string, unknown>): Promise<Session | undefined>;

  claim(owner: string, leaseMs: number, limit: number): Promise<Session[]>;
  /** Those that are still the caller's. */
  renew(leases: readonly Lease[], leaseMs: number): Promise<Session[]>;
  report(lease: Lease, report: SessionReport): Promise<boolean>;
  /** Forgets the pairing; `gone`: the session too. */
  wipe(lease: Lease, gone: boolean): Promise<boolean>;

  writeKeys(lease: Lease, keys: readonly SealedKey[]): Promise<boolean>;
  /** ids undefined: all of the type. */
  readKeys(sessionId: string, type: string, ids: readonly string[] | undefined): Promise<Map<string, string>>;
  /** `type.id` of all keys but pre-keys and credentials; undefined when there are more than `limit`. */
  keyNames(sessionId: string, limit: number): Promise<string[] | undefined>;
  /** Keys whose sealed form does not begin with `mark`. */
  staleKeys(sessionId: string, mark: string, limit: number): Promise<SealedKey[]>;

  /** Whether the provider has reported anything on a message of this id: proof that it was accepted. */
  hasReceipt(provider: string, providerMessageId: string): Promise<boolean>;
}
