export const DAY_MS = 86_400_000;

/** A new number's first day, as a part of the cap and in messages. */
const FIRST_DAY = { share: 0.2, least: 5, most: 10 };

/**
 * How many new contacts a number may make on a day, `daysSincePairing` whole days after it was paired. It begins with a
 * fifth of the cap, at least 5 and at most 10, because restrictions were reported after 15 to 20 cold messages from a
 * new number (Baileys #2441, #2707), and grows by the same factor each day until it is the cap on day `warmUpDays`.
 * For a cap of 40 in 14 days: 8, 8, 10, 11, 12, 14, 15, 17, 20, 22, 25, 28, 31, 35, 40. Without a cap: Infinity.
 */
export function capOfDay(
  daysSincePairing: number,
  { newContactsPerDay, warmUpDays }: { newContactsPerDay: number | null; warmUpDays: number },
): number {
  if (newContactsPerDay === null) return Infinity;
  if (daysSincePairing >= warmUpDays) return newContactsPerDay;
  const { share, least, most } = FIRST_DAY;
  const first = Math.min(newContactsPerDay, Math.max(least, Math.min(most, newContactsPerDay * share)));
  if (first <= 0) return 0;
  return Math.floor(first * (newContactsPerDay / first) ** (Math.max(0, daysSincePairing) / warmUpDays));
}

/** Since when contacts count as today's: midnight in UTC, the same for every process and session. */
export function startOfDay(now: number): number {
  return Math.floor(now / DAY_MS) * DAY_MS;
}
