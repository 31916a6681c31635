import {
  analyzeSync,
  Liquid,
  ParseError,
  TokenizationError,
  UndefinedVariableError,
  type Template as Parsed,
} from "liquidjs";
import { z } from "zod";
import { beginningOf, UNSTORABLE, unstorable } from "../core/text.ts";
import { makeStrict } from "./strict.ts";

/** What a contact brings for templates: flat values by their names. */
export type Variables = Readonly<Record<string, string | number | boolean>>;

/** A text, or why there is none: a variable that the contact does not have, or what is wrong in words. Neither holds text of a contact. */
export type Rendered = { text: string } | { missing: string } | { failed: string };

export interface Template {
  render(variables: Variables): Rendered;
}

const MAX_TEMPLATE_LENGTH = 10_000;
/** More than any channel carries. */
const MAX_RENDERED_LENGTH = 10_000;
/** Characters and list items that one rendering may make. Not a time: a busy machine must not decide who is contacted. */
const MAX_MEMORY = 50_000;
const MAX_QUOTED = 200;
/** Not what every object has by itself. */
const VARIABLE_NAME = /^(?!(?:__proto__|constructor|prototype)$)[A-Za-z_][A-Za-z0-9_-]{0,49}$/;

/** Whether a contact may have a variable of this name. */
export const isVariableName = (name: string): boolean => VARIABLE_NAME.test(name);
export const NO_VARIABLE_NAME =
  "is no name of a variable: a letter or _ (no accents), then up to 49 letters, digits, _ and -";

/** No loops: variables are flat, and nothing that a template says can take long. No files either. */
const TAGS = new Set(["assign", "case", "comment", "echo", "if", "raw", "unless", "#"]);
const FILTERS = new Set(
  (
    "abs at_least at_most ceil divided_by floor minus modulo plus round times append capitalize downcase lstrip prepend " +
    "remove remove_first remove_last replace replace_first replace_last rstrip slice squish strip strip_newlines truncate " +
    "truncatewords upcase url_encode split join first last size date default"
  ).split(" "),
);

/** A template in Liquid, or what is wrong with it and where. A variable that may be missing has a `default` or stands in an `if`, alone or with others. */
export function parseTemplate(text: string): { template: Template } | { fault: string } {
  if (text.trim() === "") return { fault: "is empty" };
  if (text.length > MAX_TEMPLATE_LENGTH) return { fault: `must have at most ${MAX_TEMPLATE_LENGTH} characters` };
  if (unstorable(text)) return { fault: UNSTORABLE };
  const liquid = createLiquid();
  try {
    const parsed = liquid.parse(text);
    const fault = nameFault(parsed);
    if (fault !== undefined) return { fault };
    return { template: { render: (variables) => render(() => String(liquid.renderSync(parsed, variables))) } };
  } catch (error) {
    return { fault: `is no template: ${wordsOf(error)}` };
  }
}

/** A template's text in a body. */
export const templateText = z
  .string()
  .superRefine((text, context) => {
    const parsed = parseTemplate(text);
    if ("fault" in parsed) context.addIssue({ code: "custom", message: parsed.fault });
  })
  .meta({ minLength: 1, maxLength: MAX_TEMPLATE_LENGTH });

/** Each template has its own: there is nothing that one could leave behind for another. */
function createLiquid(): Liquid {
  const liquid = new Liquid({
    strictVariables: true,
    strictFilters: true,
    lenientIf: true,
    ownPropertyOnly: true,
    templates: {},
    parseLimit: MAX_TEMPLATE_LENGTH,
    memoryLimit: MAX_MEMORY,
  });
  makeStrict(liquid);
  for (const name of Object.keys(liquid.tags)) if (!TAGS.has(name)) delete liquid.tags[name];
  for (const name of Object.keys(liquid.filters)) if (!FILTERS.has(name)) delete liquid.filters[name];
  return liquid;
}

/** The first name that no contact can bring, in words. */
function nameFault(parsed: Parsed[]): string | undefined {
  for (const [first] of Object.values(analyzeSync(parsed, { partials: false }).globals)) {
    const name = String(first?.segments[0]);
    if (first === undefined || isVariableName(name)) continue;
    const { row, col } = first.location;
    return `"${beginningOf(name, MAX_QUOTED)}" (line ${row}, column ${col}) ${NO_VARIABLE_NAME}`;
  }
  return undefined;
}

function render(run: () => string): Rendered {
  try {
    const text = run();
    if (text.length > MAX_RENDERED_LENGTH)
      return { failed: `The template makes more than ${MAX_RENDERED_LENGTH} characters.` };
    return { text };
  } catch (error) {
    if (error instanceof UndefinedVariableError) {
      const name = /undefined variable: (.*?)(?:, line:|$)/s.exec(error.message)?.[1] ?? "";
      return { missing: beginningOf(name, MAX_QUOTED) };
    }
    return { failed: `The template cannot be rendered${placeOf(error)}.` };
  }
}

/** Such as `tag "fro" not found (line 1, column 9)`. */
function wordsOf(error: unknown): string {
  const known = error instanceof ParseError || error instanceof TokenizationError;
  const words = known
    ? beginningOf(error.message.replace(/, line:\d+, col:\d+$/, ""), MAX_QUOTED)
    : "it cannot be read";
  return words + placeOf(error);
}

function placeOf(error: unknown): string {
  const [, line, column] = /, line:(\d+), col:(\d+)$/.exec((error as Error).message) ?? [];
  return line === undefined ? "" : ` (line ${line}, column ${column})`;
}
