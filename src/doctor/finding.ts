/** What one check has found. Only a `fault` keeps the service from doing its work; a `warning` is for people to judge. */
export interface Finding {
  /** What was looked at: `redis persistence`. */
  check: string;
  state: "ok" | "warning" | "fault";
  /** In words, without secrets. */
  says: string;
  /** What to do; absent where all is well. */
  advice?: string;
}

export const ok = (check: string, says: string): Finding => ({ check, state: "ok", says });
export const warning = (check: string, says: string, advice: string): Finding => ({
  check,
  state: "warning",
  says,
  advice,
});
export const fault = (check: string, says: string, advice: string): Finding => ({
  check,
  state: "fault",
  says,
  advice,
});

/** Clocks that differ by more are worth a word, milliseconds; leases and time-outs bear it. */
const NOTABLE_MS = 2000;
/** By more than that, hours, expiry and signatures come out wrong. */
const WRONG_MS = 30_000;

/** Compares a clock with ours. `uncertainMs`: by how much it may be off because of how it was read. */
export function clockFinding(whose: string, aheadMs: number, uncertainMs: number): Finding {
  const check = `clock of ${whose}`;
  const certain = Math.max(0, Math.abs(aheadMs) - uncertainMs);
  const says =
    certain < NOTABLE_MS
      ? "agrees with this machine's"
      : `is ${(certain / 1000).toFixed(0)} s ${aheadMs > 0 ? "ahead of" : "behind"} this machine's`;
  if (certain < NOTABLE_MS) return ok(check, says);
  const advice = "Have both machines take their time from NTP; compare this one's with a clock first.";
  return certain < WRONG_MS ? warning(check, says, advice) : fault(check, says, advice);
}
