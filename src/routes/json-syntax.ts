const SPACE = /[ \t\n\r]*/y;
const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// Unrolled, because an alternation under a star overflows the stack of the regular expressions on a long text.
// oxlint-disable-next-line no-control-regex -- JSON forbids them within a text
const STRING = /"[^"\\\u0000-\u001f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\u0000-\u001f]*)*"/y;
const WORD = /true|false|null/y;

/**
 * Where a text that `JSON.parse` refused stops being JSON, in words. V8 says it only for some faults, and for others
 * quotes the text instead, which may be a private message.
 */
export function syntaxFault(text: string): string {
  const offset = faultOffset(text);
  if (offset >= text.length)
    return `The JSON ends too early, after ${text.length} characters: something is not closed.`;
  const before = text.slice(0, offset);
  const line = before.split("\n").length;
  const column = offset - before.lastIndexOf("\n");
  return `The JSON breaks at line ${line}, column ${column} (position ${offset}): ${expectation(text, offset)}`;
}

function expectation(text: string, offset: number): string {
  const found = text[offset]!;
  if (found === "\ufeff") return "a byte order mark is not allowed.";
  if (found === "'") return "keys and text stand in double quotes.";
  if ((found === "}" || found === "]") && /,\s*$/.test(text.slice(Math.max(0, offset - 100), offset))) {
    return "a comma stands before the closing bracket.";
  }
  if (found === '"')
    return "this text is not closed, is missing a comma or colon before it, or holds a control character or unknown escape.";
  return "something else was expected here.";
}

/** The position of the first fault. Iterative, as a body may be nested deeper than the stack. */
function faultOffset(text: string): number {
  let at = 0;
  const skip = (pattern: RegExp): boolean => {
    pattern.lastIndex = at;
    const matched = pattern.test(text);
    if (matched) at = pattern.lastIndex;
    return matched;
  };
  const closers: string[] = [];
  const key = (): boolean => {
    skip(SPACE);
    if (!skip(STRING)) return false;
    skip(SPACE);
    if (text[at] !== ":") return false;
    at++;
    return true;
  };
  for (;;) {
    // A value is wanted.
    skip(SPACE);
    const opener = text[at];
    if (opener === "{" || opener === "[") {
      at++;
      skip(SPACE);
      const closer = opener === "{" ? "}" : "]";
      if (text[at] !== closer) {
        closers.push(closer);
        if (closer === "}" && !key()) return at;
        continue;
      }
      at++;
    } else if (!skip(STRING) && !skip(NUMBER) && !skip(WORD)) return at;
    // A value has ended: close what closes, then a comma leads to the next value.
    for (;;) {
      skip(SPACE);
      const closer = closers.at(-1);
      if (closer === undefined) return at;
      if (text[at] === closer) {
        at++;
        closers.pop();
        continue;
      }
      if (text[at] !== ",") return at;
      at++;
      if (closer === "}" && !key()) return at;
      break;
    }
  }
}
