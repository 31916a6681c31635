import type { Calls } from "./calls.ts";
import { part } from "./paths.ts";
import type { Result } from "./result.ts";
import type { Account, AccountSettings, CallOptions, Channel, Credits, PostOptions } from "./shapes.ts";

const ACCOUNTS = "/api/accounts";

/** Tenants. */
export interface AccountCalls {
  /** An account's settings and credits. Errors: `not_found`. */
  account(accountId: string, options?: CallOptions): Promise<Result<Account>>;
  /** Makes an account, or replaces its settings: what is absent is at its default. Errors: `invalid_request`. */
  putAccount(accountId: string, settings: AccountSettings, options?: CallOptions): Promise<Result<Account>>;
  /** Changes an account's settings: what is absent stays. Errors: `invalid_request`, `not_found`. */
  changeAccount(accountId: string, changes: AccountSettings, options?: CallOptions): Promise<Result<Account>>;
  /** Adds to what an account may spend on a channel. Errors: `invalid_request`, `not_found`, `idempotency_conflict`. */
  addCredits(
    accountId: string,
    credits: { channel: Channel; amount: number },
    options?: PostOptions,
  ): Promise<Result<Credits>>;
}

export function accountCalls({ call, get, post }: Calls): AccountCalls {
  return {
    account: (accountId, options) => get(`${ACCOUNTS}/${part(accountId)}`, options),
    putAccount: (accountId, settings, { signal } = {}) =>
      call({ method: "PUT", path: `${ACCOUNTS}/${part(accountId)}`, body: settings, signal }),
    changeAccount: (accountId, changes, { signal } = {}) =>
      call({ method: "PATCH", path: `${ACCOUNTS}/${part(accountId)}`, body: changes, signal }),
    addCredits: (accountId, credits, options) => post(`${ACCOUNTS}/${part(accountId)}/credits`, credits, options),
  };
}
