/** Where an entry of the list comes from: a reply (STOP), the carrier, a person through the API, a file, an erasure. */
export const SUPPRESSION_SOURCES = ["reply", "carrier", "manual", "import", "erasure"] as const;
export type SuppressionSource = (typeof SUPPRESSION_SOURCES)[number];

/** A number that must not be contacted. */
export interface Suppression {
  /** null: by nobody. */
  accountId: string | null;
  /** E.164; null for somebody who was erased, of whom only a hash is left. */
  phone: string | null;
  source: SuppressionSource;
  /** The caller's own words. */
  reason: string | null;
  createdAt: string;
}

export interface NewSuppression {
  accountId: string | undefined;
  /** E.164. */
  phone: string;
  source: "manual" | "import";
  reason: string | undefined;
}

export interface SuppressionFilter {
  accountId: string | undefined;
  /** Only what holds for every account. */
  everybody: boolean;
  /** E.164; finds somebody who was erased, too. */
  phone: string | undefined;
  cursor: string | undefined;
  limit: number;
}

/** A contact that waits to be planned, and the number as its caller wrote it. */
export interface WaitingContact {
  jobId: string;
  no: number;
  place: number;
  phone: string;
  /** Of its account; null while its submission is not accepted yet. */
  country: string | null;
}

/** A message whose job may still have what was erased. */
export interface ErasedMessage {
  messageId: string;
  queue: string;
}

/** How many of what were about the person. */
export interface Erasure {
  messages: number;
  leads: number;
  replies: number;
  /** Contacts of hunts that were not planned yet. */
  contacts: number;
  left: ErasedMessage[];
}

/** Who must not be contacted, and who is to be forgotten. All reject with `UnavailableError` while the database is away. */
export interface ComplianceStore {
  /** Whether erasing is possible: only with a salt. */
  readonly canErase: boolean;
  /** In their order; undefined: there is no such account. Adding one that is there already changes little. */
  suppress(entries: readonly NewSuppression[]): Promise<({ suppression: Suppression; added: boolean } | undefined)[]>;
  /** In the order in which they were added. */
  suppressions(filter: SuppressionFilter): Promise<{ suppressions: Suppression[]; nextCursor: string | undefined }>;
  /** Takes the entry of one account, or of everybody, off the list: whether there was one. */
  lift(accountId: string | undefined, phone: string): Promise<boolean>;
  /** Contacts that may be this person's: whoever calls reads their numbers. */
  waitingContacts(phone: string): Promise<WaitingContact[]>;
  /** `contacts`: those of `waitingContacts` that are this person's. */
  erase(phone: string, contacts: readonly WaitingContact[]): Promise<Erasure>;
  /** Goes on with what erasures have left; `done`: no queue has a job of these. Answers those to be seen to. */
  resumeErasures(done: readonly string[]): Promise<ErasedMessage[]>;
}
