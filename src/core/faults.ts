import type { z } from "zod";
import type { Fault } from "./problem.ts";

type Issue = z.core.$ZodIssue;
type RawIssue = z.core.$ZodRawIssue;

/** The most of a key or an option that is repeated to the caller. */
const MAX_QUOTED = 100;

const TYPES: Record<string, string> = {
  string: "text",
  number: "a number",
  nan: "something that is not a number",
  int: "a whole number",
  bigint: "a whole number",
  boolean: "true or false",
  object: "an object",
  record: "an object",
  array: "a list",
  tuple: "a list",
  null: "null",
  date: "a date",
  undefined: "nothing",
  never: "nothing",
};

const FORMATS: Record<string, string> = {
  email: "an e-mail address",
  url: "a URL",
  uuid: "a UUID",
  datetime: "an ISO 8601 date and time, such as 2026-01-31T09:30:00Z",
  date: "an ISO 8601 date, such as 2026-01-31",
  time: "an ISO 8601 time, such as 09:30:00",
  e164: "a phone number in E.164, such as +33612345678",
  ipv4: "an IPv4 address",
  ipv6: "an IPv6 address",
  base64: "text in base64",
  json_string: "text that is JSON",
};

const UNITS: Record<string, [one: string, many: string]> = {
  string: ["character", "characters"],
  array: ["item", "items"],
  set: ["item", "items"],
  map: ["entry", "entries"],
};

export const UNKNOWN_FIELD = "is not a known field";

/** A JSON pointer (RFC 6901) beneath `prefix`. */
export function pointerOf(path: readonly PropertyKey[], prefix = ""): string {
  let pointer = prefix;
  for (const segment of path) {
    const text = String(segment).slice(0, MAX_QUOTED);
    pointer += `/${text.includes("~") || text.includes("/") ? text.replaceAll("~", "~0").replaceAll("/", "~1") : text}`;
  }
  return pointer;
}

/**
 * Words for one zod issue, given as the `error` of a parse because only there the value that came in is known. It is
 * named by its type, never repeated: it may be somebody's number. A schema's own message comes before these.
 */
export function wording(issue: RawIssue): string {
  switch (issue.code) {
    case "invalid_type":
      return typeMismatch(issue.expected, issue.input);
    case "invalid_value":
      return issue.input === undefined
        ? `is missing; expected ${options(issue.values)}`
        : `must be ${options(issue.values)}`;
    case "too_small":
      return bound(issue.origin, "at least", "more than", issue.minimum, issue);
    case "too_big":
      return bound(issue.origin, "at most", "less than", issue.maximum, issue);
    case "invalid_format":
      return wrongFormat(issue);
    case "not_multiple_of":
      return `must be a multiple of ${issue.divisor}`;
    case "invalid_union":
      return Array.isArray(issue.options) ? `must be ${options(issue.options)}` : "fits none of the allowed forms";
    case "unrecognized_keys":
      return "has unknown fields";
    case "invalid_key":
      return "has a key that is not allowed";
    case "invalid_element":
    case "custom":
    default:
      return "is not valid";
  }
}

function typeMismatch(expected: string, input: unknown): string {
  const wanted = TYPES[expected] ?? expected;
  if (input === undefined) return `is missing; expected ${wanted}`;
  return `expected ${wanted}, got ${typeName(input)}`;
}

function typeName(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "number") return numberName(value);
  return TYPES[typeof value] ?? typeof value;
}

function numberName(value: number): string {
  if (Number.isNaN(value)) return "something that is not a number";
  return Number.isInteger(value) ? "a number" : "a number with a fraction";
}

function bound(
  origin: string,
  inclusive: string,
  exclusive: string,
  limit: number | bigint,
  issue: { inclusive?: boolean | undefined; exact?: boolean | undefined; input?: unknown },
): string {
  const relation = issue.exact ? "exactly" : issue.inclusive === false ? exclusive : inclusive;
  const unit = UNITS[origin];
  if (unit === undefined) return `must be ${relation} ${limit}`;
  const length = (issue.input as { length?: number } | undefined)?.length;
  const has = length === undefined ? "" : `; it has ${length}`;
  return `must have ${relation} ${limit} ${Number(limit) === 1 ? unit[0] : unit[1]}${has}`;
}

function wrongFormat(issue: { format: string; prefix?: unknown; suffix?: unknown; includes?: unknown }): string {
  switch (issue.format) {
    case "starts_with":
      return `must start with "${String(issue.prefix)}"`;
    case "ends_with":
      return `must end with "${String(issue.suffix)}"`;
    case "includes":
      return `must contain "${String(issue.includes)}"`;
    case "regex":
      return "does not have the expected form";
    default:
      return `must be ${FORMATS[issue.format] ?? `of the format ${issue.format}`}`;
  }
}

function options(values: readonly unknown[]): string {
  const quoted = values.map((value) => JSON.stringify(value)?.slice(0, MAX_QUOTED) ?? String(value));
  return quoted.length === 1 ? quoted[0]! : `one of ${quoted.join(", ")}`;
}

/** All that a failed parse found, in plain words, as pointers beneath `prefix`. */
function faultsOf(issues: readonly Issue[], prefix = ""): Fault[] {
  const faults: Fault[] = [];
  for (const issue of issues) {
    const pointer = pointerOf(issue.path, prefix);
    if (issue.code === "unrecognized_keys") {
      for (const key of issue.keys) faults.push({ pointer: pointerOf([key], pointer), detail: UNKNOWN_FIELD });
    } else if (issue.code === "invalid_union" && issue.errors.length > 0) {
      // Not `push(...)`: a hundred thousand arguments overflow the stack.
      for (const fault of unionFaults(issue.errors, pointer)) faults.push(fault);
    } else {
      faults.push({ pointer, detail: issue.message });
    }
  }
  return faults;
}

/**
 * The caller meant one of the branches: the faults of the only one that has the right type, else one fault that names
 * what each branch wants.
 */
function unionFaults(branches: readonly (readonly Issue[])[], pointer: string): Fault[] {
  const meant = branches.filter(
    (issues) => !issues.some((issue) => issue.path.length === 0 && issue.code === "invalid_type"),
  );
  if (meant.length === 1) return faultsOf(meant[0]!, pointer);
  const wanted = new Set(branches.map((issues) => issues.map((issue) => describeWithin(issue)).join(" and ")));
  return [{ pointer, detail: `fits none of ${branches.length} allowed forms: ${[...wanted].join("; or ")}` }];
}

function describeWithin(issue: Issue): string {
  return issue.path.length === 0 ? issue.message : `${pointerOf(issue.path)} ${issue.message}`;
}

/** Checks a value; `faults` is empty exactly when `value` is the schema's output. */
export function check(schema: z.ZodType, value: unknown, prefix = ""): { value: unknown; faults: Fault[] } {
  const result = schema.safeParse(value, { error: wording });
  return result.success
    ? { value: result.data, faults: [] }
    : { value: undefined, faults: faultsOf(result.error.issues, prefix) };
}
