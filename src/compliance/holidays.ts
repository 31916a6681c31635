import joursFeries from "@socialgouv/jours-feries";
import type { LocalDay } from "../core/local-time.ts";
import type { Policy } from "./policy.ts";

const known = new Map<string, Map<string, string>>();

function ofYear(year: number, alsace: boolean): Map<string, string> {
  const key = `${year} ${alsace}`;
  const cached = known.get(key);
  if (cached) return cached;
  const days = new Map(
    Object.entries(joursFeries(year, { alsace })).map(([name, date]) => [
      `${date.getMonth() + 1}-${date.getDate()}`,
      name,
    ]),
  );
  known.set(key, days);
  return days;
}

/** The name of the public holiday that a day is. */
export function holidayOn({ year, month, day }: LocalDay, calendar: Policy["holidays"]): string | undefined {
  if (calendar === "none") return undefined;
  return ofYear(year, calendar === "fr-alsace-moselle").get(`${month}-${day}`);
}
