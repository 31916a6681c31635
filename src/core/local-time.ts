/** A day of somebody's calendar; month from 1. */
export interface LocalDay {
  year: number;
  month: number;
  day: number;
}

/** An instant as a clock and a calendar on the wall show it. */
export interface LocalTime extends LocalDay {
  /** 1 is Monday, 7 Sunday. */
  weekday: number;
  minute: number;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

const formats = new Map<string, Intl.DateTimeFormat>();

function formatOf(zone: string): Intl.DateTimeFormat {
  let format = formats.get(zone);
  if (!format) {
    format = new Intl.DateTimeFormat("en-US", {
      timeZone: zone,
      calendar: "gregory",
      numberingSystem: "latn",
      hourCycle: "h23",
      year: "numeric",
      month: "numeric",
      day: "numeric",
      hour: "numeric",
      minute: "numeric",
      second: "numeric",
    });
    formats.set(zone, format);
  }
  return format;
}

/** The wall clock of a zone read as if it stood in Greenwich, milliseconds. */
function wallOf(zone: string, instant: number): number {
  const parts: Partial<Record<Intl.DateTimeFormatPartTypes, number>> = {};
  for (const { type, value } of formatOf(zone).formatToParts(instant)) parts[type] = Number(value);
  const { year = 0, month = 1, day = 1, hour = 0, minute = 0, second = 0 } = parts;
  return Date.UTC(year, month - 1, day, hour, minute, second);
}

export function localTimeOf(zone: string, instant: number): LocalTime {
  const wall = new Date(wallOf(zone, instant));
  return { ...dayOf(wall), minute: wall.getUTCHours() * 60 + wall.getUTCMinutes() };
}

/** The day `offset` days later. */
export function dayAfter({ year, month, day }: LocalDay, offset: number): LocalDay & { weekday: number } {
  return dayOf(new Date(Date.UTC(year, month - 1, day + offset)));
}

const dayOf = (wall: Date): LocalDay & { weekday: number } => ({
  year: wall.getUTCFullYear(),
  month: wall.getUTCMonth() + 1,
  day: wall.getUTCDate(),
  weekday: wall.getUTCDay() || 7,
});

/**
 * When the clock of a zone shows a time of a day (`minute` from midnight, up to 24 h). A time that the clock shows twice, when
 * it is put back: `first` or `last`. One that it leaps over: the moment of the leap.
 */
export function instantOf(
  zone: string,
  { year, month, day }: LocalDay,
  minute: number,
  which: "first" | "last",
): number {
  const wall = Date.UTC(year, month - 1, day, 0, minute);
  const before = offsetAt(zone, wall - DAY_MS);
  const after = offsetAt(zone, wall + DAY_MS);
  const candidates = [wall - before, wall - after].filter((instant) => wallOf(zone, instant) === wall);
  if (candidates.length > 0) return which === "first" ? Math.min(...candidates) : Math.max(...candidates);
  return leapBetween(zone, wall - Math.max(before, after), wall - Math.min(before, after));
}

/** How far a zone's clock is ahead of Greenwich, milliseconds. */
function offsetAt(zone: string, instant: number): number {
  return wallOf(zone, instant) - Math.floor(instant / 1000) * 1000;
}

/** The first minute after `from` (at `to` at the latest) with the offset that `to` has. */
function leapBetween(zone: string, from: number, to: number): number {
  const offset = offsetAt(zone, to);
  let [low, high] = [from, to];
  while (high - low > MINUTE_MS) {
    const middle = low + Math.floor((high - low) / 2 / MINUTE_MS) * MINUTE_MS;
    if (offsetAt(zone, middle) === offset) high = middle;
    else low = middle;
  }
  return high;
}
