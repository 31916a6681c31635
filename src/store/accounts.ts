import type { Idempotency } from "../core/route.ts";

/** What an account may set of itself. */
export interface AccountSettings {
  status: "active" | "suspended";
  /** ISO 3166-1 alpha-2; how numbers in national format are read. */
  defaultCountry: string;
  /** The name of a policy or values of its own, as `src/compliance/policy.ts` takes them; null: the service's default. */
  policy: unknown;
  /** How fast its hunts are sent, as `src/compliance/limits.ts` takes it; null: the service's. */
  limits: unknown;
  /** Everybody whom it contacts has agreed. */
  consentDeclared: boolean;
  /** What becomes unknown is sent again, once. */
  resendUnknown: boolean;
}

/** As much of an account as decides about its messages. */
export interface Account {
  status: "active" | "suspended";
  defaultCountry: string;
  /** Its policy, as the ledger has it: a name, its own values, or null. */
  policy: unknown;
  /** It has declared that everybody whom it contacts has agreed. */
  consentDeclared: boolean;
}

/** What an account has on a metered channel. */
export interface Credits {
  channel: string;
  /** What can still be reserved. */
  balance: number;
  /** For messages that wait. */
  reserved: number;
  spent: number;
}

export interface StoredAccount extends AccountSettings {
  accountId: string;
  createdAt: string;
  /** By channel; one that is missing is not metered. */
  credits: Credits[];
}

export type CreditsAnswer =
  | { result: "added" | "replay"; response: Credits }
  | { result: "conflict" | "unknown_account" | "too_many" };

/** The tenants. All reject with `UnavailableError` while the database is away. */
export interface AccountStore {
  /** undefined when there is no such account. */
  read(id: string): Promise<StoredAccount | undefined>;
  /** Makes it, or puts all of these in place of what it had. */
  put(id: string, settings: AccountSettings): Promise<StoredAccount>;
  /** undefined when there is no such account. */
  change(id: string, settings: Partial<AccountSettings>): Promise<StoredAccount | undefined>;
  /** From then on the channel is metered. */
  addCredits(id: string, channel: string, amount: number, idempotency: Idempotency | undefined): Promise<CreditsAnswer>;
}
