import type { Clock } from "../core/clock.ts";
import { countryOf } from "../core/phone.ts";
import type { Rules, Ruling, StopNoticeOf } from "../core/rules.ts";
import { nextAllowed, startOfDay } from "./hours.ts";
import { createPolicies, type Kind, type Policy, type PolicyName } from "./policy.ts";
import { within } from "./windows.ts";
import { zonesOf } from "./zones.ts";

const MINUTE_MS = 60_000;
const THIRTY_DAYS_MS = 30 * 86_400_000;

export interface RulesOptions {
  /** For accounts without a policy of their own. */
  defaultPolicy: PolicyName;
  clock: Clock;
}

/** What each account's policy says of a marketing message, now. */
export function createRules({ defaultPolicy, clock }: RulesOptions): Rules {
  const policyOf = createPolicies(defaultPolicy);
  const rulingOf = perMinute(rule);
  return ({ policy: stored, consent, recipient, kind, at, windows }) => {
    const policy = policyOf(stored, countryOf(recipient));
    if (typeof policy === "string") return never("invalid_policy", policy);
    if (consent === false && policy.consent[kind]) return never("no_consent", NO_CONSENT);
    const now = at ?? clock.now();
    const { skip, opensAt, why, caps } = rulingOf(now, kind, zonesOf(recipient), policy);
    const ruling = {
      skip,
      opensInMs: opensAt === undefined ? undefined : Math.max(1, opensAt - now),
      why,
      caps: caps.map(({ since, max, words }) => ({ withinMs: now - since, max, words })),
      stopNotice: policy.stopNotice || undefined,
    };
    return windows ? within(windows, ruling, { now, recipient, kind }) : ruling;
  };
}

/** What each account's policy says of stop notices, for whoever asks before there is a message. */
export function createStopNoticeOf({ defaultPolicy }: Pick<RulesOptions, "defaultPolicy">): StopNoticeOf {
  const policyOf = createPolicies(defaultPolicy);
  return (stored, country) => {
    const policy = policyOf(stored, country);
    return (typeof policy !== "string" && policy.stopNotice) || undefined;
  };
}

/** A ruling with moments in place of spans, milliseconds since the epoch. */
interface Moments extends Pick<Ruling, "skip" | "why"> {
  opensAt: number | undefined;
  caps: { since: number; max: number; words: string }[];
}

function rule(now: number, kind: Kind, zones: readonly string[], policy: Policy): Moments {
  const allowed = nextAllowed(now, { zones, kind }, policy);
  switch (allowed.when) {
    case "now":
      return { skip: undefined, opensAt: undefined, why: undefined, caps: capsOf(now, zones, policy) };
    case "at": {
      const why = `Waits until ${new Date(allowed.at).toISOString()}. ${allowed.why}`;
      return { skip: undefined, opensAt: allowed.at, why, caps: capsOf(allowed.at, zones, policy) };
    }
    case "never":
      return { skip: { code: "no_hours", detail: allowed.why }, opensAt: undefined, why: undefined, caps: [] };
  }
}

const NO_CONSENT =
  "The account's policy wants the person's consent: the contact has no consent: true, and the account has not declared it.";

const never = (code: string, detail: string): Ruling => ({
  skip: { code, detail },
  opensInMs: undefined,
  why: undefined,
  caps: [],
});

/** A day is the recipient's. */
function capsOf(instant: number, zones: readonly string[], { perDay, per30Days }: Policy): Moments["caps"] {
  const caps: Moments["caps"] = [];
  const add = (since: number, max: number | null, span: string): void => {
    if (max === null) return;
    const words = `The account's policy allows ${max} marketing ${max === 1 ? "message" : "messages"} for one person ${span}.`;
    caps.push({ since, max, words });
  };
  add(startOfDay(instant, zones), perDay, "a day");
  add(instant - THIRTY_DAYS_MS, per30Days, "in 30 days");
  return caps;
}

/** Hours begin and end with whole minutes: what is true for the numbers of a zone is true for a minute. */
function perMinute(find: typeof rule): typeof rule {
  const known = new Map<Policy, Map<string, Moments>>();
  let minute = 0;
  return (now, kind, zones, policy) => {
    const current = Math.floor(now / MINUTE_MS);
    if (current !== minute) known.clear();
    minute = current;
    const rulings = known.get(policy) ?? new Map<string, Moments>();
    known.set(policy, rulings);
    const key = `${kind} ${zones.join(",")}`;
    const ruling = rulings.get(key) ?? find(now, kind, zones, policy);
    rulings.set(key, ruling);
    return ruling;
  };
}
