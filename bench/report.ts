import { appendFileSync, existsSync } from "node:fs";
import { availableParallelism, totalmem } from "node:os";

/** What was measured under one name, once a round. */
export interface Series {
  name: string;
  unit: string;
  rounds: number[];
}

/** Two series of the same rounds, one over the other. `aim`: the least that is wanted. */
export interface Ratio {
  name: string;
  rounds: number[];
  aim?: number;
}

export interface Section {
  name: string;
  title: string;
  series: Series[];
  ratios: Ratio[];
  notes: string[];
  /** Written beside the results, by name. */
  files?: Record<string, string>;
}

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] ?? Number.NaN;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** Round by round, because the machine's mood changes between rounds more than within one. */
export function ratio(name: string, over: Series, under: Series, aim?: number): Ratio {
  const rounds = over.rounds.map((value, round) => value / (under.rounds[round] ?? Number.NaN));
  return { name, rounds, ...(aim === undefined ? {} : { aim }) };
}

export function tableOf({ title, series, ratios, notes }: Section): string {
  const rows = [
    ["", "median", "", "each round"],
    ...series.map(({ name, unit, rounds }) => [name, figure(median(rounds)), unit, rounds.map(figure).join(" ")]),
    ...ratios.map(({ name, rounds, aim }) => [name, ratioWithAim(rounds, aim), "", rounds.map(figure).join(" ")]),
  ];
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => (row[column] ?? "").length)));
  const lines = rows.map(([name = "", value = "", unit = "", each = ""]) =>
    `  ${name.padEnd(widths[0] ?? 0)}  ${value.padStart(widths[1] ?? 0)} ${unit.padEnd(widths[2] ?? 0)}  ${each}`.trimEnd(),
  );
  return [title, ...lines, ...notes.map((note) => `  · ${note}`)].join("\n");
}

/** Appends a run to a file of results, oldest first. */
export function writeResults(file: string, command: string, sections: readonly Section[], versions: string): void {
  const head = existsSync(file)
    ? ""
    : "# Results of `npm run bench`\n\nRatios within one run count, figures are the machine's.\n";
  const memory = Math.round(totalmem() / 2 ** 30);
  const lines = [
    `\n## ${new Date().toISOString().slice(0, 10)}: \`${command}\`\n`,
    `${availableParallelism()} cores, ${memory} GB, ${versions}; medians of the rounds.\n`,
    ...sections.map((section) => `${markdownOf(section)}\n`),
  ];
  appendFileSync(file, head + lines.join("\n"));
}

function markdownOf({ title, series, ratios, notes }: Section): string {
  const rows = [
    ...series.map(
      ({ name, unit, rounds }) => `| ${name} | ${figure(median(rounds))} ${unit} | ${rounds.map(figure).join(", ")} |`,
    ),
    ...ratios.map(
      ({ name, rounds, aim }) =>
        `| **${name}** | **${ratioWithAim(rounds, aim)}** | ${rounds.map(figure).join(", ")} |`,
    ),
  ];
  const list = notes.length === 0 ? "" : `\n${notes.map((note) => `- ${note}`).join("\n")}\n`;
  return `### ${title}\n\n| | median | rounds |\n|---|---|---|\n${rows.join("\n")}\n${list}`;
}

function ratioWithAim(rounds: readonly number[], aim: number | undefined): string {
  const value = median(rounds);
  if (aim === undefined) return figure(value);
  return `${figure(value)} (aim ${aim}: ${value >= aim ? "met" : "missed"})`;
}

function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString("en-US");
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
