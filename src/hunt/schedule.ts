/** Messages that a sender sends one after another, and that may be sent at the same times. */
export interface Wave {
  sender: string;
  /** Messages a second. */
  perSecond: number;
  count: number;
  /** How long after an instant (milliseconds since the epoch) they may be sent: 0 at once, undefined never. */
  opensInMs(at: number): number | undefined;
}

/** Hours are looked at so often. */
const STEP_MS = 15 * 60_000;
/** Who needs more steps than three weeks have is not told an end. */
const MAX_STEPS = 2016;

/** When the last of them would be sent, milliseconds since the epoch, as far as hours and paces tell; undefined: nobody can tell. */
export function endOf(now: number, waves: readonly Wave[]): number | undefined {
  let end = now;
  let steps = 0;
  for (const own of Map.groupBy(waves, ({ sender }) => sender).values()) {
    let at = now;
    for (const wave of own.toSorted((a, b) => (a.opensInMs(now) ?? 0) - (b.opensInMs(now) ?? 0))) {
      for (let left = wave.count; left > 0;) {
        const wait = wave.opensInMs(at);
        if (wait === undefined || ++steps > MAX_STEPS) return undefined;
        at += wait;
        if (wait > 0) continue;
        const closes = (Math.floor(at / STEP_MS) + 1) * STEP_MS;
        const room = ((closes - at) / 1000) * wave.perSecond;
        at = left <= room ? at + (left / wave.perSecond) * 1000 : closes;
        left -= room;
      }
    }
    end = Math.max(end, at);
  }
  return Math.ceil(end);
}
