/** Countries of one law, with their territories; ISO 3166-1. */
const FRENCH = new Set(["FR", "GP", "GF", "MQ", "RE", "YT", "PM", "BL", "MF", "WF", "PF", "NC"]);
const AMERICAN = new Set(["US", "PR", "VI", "GU", "AS", "MP"]);

/** `FR` for France and its territories beyond the sea, `US` for the United States and theirs, else the country itself. */
export function lawOf(country: string | undefined): string | undefined {
  if (country === undefined) return undefined;
  if (FRENCH.has(country)) return "FR";
  return AMERICAN.has(country) ? "US" : country;
}
