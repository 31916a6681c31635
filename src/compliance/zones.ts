import { ZONE_TABLE } from "./zone-table.ts";

/** Longer ones say nothing more about a zone. */
const MAX_PREFIX = 8;

let byPrefix: Map<string, readonly string[]> | undefined;

function table(): Map<string, readonly string[]> {
  const lines = ZONE_TABLE.trim().split("\n");
  return new Map(
    lines.flatMap((line) => {
      const [zones = "", ...prefixes] = line.split(" ");
      const list = zones.split(",");
      return prefixes.map((prefix): [string, readonly string[]] => [prefix, list]);
    }),
  );
}

/**
 * The IANA zones in which the holder of an E.164 number may be, by its leading digits; a number that moves with its holder
 * is taken to be where it was given out. Empty: nobody knows.
 */
export function zonesOf(e164: string): readonly string[] {
  byPrefix ??= table();
  for (let length = MAX_PREFIX; length > 0; length--) {
    const zones = byPrefix.get(e164.slice(1, 1 + length));
    if (zones) return zones;
  }
  return [];
}
