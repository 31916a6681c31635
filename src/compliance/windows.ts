import type { OpenHours, Ruled, Ruling } from "../core/rules.ts";
import { nextAllowed } from "./hours.ts";
import { zonesOf } from "./zones.ts";

/** A ruling that keeps to a hunt's hours as well: asked again when one of the two opens, it tells of the other. */
export function within(
  { days, from, to, timeZone }: OpenHours,
  ruling: Ruling,
  { now, recipient, kind }: Pick<Ruled, "recipient" | "kind"> & { now: number },
): Ruling {
  const own = timeZone === undefined ? zonesOf(recipient) : [timeZone];
  const zones = own.length > 0 ? own : ["UTC"];
  const hours = { whatsapp: [], sms: [], voice: [], [kind]: [{ days, from, to }] };
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
