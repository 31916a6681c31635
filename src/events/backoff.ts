/** Attempts of a webhook in all: with the waits below, at the default, over about a day. */
const ATTEMPTS = 12;
const FACTOR = 3;
const LONGEST_MS = 6 * 3_600_000;
/** What is added or taken away at the most, as a share: many that failed together do not come back together. */
const JITTER = 0.2;

/**
 * How long to wait after the attempt of this number has failed, milliseconds; undefined: there is no further one. An
 * endpoint may ask for more by `Retry-After` (seconds, or a date), up to six hours.
 */
export function retryInMs(
  attempt: number,
  backoffMs: number,
  retryAfter: string | undefined,
  now: number,
): number | undefined {
  if (attempt >= ATTEMPTS) return undefined;
  const wait = Math.min(LONGEST_MS, backoffMs * FACTOR ** (attempt - 1)) * (1 + JITTER * (2 * Math.random() - 1));
  return Math.round(Math.max(wait, Math.min(LONGEST_MS, askedMs(retryAfter, now))));
}

function askedMs(retryAfter: string | undefined, now: number): number {
  if (retryAfter === undefined) return 0;
  const ms = /^\d{1,9}$/.test(retryAfter) ? Number(retryAfter) * 1000 : Date.parse(retryAfter) - now;
  return Number.isNaN(ms) ? 0 : ms;
}
