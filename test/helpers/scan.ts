import type { Private, PrivateKind } from "./output.ts";

/** Below that, a secret or a text is a word that may stand anywhere. */
const MIN_LENGTH = 7;
/** Of a number, the digits that are left without its country and its leading zero, in most countries. */
const SIGNIFICANT_DIGITS = 9;
const DEPTH = 3;

/** Ids of ours and of vendors: what looks like a number in them is none. */
const IDS = /[\da-f]{8}-[\da-f]{4}-[\da-f]{4}-[\da-f]{4}-[\da-f]{12}|[\da-f]{32}/gi;
const DIGITS = /\d(?:[ ().-]{0,2}\d)+/g;

/** Whatever the tests use: none of these has a place in a log. */
const PATTERNS: readonly [string, RegExp][] = [
  ["a credential of a header", /\b(?:bearer|basic)\s+[\w.~+/=-]{8,}/i],
  ["an operator's session", /auto_prospect_admin=[^;\s]/],
  ["a JSON Web Token", /\beyJ[\w-]{8,}\.[\w-]{8,}/],
  ["an address with a password", /:\/\/[^/\s@:]*:[^/\s@]+@/],
  ["a number in E.164", /\+[1-9]\d{7,14}\b/],
  ["a French number", /(?<![\d.-])(?:0|33|0033)[1-9](?:[ .-]?\d{2}){4}(?![\d-])/],
];

/**
 * Looks for what is private in a line of output: as it is, escaped for JSON, encoded for a URL, in Base64, and any of
 * these in each other. Answers what it found, in words, without the value.
 */
export function createScanner(privates: readonly Private[]): (line: string) => string[] {
  const valuesOf = (kind: PrivateKind): string[] => [
    ...new Set(privates.filter((each) => each.kind === kind).map(({ value }) => value)),
  ];
  const needles = (["secret", "text"] as const).flatMap((kind) =>
    valuesOf(kind)
      // A filler of one character over and over is nobody's words, and may be in a request's id as well.
      .filter((value) => value.trim().length >= MIN_LENGTH && new Set(value.trim()).size > 2)
      .map((value) => ({ what: `a ${kind} of the tests`, value: onOneLine(value) })),
  );
  const numbers = new Set(
    valuesOf("number")
      .map((value) => value.replaceAll(/\D/g, "").slice(-SIGNIFICANT_DIGITS))
      .filter((digits) => digits.length === SIGNIFICANT_DIGITS),
  );
  /** Most of what a log says it says again and again. */
  const clean = new Set<string>();

  function hasNumber(text: string): boolean {
    for (const [run] of text.matchAll(DIGITS)) {
      const digits = run.replaceAll(/\D/g, "");
      for (let at = 0; at + SIGNIFICANT_DIGITS <= digits.length; at++) {
        if (numbers.has(digits.slice(at, at + SIGNIFICANT_DIGITS))) return true;
      }
    }
    return false;
  }

  function look(text: string, depth: number): string[] {
    const flat = onOneLine(text);
    const found = needles.filter(({ value }) => flat.includes(value)).map(({ what }) => what);
    const named = text.replaceAll(IDS, "#");
    for (const [what, pattern] of PATTERNS) if (pattern.test(named)) found.push(what);
    if (hasNumber(named)) found.push("a number of the tests");
    return depth === 0 ? found : [...found, ...viewsOf(text).flatMap((view) => look(view, depth - 1))];
  }

  return (line) => {
    const found = stringsOf(parsed(line) ?? line).flatMap((text) => {
      if (clean.has(text)) return [];
      const within = look(text, DEPTH);
      if (within.length === 0) clean.add(text);
      return within;
    });
    return [...new Set(found)];
  };
}

/** Who quotes a text may do that to it. */
function onOneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

/** What a text says to whoever undoes an encoding. */
function viewsOf(text: string): string[] {
  const views: string[] = [];
  if (/%[\da-f]{2}/i.test(text)) views.push(percentDecoded(text));
  if (/\\["\\/nrtu]/.test(text)) views.push(unescaped(text));
  const start = text.search(/[{[]/);
  const inner = start === -1 ? undefined : parsed(text.slice(start));
  if (inner !== undefined) views.push(...stringsOf(inner));
  for (const [run] of text.matchAll(/[\w+/-]{12,}={0,2}/g)) {
    const decoded = Buffer.from(run, "base64").toString("utf8");
    if (/^[\P{Cc}\s]{6,}$/u.test(decoded) && !decoded.includes("\uFFFD")) views.push(decoded);
  }
  return views.filter((view) => view !== text);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

/** Every key and value, numbers too. */
function stringsOf(value: unknown): string[] {
  if (typeof value !== "object" || value === null) return [String(value)];
  return Object.entries(value).flatMap(([key, item]) => [...(Array.isArray(value) ? [] : [key]), ...stringsOf(item)]);
}

/** As much of it as can be decoded: a log may cut a text off anywhere. */
function percentDecoded(text: string): string {
  return text.replaceAll("+", " ").replaceAll(/(?:%[\da-f]{2})+/gi, (run) => {
    const bytes = run
      .slice(1)
      .split("%")
      .map((hex) => Number.parseInt(hex, 16));
    return Buffer.from(bytes).toString("utf8");
  });
}

function unescaped(text: string): string {
  return text
    .replaceAll(/\\u([\da-f]{4})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
    .replaceAll(/\\(["\\/])/g, "$1")
    .replaceAll(/\\[nrt]/g, " ");
}
