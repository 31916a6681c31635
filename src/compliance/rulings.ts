import type { Clock } from "../core/clock.ts";
import type { Ruled, Rules, Ruling } from "../core/rules.ts";
import { nextAllowed } from "./hours.ts";
import { zonesOf } from "./zones.ts";
import type { Store, Windows } from "../store/store.ts";

export interface RulingsOptions {
  store: Pick<Store, "account" | "flows">;
  rules: Rules;
  clock: Clock;
}

/** A message as its job has it. */
export interface Waiting {
  accountId?: string | undefined;
  huntId?: string | undefined;
  /** E.164. */
  to: string;
  kind: Ruled["kind"];
}

/** For how long an account's policy is not looked up again, milliseconds. */
const FRESH_MS = 5000;
/** A hunt's windows never change; for how long it is believed that there is no such hunt, milliseconds. */
const WINDOWS_FRESH_MS = 60_000;
const MAX_KEPT = 1000;

/**
 * What the policy that an account has now, and the hours of its hunt, say of a message that is about to be sent; it may have waited for days. Consent was
 * asked for when it was planned. Rejects with `UnavailableError`.
 */
export function createRulings({ store, rules, clock }: RulingsOptions): (message: Waiting) => Promise<Ruling> {
  const accountOf = remembered((id) => store.account(id), FRESH_MS, clock);
  const windowsOf = remembered((huntId) => store.flows.windows(huntId), WINDOWS_FRESH_MS, clock);

  return async ({ accountId, huntId, to, kind }) => {
    const account = accountId === undefined ? undefined : await accountOf(accountId);
    const ruling = rules({ policy: account?.policy, consent: undefined, recipient: to, kind });
    const windows = huntId === undefined ? undefined : await windowsOf(huntId);
    return windows ? within(windows, ruling, { now: clock.now(), to, kind }) : ruling;
  };
}

/** A ruling that keeps to the hunt's hours as well: asked again when one opens, it tells of the other. */
function within(
  windows: Windows,
  ruling: Ruling,
  { now, to, kind }: { now: number; to: string; kind: Ruled["kind"] },
): Ruling {
  const { days, from, to: until, timeZone } = windows;
  const own = timeZone === undefined ? zonesOf(to) : [timeZone];
  const hours = { whatsapp: [], sms: [], voice: [], [kind]: [{ days, from, to: until }] };
  const zones = own.length > 0 ? own : ["UTC"];
  const allowed = nextAllowed(now, { zones, kind }, { ...NOTHING_ELSE, hours });
  if (allowed.when === "now") return ruling;
  if (allowed.when === "never") return { ...ruling, skip: { code: "no_hours", detail: `Of its hunt: ${allowed.why}` } };
  if ((ruling.opensInMs ?? 0) > allowed.at - now) return ruling;
  const why = `Waits until ${new Date(allowed.at).toISOString()} for its hunt. ${allowed.why}`;
  return { ...ruling, opensInMs: Math.max(1, allowed.at - now), why };
}

const NOTHING_ELSE = {
  holidays: "none",
  perDay: null,
  per30Days: null,
  consent: { whatsapp: false, sms: false, voice: false },
  stopNotice: false,
} as const;

/** Looks a thing up at most once within `freshMs`. */
function remembered<T>(look: (id: string) => Promise<T>, freshMs: number, clock: Clock): (id: string) => Promise<T> {
  const known = new Map<string, { value: Promise<T>; until: number }>();
  return (id) => {
    const cached = known.get(id);
    if (cached && cached.until > clock.monotonic()) return cached.value;
    if (known.size >= MAX_KEPT) known.clear();
    const value = look(id);
    known.set(id, { value, until: clock.monotonic() + freshMs });
    // A database that is away is asked again by the next.
    value.catch(() => known.delete(id));
    return value;
  };
}
