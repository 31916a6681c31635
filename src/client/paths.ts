/** An id as a part of a path. */
export function part(id: string): string {
  return encodeURIComponent(id);
}

/** With its `?`; without what is absent. */
export function queryOf(filter: object): string {
  const given = Object.entries(filter).filter(([, value]) => value !== undefined);
  const query = new URLSearchParams(given.map(([name, value]): [string, string] => [name, String(value)])).toString();
  return query === "" ? "" : `?${query}`;
}
