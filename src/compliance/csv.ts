import { invalidRequest } from "../core/problem.ts";

/** A line that could be read: its cells by the names of the first line. */
export interface CsvLine {
  /** From 1, the line of the names included. */
  line: number;
  cells: ReadonlyMap<string, string>;
}

export interface LineFault {
  line: number;
  detail: string;
}

/** More are sent in several files. */
const MAX_LINES = 100_000;

/**
 * Reads a CSV file (RFC 4180) whose first line names its columns, separated by commas, semicolons (as Excel writes in French)
 * or tabs. Names are read without regard to case. A line with a quotation mark where none may be goes to `faults`; one that is
 * never closed throws `invalidRequest`, because nobody can tell which lines follow it; so do more than 100,000 lines.
 */
export function readCsv(bytes: Buffer, faults: LineFault[]): { columns: string[]; lines: CsvLine[] } {
  const text = decoded(bytes);
  const end = text.search(/[\r\n]/);
  const delimiter = delimiterOf(end < 0 ? text : text.slice(0, end));
  let columns: string[] | undefined;
  const lines: CsvLine[] = [];
  for (const { line, cells, isFaulty } of recordsOf(text, delimiter)) {
    if (cells.every((cell) => cell === "")) continue;
    if (isFaulty) faults.push({ line, detail: "is not CSV: it has a quotation mark within a cell." });
    else if (columns === undefined) columns = cells.map((name) => name.toLowerCase());
    else lines.push({ line, cells: named(columns, cells) });
    if (lines.length + faults.length > MAX_LINES) {
      throw invalidRequest([{ pointer: "", detail: `must have at most ${MAX_LINES} lines; send several files` }]);
    }
  }
  return { columns: columns ?? [], lines };
}

/** `line` is where the record begins. */
function* recordsOf(text: string, delimiter: string): Generator<{ line: number; cells: string[]; isFaulty: boolean }> {
  // A cell is quoted, with quotation marks doubled, or goes up to the next delimiter or line.
  const cell = new RegExp(`[ \\t]*"((?:[^"]|"")*)"[ ]*(?=[${delimiter}\\r\\n]|$)|([^${delimiter}\\r\\n]*)`, "y");
  let at = 0;
  let line = 1;
  while (at < text.length) {
    const cells: string[] = [];
    const first = line;
    let isFaulty = false;
    for (;;) {
      cell.lastIndex = at;
      const [whole = "", quoted, plain = ""] = cell.exec(text) ?? [];
      if (quoted === undefined && plain.trimStart().startsWith('"')) {
        if (!plain.includes('"', plain.indexOf('"') + 1)) throw neverClosed(first);
        isFaulty = true;
      }
      cells.push((quoted?.replaceAll('""', '"') ?? plain).trim());
      line += quoted?.match(/\r\n|[\r\n]/g)?.length ?? 0;
      at += whole.length;
      if (text[at] !== delimiter) break;
      at += 1;
    }
    yield { line: first, cells, isFaulty };
    at += text.startsWith("\r\n", at) ? 2 : 1;
    line += 1;
  }
}

function neverClosed(line: number): Error {
  return invalidRequest([{ pointer: "", detail: `line ${line} has a quotation mark that is not closed` }]);
}

function named(columns: readonly string[], record: readonly string[]): ReadonlyMap<string, string> {
  const cells = new Map<string, string>();
  columns.forEach((name, i) => {
    const cell = record[i];
    if (cell !== undefined && cell !== "" && !cells.has(name)) cells.set(name, cell);
  });
  return cells;
}

/** What is not UTF-8 comes from a spreadsheet in Western Europe. */
function decoded(bytes: Buffer): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return new TextDecoder("windows-1252").decode(bytes);
  }
}

function delimiterOf(names: string): string {
  const counted = [",", ";", "\t"].map((each) => ({ each, count: names.split(each).length }));
  return counted.toSorted((a, b) => b.count - a.count)[0]?.each ?? ",";
}

/** A line of a CSV file. A text that a spreadsheet would take for a formula gets an apostrophe in front. */
export function csvLine(cells: readonly (string | null)[]): string {
  return `${cells.map((cell) => quoted(cell ?? "")).join(",")}\r\n`;
}

const FORMULA = /^[=+\-@\t\r]/;
const E164 = /^\+\d+$/;

function quoted(cell: string): string {
  const safe = FORMULA.test(cell) && !E164.test(cell) ? `'${cell}` : cell;
  return /[",\r\n;]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

/** What `csvLine` has made of a text, as it was. */
export function unguarded(cell: string): string {
  return cell.startsWith("'") && FORMULA.test(cell.slice(1)) ? cell.slice(1) : cell;
}
