import { median } from "../report.ts";

/** One look at everything. */
export interface Sample {
  /** Since the start of the load, minutes. */
  minutes: number;
  values: Record<string, number>;
}

export interface Trend {
  name: string;
  /** Medians of the first and of the last tenth of the samples. */
  start: number;
  end: number;
  max: number;
  /** Least squares, each minute. */
  slope: number;
}

/** What may grow over a run without being called growth: the greater of a tenth and of this. */
const TOLERANCES: Record<string, number> = {
  "memory (RSS), MB": 30,
  "live heap, MB": 8,
  handles: 10,
  "event loop lag p99, ms": 10,
  "Redis keys": 200,
  "Redis memory, MB": 5,
};

/** In words, what was not flat: its straight line has risen by more than its tolerance. */
export function notFlat(trends: readonly Trend[], minutes: number): string[] {
  return trends.flatMap(({ name, start, slope }) => {
    const [risen, tolerance] = [slope * minutes, TOLERANCES[name]];
    if (tolerance === undefined || risen <= Math.max(tolerance, start / 10)) return [];
    return [`${name} has risen by ${risen.toFixed(1)}`];
  });
}

export function trendsOf(samples: readonly Sample[]): Trend[] {
  const names = Object.keys(samples[0]?.values ?? {});
  return names.map((name) => {
    const points = samples.map(({ minutes, values }) => [minutes, values[name] ?? Number.NaN] as const);
    const ys = points.map(([, y]) => y);
    const tenth = Math.max(1, Math.ceil(ys.length / 10));
    return {
      name,
      start: median(ys.slice(0, tenth)),
      end: median(ys.slice(-tenth)),
      max: Math.max(...ys),
      slope: slopeOf(points),
    };
  });
}

/** Of the straight line with the least squared distances. */
function slopeOf(points: readonly (readonly [x: number, y: number])[]): number {
  const n = points.length;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / n;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / n;
  const spread = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  return points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0) / spread;
}

export function tableOf(trends: readonly Trend[]): string {
  const rows = [
    ["", "start", "end", "max", "a minute"],
    ...trends.map(({ name, start, end, max, slope }) => [name, ...[start, end, max].map(figure), signed(slope)]),
  ];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) => row.map((cell, i) => (i === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[i] ?? 0))))
    .map((cells) => `  ${cells.join("  ")}`)
    .join("\n");
}

const figure = (value: number): string => value.toFixed(Math.abs(value) < 100 ? 1 : 0);
const signed = (value: number): string => `${value >= 0 ? "+" : ""}${value.toFixed(2)}`;
