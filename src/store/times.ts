/** A time of Postgres (`…17.652281+00:00`) as answers have theirs: in UTC, to the millisecond. */
export const utc = (time: string): string => {
  const at = new Date(time);
  // `infinity` is a time of Postgres as well.
  return Number.isNaN(at.getTime()) ? time : at.toISOString();
};

/** A row with these of its times as answers have them. */
export function withUtc<Row extends object>(row: Row, names: readonly (keyof Row)[]): Row {
  const times = names.flatMap((name) => (typeof row[name] === "string" ? [[name, utc(row[name])]] : []));
  return { ...row, ...(Object.fromEntries(times) as Partial<Row>) };
}
