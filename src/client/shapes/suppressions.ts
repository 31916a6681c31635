import type { CallOptions } from "./calls.ts";

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

/** How much there was about a person who was erased. */
export interface Erased {
  messages: number;
  replies: number;
  leads: number;
  /** Contacts of hunts that were not planned yet. */
  contacts: number;
}
