import type { Clock } from "../core/clock.ts";
import type { OpenHours, Ruled, Rules, Ruling } from "../core/rules.ts";
import type { Account, Store } from "../store/store.ts";

export interface RulingsOptions {
  store: Pick<Store, "account">;
  rules: Rules;
  clock: Clock;
}

/** A message as its job has it. */
export interface Waiting {
  accountId?: string | undefined;
  /** E.164. */
  to: string;
  kind: Ruled["kind"];
  /** Its hunt's. */
  windows?: OpenHours | undefined;
}

/** For how long an account's policy is not looked up again, milliseconds. */
const FRESH_MS = 5000;
const MAX_KEPT = 1000;

/**
 * What the policy that an account has now, and the hours of its hunt, say of a message that is about to be sent; it may have
 * waited for days. Consent was asked for when it was planned. Rejects with `UnavailableError`.
 */
export function createRulings({ store, rules, clock }: RulingsOptions): (message: Waiting) => Promise<Ruling> {
  const known = new Map<string, { account: Promise<Account | undefined>; until: number }>();

  const accountOf = (id: string): Promise<Account | undefined> => {
    const cached = known.get(id);
    if (cached && cached.until > clock.monotonic()) return cached.account;
    if (known.size >= MAX_KEPT) known.clear();
    const account = store.account(id);
    known.set(id, { account, until: clock.monotonic() + FRESH_MS });
    // A database that is away is asked again by the next.
    account.catch(() => known.delete(id));
    return account;
  };

  return async ({ accountId, to, kind, windows }) => {
    const account = accountId === undefined ? undefined : await accountOf(accountId);
    return rules({ policy: account?.policy, consent: undefined, recipient: to, kind, windows });
  };
}
